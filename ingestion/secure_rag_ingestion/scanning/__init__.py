"""Scanning: detectors on the way in, and what their findings mean for a document."""
