"""Permissions as sources write them: one file for each format, all read into `native.NativePermissions`."""
