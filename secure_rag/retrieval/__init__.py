"""The query flow: `service.py` is the list of its steps."""
