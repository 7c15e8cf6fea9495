"""Readers of Drive exports against a small statement of what Drive documents, over random permission objects."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag_acl.formats.drive import read
from secure_rag_acl.formats.native import NativePermissions
from tests.support.exported import NOW, drive_export, encoded
from tests.support.native_readers import may_read

Json = Mapping[str, object]
MAILS = ["ada@acme.example", "ben@acme.example", "otis@partner.example"]
GROUPS = ["eng@acme.example", "ops@acme.example"]
DOMAINS = ["acme.example", "partner.example"]
PEOPLE: list[tuple[str, frozenset[str]]] = [
    (mail, frozenset(groups)) for mail in MAILS for groups in ([], GROUPS[:1], GROUPS[1:], GROUPS)
]
ENDS = [
    "2026-05-31T23:59:59Z",
    "2026-06-01T00:00:01Z",
    "2026-06-01T00:00:00Z",
    "2026-12-31T00:00:00.123Z",
    "soon",
]
READS = ("owner", "organizer", "fileOrganizer", "writer", "commenter", "reader")
_maybe = st.sampled_from([False, False, False, True])


def _rarely(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), st.none(), st.none(), st.none(), st.none(), strategy)


_details = st.lists(
    st.fixed_dictionaries(
        {
            "permissionType": st.sampled_from(["file", "member"]),
            "role": st.sampled_from([*READS, "futureRole"]),
            "inherited": st.booleans(),
        }
    ),
    max_size=2,
)
_permission = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["user", "user", "user", "group", "group", "domain", "anyone", "audience"]),
        "role": st.sampled_from([*READS, *READS, "futureRole"]),
        "emailAddress": st.sampled_from([*MAILS, *GROUPS, *MAILS, *GROUPS, "Ada@Acme.example", None]),
        "domain": st.sampled_from([*DOMAINS, None]),
        "allowFileDiscovery": st.sampled_from([True, True, False, None]),
        "deleted": _maybe,
        "pendingOwner": _maybe,
        "expirationTime": _rarely(st.sampled_from(ENDS)),
        "view": _rarely(st.sampled_from(["published", "metadata", "futureView"])),
        "inheritedPermissionsDisabled": _rarely(st.booleans()),
        "permissionDetails": st.one_of(st.none(), _details),
    }
)
_restrictions = st.fixed_dictionaries(
    {
        "driveMembersOnly": st.booleans(),
        "domainUsersOnly": st.booleans(),
        "futureOnly": _rarely(st.booleans()),
    }
)
_file = st.fixed_dictionaries(
    {
        "inheritedPermissionsDisabled": st.sampled_from([False, False, True]),
        "driveId": st.sampled_from([None, None, "d"]),
    }
)


# ---- what Drive documents, stated once more: may this person read the content, by searching or with the link?


def _reads(
    person: tuple[str, frozenset[str]], file: Json, permissions: Sequence[Json], restrictions: Json
) -> bool | None:
    """None where only a link opens the file: the source gives it to whoever holds the link."""
    opened = [_opens(person, file, x) for x in permissions]
    if file["driveId"] is not None:
        if restrictions["futureOnly"]:
            return False
        if restrictions["domainUsersOnly"] and not person[0].endswith("@acme.example"):
            return False
        if restrictions["driveMembersOnly"] and not any(
            _opens(person, {}, x) and _member(x) for x in permissions
        ):
            return False
    if True in opened:
        return True
    return None if None in opened else False


def _member(permission: Json) -> bool:
    details = permission["permissionDetails"] or []
    assert isinstance(details, list)
    return any(x["permissionType"] == "member" and x["role"] in READS for x in details)


def _opens(person: tuple[str, frozenset[str]], file: Json, permission: Json) -> bool | None:
    role, kind = permission["role"], permission["type"]
    if permission["deleted"] or permission["view"] is not None or role not in READS or not _runs(permission):
        return False
    if role == "owner" and permission["pendingOwner"]:
        return False
    if (
        file.get("inheritedPermissionsDisabled") or (file and permission["inheritedPermissionsDisabled"])
    ) and role not in (
        "owner",
        "organizer",
    ):
        details = permission["permissionDetails"] or []
        assert isinstance(details, list)
        if not any(not x["inherited"] and x["role"] in READS for x in details):
            return False
    if not _names_person(person, permission):
        return False
    return True if kind in ("user", "group") or permission["allowFileDiscovery"] else None


def _names_person(person: tuple[str, frozenset[str]], permission: Json) -> bool:
    named = str(permission["emailAddress"]).lower()
    return {
        "user": named == person[0],
        "group": named in person[1],
        "domain": str(permission["domain"]) == person[0].split("@")[1],
        "anyone": True,
        "audience": False,
    }[str(permission["type"])]


def _runs(permission: Json) -> bool:
    end = permission["expirationTime"]
    if end is None:
        return True
    return end != "soon" and dt.datetime.fromisoformat(str(end)).timestamp() > NOW / 1e6


# ----


def _names(person: tuple[str, frozenset[str]]) -> frozenset[str]:
    mail, groups = person
    own = {f"drive-user:{mail}", f"drive-domain:{mail.split('@')[1]}", "drive-anyone"}
    return frozenset(own | {f"drive-group:{x}" for x in groups})


def _given(value: Json) -> dict[str, object]:
    return {key: x for key, x in value.items() if x is not None}


def test_readers_are_readers_at_the_source_and_the_same_unless_narrowed() -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(st.lists(_permission, min_size=1, max_size=5), _file, _restrictions)
    def check(permissions: list[Json], file: Json, restrictions: Json) -> None:
        raw = [_given(x) | {"id": str(n)} for n, x in enumerate(permissions)]
        item = {"path": "a", "file": _given(file) | {"id": "f", "permissions": raw}}
        drives = [{"id": "d", "restrictions": _given(restrictions)}]
        export = drive_export([item], drives=drives, organization_domains=["acme.example"])
        found = read(encoded(export), "d.json").items["a"]
        assert isinstance(found, NativePermissions)
        outcomes["narrowed"] += bool(found.narrowed)
        outcomes["exports"] += 1
        for person in PEOPLE:
            ours = may_read(found, _names(person), NOW)
            source = _reads(person, file, permissions, restrictions)
            assert not ours or source is True, person
            if not found.narrowed:
                assert ours is bool(source), person
            outcomes["people"] += 1
            outcomes["allowed"] += ours
            named = any(_names_person(person, x) for x in permissions)
            outcomes["named and kept out"] += named and source is False

    check()
    assert outcomes["allowed"] >= 0.10 * outcomes["people"]
    assert outcomes["named and kept out"] >= 0.05 * outcomes["people"]
    assert 0.05 * outcomes["exports"] <= outcomes["narrowed"] <= 0.90 * outcomes["exports"]
