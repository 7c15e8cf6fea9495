"""Lists of who may read what come in pages: a stable order, and a cursor that is the last item shown."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from secure_rag.errors import InvalidRequestError

MAX_PAGE: Final = 500
DEFAULT_PAGE: Final = 100
MAX_CURSOR: Final = 1_024
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """One page. `total` counts all items; `next` is the cursor of the next page, None on the last one."""

    items: tuple[_Item, ...]
    total: int
    next: str | None


def checked_limit(limit: int) -> int:
    """Items on one page.

    Raises:
        InvalidRequestError: not between 1 and `MAX_PAGE`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequestError(f"a page has 1 to {MAX_PAGE} items")
    return limit


def cursor(key: Sequence[str]) -> str:
    """The cursor behind an item."""
    return base64.urlsafe_b64encode(json.dumps(list(key), separators=(",", ":")).encode("utf-8")).decode(
        "ascii"
    )


def after(given: str | None, parts: int) -> tuple[str, ...]:
    """The sort key behind which a page begins; empty for the first page.

    Raises:
        InvalidRequestError: no cursor that a list of this kind gave.
    """
    if given is None:
        return ()
    try:
        found = json.loads(base64.b64decode(given.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != parts or not all(isinstance(x, str) for x in found):
        raise InvalidRequestError("not a cursor of this list")
    return tuple(str(x) for x in found)
