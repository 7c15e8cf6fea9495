"""Names in a folder: which can be identifiers, and which sidecar belongs to which file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SIDECAR_SUFFIX: Final = ".acl.yaml"
_LIKE_A_SIDECAR: Final = re.compile(r"(.+)\.acl\.ya?ml", re.DOTALL | re.IGNORECASE)
_UNNAMED: Final = "./"
"""Begins what is shown of an entry that has no valid name. No identifier begins so: the two can never be mixed up."""


def is_identifier(name: str) -> bool:
    """Whether a path can be an identifier: valid UTF-8 without control, format or surrogate characters."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in name)


def shown(path: str) -> str:
    """A path for reports: itself, or an unambiguous escaped form that is no identifier."""
    return path if is_identifier(path) else _UNNAMED + "".join(_escaped(c) for c in path)


@dataclass(frozen=True, slots=True)
class Sidecars:
    """Which names of one folder are sidecars.

    Attributes:
        proper: `NAME.acl.yaml` for a file NAME of the folder.
        stray: what reads like a sidecar and is none: nothing bears that name, or the suffix is spelt otherwise.
        claimed: name of a stray by the folded name of the file that it was probably meant for.
    """

    proper: frozenset[str]
    stray: frozenset[str]
    claimed: dict[str, str]

    @staticmethod
    def among(names: Iterable[str]) -> Sidecars:
        """Look at all names of one folder."""
        present = frozenset(names)
        proper, stray = set[str](), set[str]()
        claimed: dict[str, str] = {}
        for name in sorted(present):
            match = _LIKE_A_SIDECAR.fullmatch(name)
            if match is None:
                continue
            stem = match.group(1)
            if name == stem + SIDECAR_SUFFIX and stem in present:
                proper.add(name)
            else:
                stray.add(name)
                claimed[_folded(stem)] = name
        return Sidecars(frozenset(proper), frozenset(stray), claimed)

    def meant_for(self, name: str) -> str | None:
        """A stray sidecar whose name differs from the right one by case, Unicode form or suffix only."""
        return self.claimed.get(_folded(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if is_identifier(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
