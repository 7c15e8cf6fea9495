"""Hand-decided cases of NTFS permissions, and whether a reader gets one of them wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from secure_rag_acl.formats.native import ItemProblem, NativePermissions, PermissionDump
from tests.support.native_readers import may_read

TABLE = Path(__file__).parents[1] / "unit/acl/formats/golden/ntfs.yaml"
Read = Callable[[bytes, str], PermissionDump]


@dataclass(frozen=True)
class Case:
    id: str
    sddl: str
    why: str
    read: frozenset[str]
    share: str | None
    domain: str | None
    withheld: bool
    closed: bool
    narrower: bool

    def dump(self) -> bytes:
        """The case as an export."""
        share = None if self.share is None else {"name": "\\\\fs1\\hr", "sddl": self.share}
        body: dict[str, object] = {"share": share, "items": [{"path": "a.docx", "sddl": self.sddl}]}
        if self.domain is not None:
            body["domain_sid"] = self.domain
        return json.dumps(body).encode()


@dataclass(frozen=True)
class Table:
    people: Mapping[str, frozenset[str]]
    cases: tuple[Case, ...]


def table() -> Table:
    raw = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    people = {
        name: frozenset(f"sid:{sid}" for sid in (*sids, "S-1-1-0")) for name, sids in raw["people"].items()
    }
    known = {"id", "sddl", "why", "read", "share", "domain", "withheld", "closed", "narrower"}
    cases: list[Case] = []
    for row in raw["cases"]:
        assert set(row) <= known, row
        cases.append(
            Case(
                row["id"],
                row["sddl"],
                row["why"],
                frozenset(row.get("read", ())),
                row.get("share"),
                row.get("domain"),
                row.get("withheld", False),
                row.get("closed", False),
                row.get("narrower", False),
            )
        )
    return Table(people, tuple(cases))


def wrong(case: Case, people: Mapping[str, frozenset[str]], read: Read) -> str | None:
    """What a reader gets wrong about a case; None when it is right."""
    found = read(case.dump(), "dump.json").items["a.docx"]
    if isinstance(found, ItemProblem):
        return None if case.withheld else f"withheld: {found.why}"
    if case.withheld:
        return "must be withheld"
    readers = frozenset(name for name, sids in people.items() if may_read(found, sids, 0))
    if readers != case.read:
        return f"readers {sorted(readers)}, not {sorted(case.read)}"
    return _records(case, found)


def _records(case: Case, found: NativePermissions) -> str | None:
    if any(x.closed for x in found.locks) != case.closed:
        return f"closed {[x.closed for x in found.locks]}"
    if bool(found.narrowed) != case.narrower:
        return f"narrowed {found.narrowed}"
    return None
