"""How a text gets a verdict. Pure Python: no Django, no database."""
