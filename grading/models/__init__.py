"""The language models: one protocol (`base.LanguageModel`), one module each."""
