"""Retrievers as tutorials build them, to see what they do with the conformance cases. Never serve from them."""
