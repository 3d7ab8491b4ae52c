"""How the proxy is realigned with what experts said, apart from training: what it is shown, and what may be learnt from it."""
