"""Tables of permission entries that were decided by hand: who may read, who may not, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from secure_rag_acl.formats.native import ItemProblem, NativePermissions
from tests.support.native_readers import may_read


@dataclass(frozen=True)
class Case:
    """One row: `raw` is the row itself, `people` maps each person of the table to the native names held."""

    id: str
    raw: Mapping[str, object]
    people: Mapping[str, frozenset[str]]

    def agrees(self, result: NativePermissions | ItemProblem, now: int) -> str | None:
        """What is wrong with a reading of this row; None when it is as decided by hand."""
        if isinstance(result, ItemProblem):
            expected = str(self.raw.get("problem", "<none>"))
            return None if expected in result.why else f"problem {result.why!r}, not {expected!r}"
        if "problem" in self.raw:
            return "no problem was found"
        readers = {person for person, names in self.people.items() if may_read(result, names, now)}
        if readers != set(self.listed("may")):
            return f"readers are {sorted(readers)}"
        if bool(result.narrowed) is not bool(self.raw.get("narrowed", False)):
            return f"narrowed: {result.narrowed}"
        return None

    def listed(self, key: str) -> list[str]:
        """A list of people of the row."""
        found = self.raw.get(key, [])
        assert isinstance(found, list)
        return [str(x) for x in found]


def load_cases(path: Path) -> list[Case]:
    """The rows of a table; every row names every person once and has a reason."""
    return list(_cases(yaml.safe_load(path.read_text(encoding="utf-8"))))


def _cases(table: dict[str, object]) -> Iterator[Case]:
    people, rows = table["people"], table["cases"]
    assert isinstance(people, dict)
    assert isinstance(rows, list)
    held = {str(person): frozenset(str(x) for x in names) for person, names in people.items()}
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        case = Case(row["id"], row, held)
        assert len(str(row["why"])) > 20, case.id
        if "problem" not in row:
            assert sorted(case.listed("may") + case.listed("may_not")) == sorted(held), case.id
        yield case
