"""Domain model: frozen values, no I/O, importable with the base installation."""
