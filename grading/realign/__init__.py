"""Realigning a proxy from what an expert wrote: grading prompts made from it, and traces that the proxy writes with it before its eyes.

Pure: no Django, no database, no torch.
"""
