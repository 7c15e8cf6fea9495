"""The control database: registry, permissions and text of one home. Needs the `[server]` installation."""
