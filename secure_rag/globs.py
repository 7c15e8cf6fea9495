"""Path patterns of mappings and manifests: `**`, `*` and `?`, anchored at both ends, case-sensitive.

`**` stands for any number of segments and must be a whole segment; at the end it stands for at least one, so `dir/**`
is everything below `dir`. `*` stays within one segment, `?` is one character; everything else is itself. A pattern
without `/` therefore matches in the root only, unless it is `**`. Both sides are compared in NFC: a file system that
decomposes names must not make a restrictive rule miss its files.

Matching never backtracks further than to the last wildcard, so its time is bounded by pattern times path.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from secure_rag.errors import PolicyError

MAX_PATTERN: Final = 1_024
_ANY_DEPTH: Final = "**"
_Item = TypeVar("_Item")


class Glob:
    """One compiled pattern.

    Raises:
        PolicyError: it cannot match a relative path, or means something that is not supported.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._segments = _compile(pattern)

    def matches(self, path: str) -> bool:
        """Whether a POSIX path relative to the root matches."""
        return _match(
            self._segments, unicodedata.normalize("NFC", path).split("/"), _ANY_DEPTH, _match_segment
        )


def _compile(pattern: str) -> tuple[str, ...]:
    if len(pattern) > MAX_PATTERN:
        raise PolicyError(f"a path pattern is longer than {MAX_PATTERN} characters")
    segments: list[str] = []
    for segment in unicodedata.normalize("NFC", pattern).split("/"):
        if segment in ("", ".", ".."):
            raise PolicyError(
                f"path pattern {pattern!r}: relative to the source's root, without empty, . and .. segments; "
                "everything below a folder is folder/**"
            )
        if _ANY_DEPTH in segment and segment != _ANY_DEPTH:
            raise PolicyError(f"path pattern {pattern!r}: ** stands alone between slashes")
        if segments[-1:] != [_ANY_DEPTH] or segment != _ANY_DEPTH:
            segments.append(segment)
    return tuple(segments)


def _match_segment(pattern: str, segment: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == segment
    matched = _match(pattern, segment, "*", _match_character)
    # A star at the end of a segment may stand for nothing, unlike ** at the end of a pattern.
    return matched or (pattern.endswith("*") and _match_segment(pattern[:-1], segment))


def _match_character(pattern: str, character: str) -> bool:
    return pattern in ("?", character)


def _match(
    pattern: Sequence[_Item], items: Sequence[_Item], any_run: _Item, one: Callable[[_Item, _Item], bool]
) -> bool:
    """Wildcard match with one point of return. `any_run` stands for any run, at the end for a run of at least one."""
    at, position = 0, 0
    star, resume = -1, 0
    while position < len(items):
        if at < len(pattern) and pattern[at] == any_run:
            star, resume = at, position
            at += 1
        elif at < len(pattern) and one(pattern[at], items[position]):
            at += 1
            position += 1
        elif star >= 0:
            at = star + 1
            resume += 1
            position = resume
        else:
            return False
    return at == len(pattern)
