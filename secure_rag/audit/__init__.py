"""Tamper-evident audit log: one hash chain per writer, durable before an answer leaves, signed checkpoints."""
