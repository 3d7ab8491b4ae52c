"""Servers on 127.0.0.1 that speak the protocols of language-model providers, with answers and faults written out by the tests."""
