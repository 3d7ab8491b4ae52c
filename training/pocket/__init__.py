"""The miniature sandwich: a small language, its expert and tiny models. No Django here."""
