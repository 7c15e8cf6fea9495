"""NFSv4 access lists as `nfs4_getfacl` prints them, with the owner and group that it does not print.

Export with the script in `docs/formats/nfs4_acl.md`: it adds `# owner:` and `# group:`, and escapes names of files,
which `nfs4_getfacl -R` does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secure_rag_acl import fields
from secure_rag_acl.formats._acl_text import Block, Line, read_dump
from secure_rag_acl.formats._folder_locks import Guard, RefusedError
from secure_rag_acl.formats._nfs4_rules import EVERYONE, Step, guard
from secure_rag_acl.formats.native import LIMITS, Limits, NativePrincipal, PermissionDump

_HEAD: Final = re.compile(r"# (owner|group): (.+)")
_ACE: Final = re.compile(r"([A-Za-z]):([A-Za-z]*):(.+):([A-Za-z]*)")
_LOGGING: Final = frozenset("UL")
_FLAGS: Final = frozenset("fdngiSFI")
_RIGHTS: Final = frozenset("rwaxdDtTnNcCoy")
_SEARCH, _READ = "x", "r"
_UNMAPPED: Final = frozenset({"nobody", "nfsnobody", "nogroup", "65534", "4294967294"})
"""What a server writes for an account that it cannot name: any account."""


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry.

    Attributes:
        kind: `A`, `D`, or one that we do not know.
        flags: letters.
        who: whom it names; None when the dump does not say.
        rights: letters.
        line: as written, and where.
    """

    kind: str
    flags: frozenset[str]
    who: NativePrincipal | None
    rights: frozenset[str]
    line: Line

    def step(self, right: str, *, on_folder: bool) -> Step | None:
        """What the entry does about a right; None for nothing."""
        text, place = self.line.text, self.line.place
        if self.kind in _LOGGING:
            return None
        if self.kind == "A":
            if right not in self.rights or "i" in self.flags:
                return None
            return Step(True, self.who if self.flags <= _FLAGS else None, text, place)
        # A right or a kind that we do not know may be a refusal of what we ask for. What is only for heirs of a
        # folder is no entry of it; on a file nobody has defined it.
        if self.kind == "D" and not (right in self.rights or self.rights - _RIGHTS):
            return None
        if self.kind == "D" and "i" in self.flags and on_folder:
            return None
        return Step(False, self.who if self.kind == "D" else None, text, place)


@dataclass(frozen=True, slots=True)
class Listed:
    """One object with its list."""

    path: str
    place: str
    is_folder: bool
    aces: tuple[Ace, ...]

    def search(self) -> Guard:
        """Who may go through it."""
        return guard(list(self._steps(_SEARCH, on_folder=True)), f"search on {self.path}")

    def read(self) -> Guard:
        """Who may read it."""
        return guard(list(self._steps(_READ, on_folder=False)), f"read on {self.path}")

    def _steps(self, right: str, *, on_folder: bool) -> Iterator[Step]:
        for ace in self.aces:
            step = ace.step(right, on_folder=on_folder)
            if step is not None:
                yield step


def read(data: bytes, name: str, limits: Limits = LIMITS, *, below_root: bool = False) -> PermissionDump:
    """Permissions from what `nfs4_getfacl` printed.

    Args:
        data: the dump, with our envelope.
        name: of the file, for places.
        limits: of the source.
        below_root: readers enter the source at its root; folders above it do not count.

    Raises:
        ConfigError: the dump cannot be trusted as a whole; names file and line.
    """
    return read_dump(data, name, limits, _read_block, below_root=below_root)


def _read_block(block: Block, path: str) -> Listed:
    head = dict[str, NativePrincipal | None]()
    aces: list[Ace] = []
    for line in block.lines:
        found = _HEAD.fullmatch(line.text)
        if found is None:
            aces.append(_ace(line, head))
        elif found[1] in head or aces:
            raise RefusedError(line.place, f"a second `# {found[1]}:`, or one after entries")
        else:
            head[found[1]] = _account("user" if found[1] == "owner" else "group", found[2], line)
    if not aces:
        raise RefusedError(block.place, "no entries: the list was not readable when it was exported")
    return Listed(path, block.place, False, tuple(aces))


def _ace(line: Line, head: dict[str, NativePrincipal | None]) -> Ace:
    found = _ACE.fullmatch(line.text)
    if found is None:
        raise RefusedError(line.place, "not an entry as `nfs4_getfacl` prints it")
    kind, flags, who, rights = found.groups()
    return Ace(kind, frozenset(flags), _who(who, flags, line, head), frozenset(_spelt_out(rights)), line)


def _who(who: str, flags: str, line: Line, head: dict[str, NativePrincipal | None]) -> NativePrincipal | None:
    if who == "EVERYONE@":
        return EVERYONE
    if who in ("OWNER@", "GROUP@"):
        return head.get(who.removesuffix("@").lower())
    if who.endswith("@"):
        return None  # INTERACTIVE@, NETWORK@, … name a way of access, not an account
    return _account("group" if "g" in flags else "user", who, line)


def _account(kind: str, text: str, line: Line) -> NativePrincipal | None:
    """A user or group; None for what stands for any account that the server cannot name."""
    try:
        name = fields.native_name(text)
    except ValueError as error:
        raise RefusedError(line.place, str(error)) from error
    local, at, domain = name.partition("@")
    if not local or (at and not domain):
        raise RefusedError(line.place, f"not a name: {text!r}")
    if local in _UNMAPPED:
        return None
    return NativePrincipal(f"nfs4-{kind}:{local}{at}{domain.lower()}")


def _spelt_out(rights: str) -> str:
    """`R` and `X` are short for several rights, as `nfs4_setfacl` takes them."""
    return rights.replace("R", "rntcy").replace("W", "watTNcCy").replace("X", "xtcy")
