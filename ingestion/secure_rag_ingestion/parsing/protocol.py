"""What parent, zygote and child say to each other. Only sizes and markers; no import beyond the standard library."""

from __future__ import annotations

import struct

# Parent to zygote, one byte each; FORK carries two descriptors: where the document comes from, where the answer goes.
FORK, REAP = b"F", b"R"
# Zygote to parent: length of a JSON message, once; wait status and processor seconds, for each REAP.
READY = struct.Struct(">I")
REAPED = struct.Struct(">id")
NO_CHILD = -1

# Child to parent: length of a JSON message. Parent to child: size of the document and of its media type.
FRAME = struct.Struct(">Q")
DOCUMENT = struct.Struct(">QH")
PROBE = "probe"  # instead of a media type: tell of the walls and end

EXIT_UNCONFINED = 97
EXIT_ERROR = 98
EXIT_MEMORY = 99
