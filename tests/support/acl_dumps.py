"""Golden tables of dumps in text, and what a reader makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from secure_rag_acl.formats.native import ItemProblem, PermissionDump
from tests.support.native_readers import may_read

ReadDump = Callable[..., PermissionDump]
TABLES = Path(__file__).parents[1] / "unit" / "acl" / "formats" / "golden"


@dataclass(frozen=True)
class Case:
    """One row: a dump, an item, and who may read it."""

    id: str
    dump: bytes
    item: str
    below_root: bool
    people: dict[str, list[str]]
    may: frozenset[str]
    narrowed: bool
    problem: str | None


def table(name: str, frame: Callable[[Sequence[str]], str]) -> list[Case]:
    """Cases of a table; `frame` makes a dump of the entries of `f.txt`."""
    raw = yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    cases: list[Case] = []
    for row in raw["cases"]:
        assert row["why"].strip()
        assert set(row.get("may", [])) <= set(raw["people"])
        cases.append(
            Case(
                id=row["id"],
                dump=(row.get("dump") or frame(row["entries"])).encode(),
                item=row.get("item", "f.txt"),
                below_root=row.get("below_root", True),
                people=raw["people"],
                may=frozenset(row.get("may", [])),
                narrowed=row.get("narrowed", False),
                problem=row.get("problem"),
            )
        )
    assert len({x.id for x in cases}) == len(cases)
    return cases


def posix_table() -> list[Case]:
    """The table of POSIX lists."""
    head = "# owner: {}\n# group: {}\n"
    root = f"# file: .\n{head.format('root', 'root')}user::rwx\ngroup::r-x\nother::r-x\n\n"
    return table("posix_acl", lambda x: _lines(f"{root}# file: f.txt\n{head.format('ada', 'staff')}", x))


def nfs4_table() -> list[Case]:
    """The table of NFSv4 lists."""
    root = "# file: .\n# owner: root@corp.example\n# group: root@corp.example\nA::EVERYONE@:x\n\n"
    file = "# file: f.txt\n# owner: ada@corp.example\n# group: staff@corp.example\n"
    return table("nfs4_acl", lambda x: _lines(root + file, x))


def _lines(head: str, entries: Sequence[str]) -> str:
    return head + "".join(f"{x}\n" for x in entries)


def wrong(case: Case, read: ReadDump) -> str | None:
    """What a reader gets wrong about a case; None for nothing."""
    found = read(case.dump, case.id, below_root=case.below_root).items.get(case.item)
    if found is None:
        return "no such item"
    if isinstance(found, ItemProblem):
        return None if case.problem is not None and case.problem in found.why else f"withheld: {found.why}"
    if case.problem is not None:
        return "not withheld"
    admitted = frozenset(name for name, held in case.people.items() if may_read(found, held, 0))
    if admitted != case.may:
        return f"admits {sorted(admitted)}, not {sorted(case.may)}"
    if bool(found.narrowed) is not case.narrowed:
        return f"narrowed: {found.narrowed}"
    return None
