"""Connectors: list what a source holds and read content, then permissions."""
