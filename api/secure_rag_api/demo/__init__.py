"""The demo: a fictional company, ingested for real, and scenarios whose answers were decided by hand."""
