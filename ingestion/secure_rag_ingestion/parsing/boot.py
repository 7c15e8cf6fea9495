"""First code of the template process: whatever goes wrong while it comes up, the parent hears of it."""

from __future__ import annotations

import json
import socket

from secure_rag_ingestion.parsing.protocol import READY

_CONTROL_FD = 0
_MAX_ERROR = 500


def main(settings: str) -> None:
    """Become the template process. The control channel is descriptor 0.

    Args:
        settings: JSON with `parent`, `require`, `memory_bytes`, `cpu_seconds` and `user_id`.
    """
    control = socket.socket(fileno=_CONTROL_FD)
    try:
        # Here and not above: a library that is missing would end the process without a word.
        from secure_rag_ingestion.parsing.zygote import Template

        template = Template(json.loads(settings))
    except Exception as error:  # noqa: BLE001 - the parent gets to know and decides
        _say(control, {"error": f"{type(error).__name__}: {error}"[:_MAX_ERROR]})
        return
    _say(control, {"threads": template.threads})
    template.serve(control)


def _say(control: socket.socket, message: dict[str, object]) -> None:
    body = json.dumps(message).encode()
    control.sendall(READY.pack(len(body)) + body)
