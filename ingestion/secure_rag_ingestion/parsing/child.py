"""The life of one confined process: walls, document in, one answer out, end.

It owns three descriptors: 0 brings the document, 1 takes the answer, 2 leads nowhere.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any, NoReturn

from secure_rag_ingestion.parsing import extract
from secure_rag_ingestion.parsing.confine import Confinement, thread_count
from secure_rag_ingestion.parsing.document import ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Extracted
from secure_rag_ingestion.parsing.layers import unmet
from secure_rag_ingestion.parsing.protocol import (
    DOCUMENT,
    EXIT_ERROR,
    EXIT_MEMORY,
    EXIT_UNCONFINED,
    FRAME,
    PROBE,
)

_PIECE = 1 << 20
_DESCRIPTORS = 4096  # far more than the template process ever opens


def live(document: int, reply: int, confinement: Confinement, require: frozenset[str]) -> NoReturn:
    """Run to the end of the process. Never returns and never raises."""
    status = EXIT_ERROR
    try:
        _own(document, reply, confinement.descriptors)
        if thread_count() != 1:
            os._exit(EXIT_UNCONFINED)
        layers = confinement.apply()
        _send({"layers": [asdict(layer) for layer in layers]})
        if unmet(require, layers):
            os._exit(EXIT_UNCONFINED)
        size, named = DOCUMENT.unpack(_receive(DOCUMENT.size))
        mime = _receive(named).decode("ascii")
        if mime != PROBE:
            _send(_answer(mime, _receive(size)))
        status = 0
    except MemoryError:
        status = EXIT_MEMORY
    except BaseException:  # noqa: BLE001, S110 - whatever happened, the exit status tells the parent of it
        pass
    finally:
        # Not the usual end of a program: its clean-up would run code of whatever the document brought in.
        os._exit(status)


def _answer(mime: str, data: bytes) -> dict[str, Any]:
    try:
        found = extract.extract(mime, data)
    except RefusedError as error:
        return _failure(error.reason, error.detail)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - any failure of a parser means that it could not read the document
        return _failure(ParseReason.CORRUPT, f"the parser failed: {type(error).__name__}")
    return {"document": _document(found)}


def _document(found: Extracted) -> dict[str, Any]:
    return {
        "text": found.text,
        "title": found.title,
        "metadata": found.metadata,
        "hidden": [asdict(entry) for entry in found.hidden],
        "headings": [asdict(heading) for heading in found.headings],
    }


def _failure(reason: ParseReason, detail: str) -> dict[str, Any]:
    return {"failure": {"reason": reason.value, "detail": detail}}


def _own(document: int, reply: int, keep: frozenset[int]) -> None:
    """Keep the three descriptors and what the walls need; close the rest, the line to the parent first."""
    os.dup2(document, 0)
    os.dup2(reply, 1)
    start = 3
    for descriptor in sorted(keep):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, _DESCRIPTORS)


def _receive(size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = os.read(0, min(_PIECE, size - len(received)))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


def _send(message: dict[str, Any]) -> None:
    # Lone surrogates of broken documents become question marks: the answer is valid Unicode or nothing.
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
    left = memoryview(FRAME.pack(len(body)) + body)
    while left:
        left = left[os.write(1, left) :]
