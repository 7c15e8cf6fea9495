"""Bytes of a document in, text and what it conceals out; the reading happens behind walls.

`sandbox.SandboxedParser` is the way in and `model` holds what it returns. The modules `zygote`, `child`,
`confine`, `extract`, `archive`, `mail`, `page`, `plain` and `hidden` run in the confined process only, so none of
them imports the kernel: less code is loaded there, and no part of the product is reachable from a hostile file.
"""
