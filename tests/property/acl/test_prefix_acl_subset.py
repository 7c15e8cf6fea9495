"""Readers of prefix access files against every plausible reading of the format, over random files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag_acl.formats.native import NativePermissions
from secure_rag_acl.formats.prefix_acl import read
from tests.support.exported import NOW, encoded, prefix_export
from tests.support.native_readers import may_read

PREFIXES = ["", "h", "hr", "hr/", "hr/p", "hr/pay", "hr/pay/", "hr/pay/a.md", "wiki/"]
KEYS = ["hr/pay/a.md", "hr/payroll.md", "hr/a.md", "hrx/a.md", "wiki/a.md", "a.md"]
MAILS = ["ada@acme.example", "ben@acme.example", "cy@acme.example"]
WRITTEN = [*MAILS, *MAILS, "ben+list@acme.example", "ADA@acme.example"]
GROUPS = ["eng", "ops"]
PEOPLE = [(mail, frozenset(x)) for mail in MAILS for x in ([], ["eng"], ["ops"], GROUPS)]
Person = tuple[str, frozenset[str]]
Entry = tuple[str, str, bool]
"""Type, name as written, allowed."""
File = Mapping[str, list[Entry]]

_entry: st.SearchStrategy[Entry] = st.one_of(
    st.tuples(st.just("USER"), st.sampled_from(WRITTEN), st.sampled_from([True, True, False])),
    st.tuples(st.just("GROUP"), st.sampled_from(GROUPS), st.sampled_from([True, True, True, False])),
)
_files = st.dictionaries(
    st.sampled_from(PREFIXES),
    st.lists(_entry, max_size=5, unique_by=lambda x: (x[0], x[1].lower(), x[2])),
    min_size=1,
    max_size=4,
)

# ---- the readings: which prefixes match, which of them decide, and whether +detail is part of a name


def _as_text(prefix: str, key: str) -> bool:
    return key.startswith(prefix)


def _by_segments(prefix: str, key: str) -> bool:
    parts, of_key = prefix.rstrip("/").split("/"), key.split("/")
    if prefix == "":
        return True
    return of_key[: len(parts)] == parts and (not prefix.endswith("/") or len(of_key) > len(parts))


def _same(written: str, mail: str, collapse: bool) -> bool:
    name = written.lower()
    if collapse and "+" in name:
        name = name[: name.index("+")] + name[name.index("@") :]
    return name == mail


def _reads(
    person: Person, file: File, key: str, matches: Callable[[str, str], bool], longest: bool, collapse: bool
) -> bool:
    matching = sorted((x for x in file if matches(x, key)), key=len)
    decisive = matching[-1:] if longest else matching
    hits = [
        allowed
        for prefix in decisive
        for kind, name, allowed in file[prefix]
        if (_same(name, person[0], collapse) if kind == "USER" else name in person[1])
    ]
    return bool(hits) and all(hits)


def _readings(person: Person, file: File, key: str) -> list[bool]:
    return [
        _reads(person, file, key, matches, longest, collapse)
        for matches in (_as_text, _by_segments)
        for longest in (True, False)
        for collapse in (True, False)
    ]


# ----


def test_readers_are_readers_in_every_reading_and_all_of_them() -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(_files)
    def check(file: dict[str, list[Entry]]) -> None:
        acl = [
            {"keyPrefix": f"s3://acme/{prefix}", "aclEntries": [_raw(x) for x in entries]}
            for prefix, entries in file.items()
        ]
        dump = read(encoded(prefix_export(acl, KEYS)), "s3.json")
        for key in KEYS:
            found = dump.items[key]
            assert isinstance(found, NativePermissions)
            listed = any(key.startswith(x) for x in file)
            outcomes["objects"] += 1
            outcomes["narrowed"] += bool(found.narrowed) and listed
            for person in PEOPLE:
                names = {f"prefix-user:{person[0]}", *(f"prefix-group:{x}" for x in person[1])}
                ours, readings = may_read(found, names, NOW), _readings(person, file, key)
                assert ours is all(readings), (key, person)
                if not found.narrowed:
                    assert ours is any(readings), (key, person)
                outcomes["people"] += listed
                outcomes["allowed"] += ours
                outcomes["denied"] += any(
                    x.principal.name in names for lock in found.locks for x in lock.deny
                )

    check()
    assert outcomes["allowed"] >= 0.10 * outcomes["people"]
    assert outcomes["denied"] >= 0.05 * outcomes["people"]
    assert 0 < outcomes["narrowed"] <= 0.80 * outcomes["objects"]


def _raw(entry: Entry) -> dict[str, str]:
    kind, name, allowed = entry
    return {"Name": name, "Type": kind, "Access": "ALLOW" if allowed else "DENY"}
