"""Permissions: Casbin decides, bitmaps answer fast, and files of data owners become locks."""
