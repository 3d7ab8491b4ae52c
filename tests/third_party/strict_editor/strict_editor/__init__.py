"""A copy editor who judges texts, as an expert for Touchstone."""
