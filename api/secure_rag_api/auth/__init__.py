"""Who calls, and for whom: tokens of a configured issuer, and a local issuer for development."""
