"""Vector stores behind `secure_rag.ports.VectorStore`. Needs the `[server]` installation."""
