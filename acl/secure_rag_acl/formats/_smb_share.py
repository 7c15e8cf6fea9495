"""The list of an SMB share: as a security descriptor, or as `Get-SmbShareAccess` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats._sddl_names import canonical_sid
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.sddl import Ace, Acl, Descriptor

# PowerShell prints names, its JSON the numbers behind them.
_ALLOW: Final = frozenset({"allow", "0"})
_DENY: Final = frozenset({"deny", "1"})
_RIGHTS: Final = {
    "full": 0x1F01FF, "0": 0x1F01FF, "change": 0x1301BF, "1": 0x1301BF, "read": 0x1200A9, "2": 0x1200A9,
}  # fmt: skip
# Accounts that mean the same on every machine; their names are translated in other languages of Windows.
_WELL_KNOWN: Final = {
    "everyone": "S-1-1-0",
    "nt authority\\authenticated users": "S-1-5-11",
    "nt authority\\system": "S-1-5-18",
    "builtin\\administrators": "S-1-5-32-544",
    "builtin\\users": "S-1-5-32-545",
}


def read_accounts(node: Node) -> Mapping[str, str]:
    """Account names with their identifiers `S-1-…`.

    Raises:
        ConfigError: a value is no identifier, a name occurs twice in whatever case, or has control characters.
    """
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    accounts: dict[str, str] = {}
    for name in map(str, node.value):
        value = node.child(name)
        if not name.isprintable():
            raise value.error("control characters in an account name")
        accounts[name] = _sid(value, value.text())
    if len({x.lower() for x in accounts}) != len(accounts):
        raise node.error("an account name occurs twice")
    return accounts


def share_access(entries: list[Node], accounts: Mapping[str, str]) -> Descriptor:
    """The objects of `Get-SmbShareAccess` as a descriptor; the entries keep their order.

    An account without an identifier stays unknown: its allow grants nothing, its deny closes the lock.

    Raises:
        ConfigError: an object lacks a field or has another type in it.
    """
    known = _WELL_KNOWN | {name.lower(): sid for name, sid in accounts.items()}
    return Descriptor(dacl=Acl(tuple(_ace(x, n, known) for n, x in enumerate(entries, 1))))


def _ace(node: Node, number: int, known: Mapping[str, str]) -> Ace:
    account = node.child("AccountName")
    control, right = _word(node.child("AccessControlType")), _word(node.child("AccessRight"))
    kind = "A" if control in _ALLOW else "D" if control in _DENY else "?"
    name = account.text().removeprefix("*").lower()  # accounts that are gone appear as their identifier
    sid = _sid(account, name) if name.startswith("s-1-") else known.get(name)
    return Ace(number, f"{account.value} {control} {right}", kind, frozenset(), _RIGHTS.get(right), sid)


def _word(node: Node) -> str:
    return str(node.number()) if type(node.value) is int else node.text().lower()


def _sid(node: Node, text: str) -> str:
    try:
        return canonical_sid(text)
    except ConfigError as error:
        raise node.error(str(error)) from error
