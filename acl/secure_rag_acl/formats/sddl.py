"""Security descriptors as text (SDDL), read strictly and kept as written; what they decide is `_sddl_decision`.

`O:<sid>G:<sid>D:<flags>(ace)…S:<flags>(ace)…`, an ACE being `type;flags;rights;guid;guid;sid[;(expression)]`.
Source: MS-DTYP 2.5.1.1.

Invariants
- No part is guessed: a string with one malformed ACE gives no descriptor at all.
- An absent DACL, a NULL DACL and an empty DACL are three different things.
- Expressions and resource attributes are skipped as they stand, quotes and nested parentheses respected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats._sddl_names import SID_START, sid_of
from secure_rag_acl.formats.native import LIMITS

NULL_DACL: Final = "NO_ACCESS_CONTROL"
READ_DATA: Final = 0x1
GENERIC_ALL: Final = 0x1000_0000
GENERIC_READ: Final = 0x8000_0000
NO_READ_UP: Final = 0x2
"""Of a mandatory label."""

# Bits of a file. The tokens of directory objects and registry keys are the same bits under other names:
# CC is READ_DATA, and Windows prints it for files whenever a mask has no name of its own.
_RIGHTS: Final = {
    "CC": 0x1, "DC": 0x2, "LC": 0x4, "SW": 0x8, "RP": 0x10, "WP": 0x20, "DT": 0x40, "LO": 0x80, "CR": 0x100,
    "SD": 0x1_0000, "RC": 0x2_0000, "WD": 0x4_0000, "WO": 0x8_0000,
    "GA": GENERIC_ALL, "GX": 0x2000_0000, "GW": 0x4000_0000, "GR": GENERIC_READ,
    "FA": 0x1F_01FF, "FR": 0x12_0089, "FW": 0x12_0116, "FX": 0x12_00A0,
    "KA": 0xF_003F, "KR": 0x2_0019, "KW": 0x2_0006, "KX": 0x2_0019,
}  # fmt: skip
_LABEL_RIGHTS: Final = {"NW": 0x1, "NR": NO_READ_UP, "NX": 0x4}
_ACE_FLAGS: Final = frozenset({"OI", "CI", "NP", "IO", "ID", "SA", "FA", "CR", "TP"})
_ACL_FLAGS: Final = ("AI", "AR", "P")
_WITH_GUIDS: Final = frozenset({"OA", "OD", "OU", "OL", "ZA"})
CONDITIONAL_ALLOW: Final = frozenset({"XA", "ZA"})
CONDITIONAL_DENY: Final = "XD"
_WITH_TAIL: Final = CONDITIONAL_ALLOW | {CONDITIONAL_DENY, "XU", "RA", "FL"}
PUBLISHED: Final = frozenset(
    {"A", "D", "OA", "OD", "XA", "XD", "ZA", "AU", "AL", "OU", "OL", "XU", "RA", "ML", "SP", "TL", "FL"}
)

_PART: Final = re.compile(r"([OGDS]):")
_NUMBER: Final = re.compile(r"(0[xX][0-9A-Fa-f]+)|(0[0-7]*)|([1-9][0-9]*)")
_PAIRS: Final = re.compile(r"(?:[A-Z]{2})*")
_SIMPLE_ACE: Final = re.compile(r'\(([^;()"]*);([^;()"]*);([^;()"]*);([^;()"]*);([^;()"]*);([^;()"]*)\)')
_MASK_END: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry.

    Attributes:
        number: 1 for the first of its list.
        text: as written, with its parentheses.
        kind: `A`, `D`, `XA` …, also one that is not published.
        flags: of `OI CI NP IO ID SA FA CR TP`.
        rights: access mask; None when a token of it is not published.
        sid: identifier, or a token that only its domain could resolve; None for a token that is not published.
        of_object: it has an object GUID.
    """

    number: int
    text: str
    kind: str
    flags: frozenset[str]
    rights: int | None
    sid: str | None
    of_object: bool = False

    @property
    def inherit_only(self) -> bool:
        """Whether it is only there for children to inherit."""
        return "IO" in self.flags

    @property
    def may_read(self) -> bool | None:
        """Whether its mask holds READ_DATA, also as a generic right; None when nobody can tell."""
        return None if self.rights is None else bool(self.rights & (READ_DATA | GENERIC_READ | GENERIC_ALL))


@dataclass(frozen=True, slots=True)
class Acl:
    """A list of entries, in order. `null` is a NULL DACL: there is no list and everybody has every right."""

    aces: tuple[Ace, ...] = ()
    null: bool = False
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A security descriptor; a part that is None was not in the text."""

    owner: str | None = None
    group: str | None = None
    dacl: Acl | None = None
    sacl: Acl | None = None


def parse_sddl(text: str, domain: str | None = None, max_depth: int = LIMITS.max_depth) -> Descriptor:
    """Read one security descriptor.

    Args:
        text: SDDL, nothing around it.
        domain: identifier of the domain that tokens such as `DU` belong to.
        max_depth: how deep parentheses of an expression may nest.

    Raises:
        ConfigError: it is malformed; says where.
    """
    if not text.isprintable():
        raise ConfigError("control characters in a security descriptor")
    sids: dict[str, str | None] = {}
    acls: dict[str, Acl] = {}
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise ConfigError(f"column {at + 1}: expected O:, G:, D: or S: of a security descriptor")
        letter, at = part[1], part.end()
        if letter in sids or letter in acls:
            raise ConfigError(f"column {at - 1}: the part {letter}: occurs twice")
        if letter in "OG":
            sid = SID_START.match(text, at)
            if sid is None:
                raise ConfigError(f"column {at + 1}: no security identifier after {letter}:")
            sids[letter], at = sid_of(sid[0], domain), sid.end()
        else:
            acls[letter], at = _acl(text, at, letter, domain, max_depth)
    return Descriptor(sids.get("O"), sids.get("G"), acls.get("D"), acls.get("S"))


def _acl(text: str, at: int, letter: str, domain: str | None, max_depth: int) -> tuple[Acl, int]:
    null = protected = False
    while True:
        if text.startswith(NULL_DACL, at):
            null, at = True, at + len(NULL_DACL)
            continue
        flag = next((x for x in _ACL_FLAGS if text.startswith(x, at)), None)
        if flag is None:
            break
        protected, at = protected or flag == "P", at + len(flag)
    aces: list[Ace] = []
    while text.startswith("(", at):
        where = f"{letter}: ACE {len(aces) + 1}"
        fields, end = _fields(text, at, where, max_depth)
        aces.append(_ace(fields, text[at:end], len(aces) + 1, where, domain))
        at = end
    if null and (aces or letter == "S"):
        raise ConfigError(f"{letter}: {NULL_DACL} beside entries, or in the wrong list")
    return Acl(tuple(aces), null, protected), at


def _fields(text: str, at: int, where: str, max_depth: int) -> tuple[list[str], int]:
    simple = _SIMPLE_ACE.match(text, at)
    if simple is not None:
        return list(simple.groups()), simple.end()
    fields: list[str] = []
    start, depth, quoted = at + 1, 0, False
    for here in range(at, len(text)):
        char = text[here]
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            depth += 1
            if depth > max_depth:
                raise ConfigError(f"{where}: parentheses nest deeper than {max_depth}")
        elif char == ")":
            depth -= 1
            if depth == 0:
                return [*fields, text[start:here]], here + 1
        elif char == ";" and depth == 1:
            fields.append(text[start:here])
            start = here + 1
    raise ConfigError(f"{where}: not closed; the descriptor is cut off")


def _ace(fields: list[str], text: str, number: int, where: str, domain: str | None) -> Ace:
    kind = fields[0]
    if not 1 <= len(kind) <= 2 or not (kind.isascii() and kind.isalpha() and kind.isupper()):
        raise ConfigError(f"{where}: {kind[:20]!r} is no type of an entry")
    if len(fields) not in (6, 7):
        raise ConfigError(f"{where}: has {len(fields)} fields instead of 6 or 7")
    if kind not in PUBLISHED:
        return Ace(number, text, kind, _flags(fields[1], where), None, None)
    tail = fields[6] if len(fields) == 7 else ""
    if tail and (kind not in _WITH_TAIL or not _is_one_group(tail)):
        raise ConfigError(f"{where}: an entry of type {kind} with {tail[:40]!r} at its end")
    guids = bool(fields[3] or fields[4])
    if guids and kind not in _WITH_GUIDS:
        raise ConfigError(f"{where}: an entry of type {kind} with an object identifier")
    try:
        sid = sid_of(fields[5], domain)
        rights = _mask(fields[2], _LABEL_RIGHTS if kind == "ML" else _RIGHTS)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Ace(number, text, kind, _flags(fields[1], where), rights, sid, bool(fields[3]))


def _is_one_group(tail: str) -> bool:
    """Whether the parenthesis that opens first closes last."""
    depth, quoted = 0, False
    for here, char in enumerate(tail):
        if char == '"':
            quoted = not quoted
        elif not quoted:
            depth += (char == "(") - (char == ")")
            if depth == 0:
                return here == len(tail) - 1 and here > 0
    return False


def _flags(text: str, where: str) -> frozenset[str]:
    flags = frozenset(text[x : x + 2] for x in range(0, len(text), 2))
    if not flags <= _ACE_FLAGS:
        raise ConfigError(f"{where}: unknown flags {text[:40]!r}")
    return flags


def _mask(text: str, names: dict[str, int]) -> int | None:
    number = _NUMBER.fullmatch(text)
    if number is not None:
        base = 16 if number[1] else 8 if number[2] else 10
        # Hexadecimal digits beyond nine are refused before they are turned into a number of any size.
        mask = int(text, base) if len(text) <= 12 else _MASK_END
        if mask >= _MASK_END:
            raise ConfigError(f"rights {text[:20]!r} are more than 32 bits")
        return mask
    if _PAIRS.fullmatch(text) is None:
        raise ConfigError(f"malformed rights {text[:40]!r}")
    mask = 0
    for start in range(0, len(text), 2):
        bits = names.get(text[start : start + 2])
        if bits is None:
            return None
        mask |= bits
    return mask
