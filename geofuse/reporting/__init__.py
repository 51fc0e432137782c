"""The report of a fusion: figures, sentences, JSON and HTML."""
