"""Tagging: from what the mapping says of an item to the class that guards it."""
