"""Who opens our locks may read at the source: against the access check of MS-DTYP 2.5.3.2, written once more here.

Every list is asked for all tokens over a few accounts, with several outcomes of what cannot be read from it:
conditions, kinds of objects, a central policy, an owner that the export left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag.errors import ConfigError
from secure_rag_acl.formats._sddl_decision import OWNER_MAY_CHANGE
from secure_rag_acl.formats.native import ItemProblem, NativePermissions
from secure_rag_acl.formats.ntfs_export import read
from secure_rag_acl.formats.sddl import parse_sddl
from tests.controls import control
from tests.support.native_readers import may_read

WORLD = "S-1-1-0"
PEOPLE = ("S-1-5-11", "S-1-5-32-544", "S-1-5-21-7-8-9-1101", "S-1-5-21-7-8-9-1102", "S-1-5-21-7-8-9-1103")
TOKENS = [{WORLD, *some} for size in range(len(PEOPLE) + 1) for some in combinations(PEOPLE, size)]
SPELLED = {WORLD: "WD", "S-1-5-11": "AU", "S-1-5-32-544": "BA", "S-1-3-4": "OW", "S-1-3-0": "CO"}
GUID = "bf967aba-0de6-11d0-a285-00aa003049e2"
# rights -> the bits of a file that they stand for (MS-DTYP 2.4.3, winnt.h)
RIGHTS = {
    "FR": 0x120089, "FA": 0x1F01FF, "0x1200a9": 0x1200A9, "GR": 0x120089, "GA": 0x1F01FF, "CCSD": 0x10001,
    "1": 1, "FW": 0x120116, "FX": 0x1200A0, "GW": 0x120116, "0x100000": 0x100000, "SD": 0x10000, "WD": 0x40000,
    "": 0, "278": 278,
}  # fmt: skip
READING = [x for x, bits in RIGHTS.items() if bits & 1]


@dataclass(frozen=True)
class Item:
    kind: str
    flags: str
    rights: str
    sid: str
    short: bool

    def text(self) -> str:
        sid = SPELLED.get(self.sid, self.sid) if self.short else self.sid
        guid = GUID if self.kind in {"OA", "OD"} else ""
        tail = ';(@User.a == "x)" || (@User.b >= 2))' if self.kind in {"XA", "XD"} else ""
        return f"({self.kind};{self.flags};{self.rights};{guid};;{sid}{tail})"


@dataclass(frozen=True)
class Listed:
    owner: str
    owner_is_told: bool
    items: tuple[Item, ...]
    null: bool
    policy: bool

    def text(self) -> str:
        owner = f"O:{self.owner}" if self.owner_is_told else ""
        dacl = "NO_ACCESS_CONTROL" if self.null else "AI" + "".join(x.text() for x in self.items)
        return f"{owner}D:{dacl}" + ("S:(SP;;;;;S-1-17-1-2-3)" if self.policy else "")


Outcome = Callable[[int], bool]


def checked(listed: Listed, token: set[str], holds: Outcome) -> tuple[bool, bool]:
    """(granted, decided by a deny) for READ_DATA."""
    if listed.policy and not holds(-1):
        return False, True
    if listed.null:
        return True, False
    remaining = 0x1
    for number, item in enumerate(listed.items):
        if "IO" in item.flags or not _names(item, listed, token):
            continue
        if item.kind not in {"A", "D"} and not holds(number):
            continue
        if item.kind in {"A", "XA", "OA"}:
            remaining &= ~RIGHTS[item.rights]
            if not remaining:
                return True, False
        elif remaining & RIGHTS[item.rights]:
            return False, True
    return False, False


def _names(item: Item, listed: Listed, token: set[str]) -> bool:
    return (listed.owner if item.sid == "S-1-3-4" else item.sid) in token


def plain(listed: Listed) -> bool:
    """Nothing in it depends on what an export does not tell."""
    return (
        not listed.policy
        and all(x.kind in {"A", "D"} for x in listed.items)
        and (listed.owner_is_told or all(x.sid != "S-1-3-4" for x in listed.items))
    )


def order_matters(listed: Listed, token: set[str]) -> bool:
    """Whether the token meets both an allow and a deny."""
    met = {
        x.kind
        for x in listed.items
        if "IO" not in x.flags and RIGHTS[x.rights] & 1 and _names(x, listed, token)
    }
    return len(met) > 1


ITEMS = st.builds(
    Item,
    st.sampled_from(["A"] * 8 + ["D"] * 5 + ["XA", "XD", "OA", "OD"]),
    st.sampled_from(["", "ID", "OICIID", "", "OICIIO"]),
    st.sampled_from(READING * 2 + list(RIGHTS)),
    st.sampled_from([*PEOPLE, *PEOPLE, WORLD, "S-1-3-4", "S-1-3-0"]),
    st.booleans(),
)
PLAIN_ITEMS = ITEMS.filter(lambda x: x.kind in {"A", "D"})
LISTS = st.builds(
    Listed,
    st.sampled_from(PEOPLE),
    st.sampled_from([True, True, False]),
    st.one_of(
        st.lists(PLAIN_ITEMS, max_size=6),
        st.lists(PLAIN_ITEMS, max_size=6).map(lambda x: sorted(x, key=lambda y: y.kind != "D")),
        st.lists(ITEMS, max_size=6),
    ).map(tuple),
    st.sampled_from([False] * 19 + [True]),
    st.sampled_from([False] * 19 + [True]),
)
SEEN: Counter[str] = Counter()


def ours(own: Listed, share: Listed | None) -> NativePermissions:
    shared = None if share is None else {"name": "hr", "sddl": share.text()}
    body = {"share": shared, "items": [{"path": "a", "sddl": own.text()}]}
    found = read(json.dumps(body).encode(), "d").items["a"]
    assert isinstance(found, NativePermissions)
    return found


def outcomes(seed: int) -> Iterator[Outcome]:
    yield lambda _: True
    yield lambda _: False
    yield lambda number: bool(seed >> (number + 1) & 1)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(LISTS, st.one_of(st.none(), st.none(), LISTS), st.integers(0, 127))
def _compare(own: Listed, share: Listed | None, seed: int) -> None:
    found = ours(own, share)
    lists = [own] if share is None else [own, share]
    exact = not [x for x in found.narrowed if x.why != OWNER_MAY_CHANGE]
    for token in TOKENS:
        mine = may_read(found, {f"sid:{x}" for x in token}, 0)
        for holds in outcomes(seed):
            verdicts = [checked(x, token, holds) for x in lists]
            theirs = all(granted for granted, _ in verdicts)
            assert theirs or not mine, (own, share, token)
            if exact or all(plain(x) and not order_matters(x, token) for x in lists):
                assert mine is theirs, (own, share, token)
                SEEN["compared for equality"] += 1
            SEEN["asked"] += 1
            SEEN["allowed"] += mine
            SEEN["allowed at the source"] += theirs
            SEEN["denied by an entry"] += any(denied for _, denied in verdicts)
            SEEN["narrowed away"] += theirs and not mine
    SEEN["lists"] += 1
    SEEN["lists narrowed"] += not exact


@control("acl:ntfs-subset")
def test_readers_are_a_subset_and_equal_where_order_does_not_matter() -> None:
    _compare()
    assert SEEN["allowed"] >= 0.10 * SEEN["asked"], SEEN
    assert SEEN["denied by an entry"] >= 0.05 * SEEN["asked"], SEEN
    assert SEEN["compared for equality"] >= 0.30 * SEEN["asked"], SEEN
    assert 0.05 * SEEN["lists"] <= SEEN["lists narrowed"] <= 0.6 * SEEN["lists"], SEEN
    assert 0 < SEEN["narrowed away"] <= 0.1 * SEEN["asked"], SEEN


CUT: Counter[str] = Counter()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(LISTS, st.floats(0, 1), st.integers(0, 127))
def _cut(own: Listed, part: float, seed: int) -> None:
    text = own.text().partition("S:(")[0]
    ends = [n for n, x in enumerate(text, 1) if x == ")"] if seed % 4 else range(1, len(text) + 1)
    cut = text[: ends[round(part * (len(ends) - 1))]] if ends else text
    body = {"share": None, "items": [{"path": "a", "sddl": cut}]}
    found = read(json.dumps(body).encode(), "d").items["a"]
    CUT["withheld" if isinstance(found, ItemProblem) else "read"] += 1
    if isinstance(found, NativePermissions) and not own.policy:
        for token in TOKENS:
            if may_read(found, {f"sid:{x}" for x in token}, 0):
                assert all(checked(own, token, holds)[0] for holds in outcomes(seed)), (own, cut, token)


@control("acl:ntfs-subset")
def test_a_descriptor_that_is_cut_off_anywhere_never_widens() -> None:
    _cut()
    assert min(CUT["withheld"], CUT["read"]) >= 15, CUT


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.text('OGDSAIPXR:();"-1x05BWFU ', max_size=60))
def test_any_text_is_a_descriptor_or_refused(text: str) -> None:
    for sddl in (text, f"D:({text}", f"D:(XA;;FR;;;BA;({text}))"):
        try:
            assert parse_sddl(sddl) == parse_sddl(sddl)
        except ConfigError:
            continue


def test_the_evaluator_knows_the_order_of_windows() -> None:
    who = PEOPLE[2]
    allow, deny = Item("A", "", "FR", who, False), Item("D", "ID", "FR", who, False)
    for items, granted in (((allow, deny), True), ((deny, allow), False), ((), False)):
        assert checked(Listed(who, True, items, False, False), {WORLD, who}, lambda _: True)[0] is granted


@pytest.mark.parametrize("rights", sorted(RIGHTS))
def test_rights_agree(rights: str) -> None:
    """Each spelling of rights, alone: nothing to narrow, so both must say the same."""
    listed = Listed(PEOPLE[0], True, (Item("A", "", rights, PEOPLE[0], False),), False, False)
    mine = may_read(ours(listed, None), {f"sid:{PEOPLE[0]}"}, 0)
    assert mine is checked(listed, {PEOPLE[0]}, lambda _: True)[0]
