"""Security identifiers: how SDDL spells them, and which of them a reader of a file can hold.

Source: MS-DTYP 2.4.2 (SIDs), 2.5.1.1 (tokens), sddl.h.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats.native import NativePrincipal

EVERYONE: Final = "S-1-1-0"
OWNER_RIGHTS: Final = "S-1-3-4"
_SID: Final = re.compile(r"[Ss]-1-(0[xX][0-9A-Fa-f]{1,12}|[0-9]{1,15})((?:-[0-9]{1,10}){1,15})")
SID_START: Final = re.compile(rf"{_SID.pattern}|[A-Z]{{2}}")
"""What stands after `O:` and `G:`."""
_SUB_AUTHORITY_END: Final = 1 << 32
_AUTHORITY_END: Final = 1 << 48

_BUILTIN: Final = {
    "AA": 579, "AO": 548, "BA": 544, "BG": 546, "BO": 551, "BU": 545, "CD": 574, "CY": 569, "ER": 573,
    "ES": 576, "HA": 578, "IS": 568, "LU": 559, "MS": 577, "MU": 558, "NO": 556, "PO": 550, "PU": 547,
    "RA": 575, "RD": 555, "RE": 552, "RM": 580, "RU": 554, "SO": 549,
}  # fmt: skip
_FIXED: Final = {
    "AC": "S-1-15-2-1", "AN": "S-1-5-7", "AS": "S-1-18-1", "AU": "S-1-5-11", "CG": "S-1-3-1",
    "CO": "S-1-3-0", "ED": "S-1-5-9", "HI": "S-1-16-12288", "IU": "S-1-5-4", "LS": "S-1-5-19",
    "LW": "S-1-16-4096", "ME": "S-1-16-8192", "MP": "S-1-16-8448", "NS": "S-1-5-20", "NU": "S-1-5-2",
    "OW": OWNER_RIGHTS, "PS": "S-1-5-10", "RC": "S-1-5-12", "SI": "S-1-16-16384", "SS": "S-1-18-2",
    "SU": "S-1-5-6", "SY": "S-1-5-18", "UD": "S-1-5-84-0-0-0-0-0", "WD": EVERYONE, "WR": "S-1-5-33",
}  # fmt: skip
_TOKENS: Final = _FIXED | {token: f"S-1-5-32-{rid}" for token, rid in _BUILTIN.items()}
_OF_DOMAIN: Final = {
    "AP": 525, "CA": 517, "CN": 522, "DA": 512, "DC": 515, "DD": 516, "DG": 514, "DU": 513, "KA": 526,
    "PA": 520, "RS": 553,
}  # fmt: skip
# Of the forest's first domain, or of the machine: the domain of the dump does not tell which identifier it is.
_OF_ELSEWHERE: Final = frozenset({"EA", "EK", "LA", "LG", "RO", "SA"})

# Held by everybody, by all who are logged on in some way, or by a whole domain.
_BROAD: Final = frozenset(
    {
        EVERYONE, "S-1-2-0", "S-1-2-1", "S-1-5-2", "S-1-5-4", "S-1-5-7", "S-1-5-11", "S-1-5-14", "S-1-5-15",
        "S-1-5-113", "S-1-5-1000", "S-1-5-32-545", "S-1-5-32-546", "S-1-5-32-554", "S-1-5-64-10",
        "S-1-5-64-14", "S-1-5-64-21", "S-1-18-1", "S-1-18-2", "DC", "DG", "DU",
    }
)  # fmt: skip
_BROAD_OF_DOMAIN: Final = re.compile(r"S-1-5-21-[0-9]+-[0-9]+-[0-9]+-(513|514|515)")
# Placeholders that inheritance fills in, the account of a directory object, integrity levels: no token holds them.
_NOBODY: Final = frozenset({"S-1-0-0", "S-1-3-0", "S-1-3-1", "S-1-3-2", "S-1-3-3", "S-1-5-10"})
_LABEL: Final = "S-1-16-"
# Restricted code and application packages: they can pass only what the person behind them passes too.
_ONLY_BESIDE: Final = frozenset({"S-1-5-12", "S-1-5-33"})
_PACKAGE: Final = "S-1-15-"
_DISPLAY: Final = {
    EVERYONE: "Everyone", "S-1-5-2": "NETWORK", "S-1-5-4": "INTERACTIVE", "S-1-5-7": "ANONYMOUS LOGON",
    "S-1-5-11": "Authenticated Users", "S-1-5-18": "SYSTEM", "S-1-5-32-544": "BUILTIN\\Administrators",
    "S-1-5-32-545": "BUILTIN\\Users", "S-1-5-32-546": "BUILTIN\\Guests", "DU": "Domain Users",
    "DA": "Domain Admins", "DG": "Domain Guests", "DC": "Domain Computers",
}  # fmt: skip


@lru_cache(maxsize=8192)  # a source has few accounts beside its files
def canonical_sid(text: str) -> str:
    """`S-1-…` as Windows writes it: decimal, without leading zeros; a large authority in hexadecimal.

    Raises:
        ConfigError: it is no security identifier.
    """
    match = _SID.fullmatch(text)
    if match is None:
        raise ConfigError(f"not a security identifier: {text[:80]!r}")
    written = match[1]
    authority = int(written, 16) if written[:2].lower() == "0x" else int(written)
    parts = [int(x) for x in match[2][1:].split("-")]
    if authority >= _AUTHORITY_END or max(parts) >= _SUB_AUTHORITY_END:
        raise ConfigError(f"a number is too large in the security identifier {text[:80]!r}")
    head = str(authority) if authority < _SUB_AUTHORITY_END else f"0x{authority:012X}"
    return "-".join(("S", "1", head, *map(str, parts)))


def sid_of(text: str, domain: str | None = None) -> str | None:
    """The identifier that a SID or a two-letter token means; None for a token that nobody published.

    Args:
        text: `S-1-…` or a token.
        domain: identifier of the domain, `S-1-5-21-A-B-C`. Without it, tokens such as `DU` stay what they are.

    Raises:
        ConfigError: it is neither.
    """
    if len(text) == 2 and text.isascii() and text.isupper():
        if text in _TOKENS:
            return _TOKENS[text]
        if text in _OF_DOMAIN:
            return text if domain is None else f"{domain}-{_OF_DOMAIN[text]}"
        return text if text in _OF_ELSEWHERE else None
    return canonical_sid(text)


def held_by_nobody(sid: str) -> bool:
    """Whether no reader of a file ever holds it, so that an entry for it decides nothing."""
    return sid in _NOBODY or sid.startswith(_LABEL)


def grants_alone(sid: str) -> bool:
    """False for what only widens a confined process up to what its user may do anyway."""
    return not (sid in _ONLY_BESIDE or sid.startswith(_PACKAGE))


@lru_cache(maxsize=8192)
def principal_of(sid: str, display: str | None = None) -> NativePrincipal:
    """The native name of an identifier."""
    broad = sid in _BROAD or _BROAD_OF_DOMAIN.fullmatch(sid) is not None
    return NativePrincipal(f"sid:{sid}", broad=broad, display=display or _DISPLAY.get(sid))
