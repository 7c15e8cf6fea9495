"""Drive exports: the table of cases decided by hand, and exports that cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag.model.ids import NEVER
from secure_rag_acl.formats.drive import read
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions
from tests.support.exported import GOLDEN, NOW, drive_export, drive_row, encoded
from tests.support.golden_exports import Case, load_cases
from tests.support.native_readers import may_read

CASES = load_cases(GOLDEN / "drive.yaml")
ADA: dict[str, object] = {
    "id": "1", "type": "user", "role": "reader", "emailAddress": "ada.marsh@acme.example", "deleted": False,
}  # fmt: skip
FILE: dict[str, object] = {"id": "f1", "mimeType": "text/plain"}


def _item(path: str = "a.md", *permissions: dict[str, object], **more: object) -> dict[str, object]:
    file = FILE | {"permissions": list(permissions or (ADA,))}
    return {"path": path, "file": file, **more}


def _problem(result: object) -> str:
    assert isinstance(result, ItemProblem)
    return result.why


@pytest.mark.parametrize("case", CASES, ids=[x.id for x in CASES])
def test_a_case_decided_by_hand(case: Case) -> None:
    assert case.agrees(drive_row(read, case), NOW) is None


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 25


def test_an_entry_says_where_it_stands_and_what_it_is() -> None:
    ada = ADA | {"displayName": "Ada Marsh", "photoLink": "https://photos.example/1"}
    dump = read(encoded(drive_export([_item("hr/a.md", ada)], exported_at="2026-05-31T06:00:00Z")), "d.json")
    assert dump.as_of == NOW - 18 * 3600 * 10**6
    found = dump.items["hr/a.md"]
    assert isinstance(found, NativePermissions)
    (entry,) = found.locks[0].allow
    assert entry.place == "d.json#/items/0/file/permissions/0"
    assert '"photoLink"' in entry.entry
    assert entry.expires == NEVER
    principal = entry.principal
    assert (principal.name, principal.broad) == ("drive-user:ada.marsh@acme.example", False)
    assert (principal.mail, principal.object_id, principal.display) == (
        "ada.marsh@acme.example",
        "1",
        "Ada Marsh",
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "d", "type": "domain", "role": "reader", "domain": "acme.example", "allowFileDiscovery": True},
        {"id": "a", "type": "anyone", "role": "reader", "allowFileDiscovery": True},
    ],
)
def test_a_domain_and_anyone_are_broad(entry: dict[str, object]) -> None:
    found = read(encoded(drive_export([_item("a.md", entry)])), "d.json").items["a.md"]
    assert isinstance(found, NativePermissions)
    assert [x.principal.broad for x in found.locks[0].allow] == [True]


def test_pages_are_read_to_the_end() -> None:
    ben = ADA | {"id": "2", "emailAddress": "ben.frost@acme.example"}
    pages = [{"permissions": [ADA], "nextPageToken": "t"}, {"permissions": [ben]}]
    item = {"path": "a.md", "file": FILE, "permission_pages": pages}
    found = read(encoded(drive_export([item])), "d.json").items["a.md"]
    assert isinstance(found, NativePermissions)
    assert len(found.locks[0].allow) == 2


@pytest.mark.parametrize(
    "pages",
    [
        [],
        [{"permissions": [ADA], "nextPageToken": "t"}],
        [{"permissions": [ADA]}, {"permissions": []}],
        [{"permissions": [ADA], "nextPageToken": "t"}, {"permissions": [], "nextPageToken": "u"}],
    ],
)
def test_a_page_too_few_or_too_many_withholds_the_file(pages: list[object]) -> None:
    items: list[dict[str, object]] = [
        {"path": "a.md", "file": FILE, "permission_pages": pages},
        _item("b.md"),
    ]
    dump = read(encoded(drive_export(items)), "d.json")
    assert "of permissions" in _problem(dump.items["a.md"])
    assert isinstance(dump.items["b.md"], NativePermissions)


def test_an_error_in_place_of_permissions_withholds_the_file() -> None:
    error = {"code": 403, "errors": [{"reason": "insufficientFilePermissions"}]}
    dump = read(encoded(drive_export([{"path": "a.md", "file": FILE, "error": error}])), "d.json")
    assert "d.json#/items/0/error: the permissions could not be read" in _problem(dump.items["a.md"])


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"permissions": {"id": "1"}}, "must be a list"),
        ({"permissions": ["ada"]}, "must be an object"),
        ({"permissions": [{"type": "user"}]}, "'id' is missing"),
        ({"permissions": [ADA | {"permissionDetails": "none"}]}, "must be a list"),
        ({"permissions": [ADA], "permissionIds": "1"}, "must be a list"),
        ({"permissions": None}, "no permissions"),
    ],
)
def test_a_broken_item_withholds_itself_only(broken: dict[str, object], why: str) -> None:
    items: list[dict[str, object]] = [{"path": "bad.md", "file": FILE | broken}, _item("good.md")]
    dump = read(encoded(drive_export(items)), "d.json")
    assert why in _problem(dump.items["bad.md"])
    assert isinstance(dump.items["good.md"], NativePermissions)


def test_two_files_of_one_name_are_both_withheld() -> None:
    items = [_item("a.md"), _item("a.md"), _item("a.md"), _item("b.md")]
    dump = read(encoded(drive_export(items)), "d.json")
    assert "occurs twice" in _problem(dump.items["a.md"])
    assert isinstance(dump.items["b.md"], NativePermissions)


@pytest.mark.parametrize(
    "path", ["", "/a.md", "a//b", "../a", "a/./b", "a/", "line\nbreak", "rtl\u202e.md", "lone\ud800"]
)
def test_a_path_that_is_none_withholds_its_item(path: str) -> None:
    dump = read(encoded(drive_export([_item(path), _item("b.md")])), "d.json")
    assert [type(x) for x in dump.items.values()] == [ItemProblem, NativePermissions]
    "".join(dump.items).encode()


@pytest.mark.parametrize(
    "mask",
    ["id,type,role", "permissions(id,type,role,emailAddress,domain,allowFileDiscovery)", "kind,permissions"],
)
def test_a_mask_that_may_have_hidden_a_restriction_is_refused(mask: str) -> None:
    export = drive_export([_item()], fields={"files": "*", "permissions": mask})
    with pytest.raises(ConfigError, match=r"d.json#/fields/permissions: .*expirationTime"):
        read(encoded(export), "d.json")


def test_a_mask_with_all_that_restricts_is_accepted() -> None:
    mask = (
        "nextPageToken, permissions(id,type,role,emailAddress,domain,allowFileDiscovery,expirationTime,deleted,"
        "pendingOwner,view,permissionDetails,inheritedPermissionsDisabled)"
    )
    export = drive_export(
        [_item()],
        fields={"files": "permissions,id,mimeType,driveId,inheritedPermissionsDisabled", "permissions": mask},
    )
    assert isinstance(read(encoded(export), "d.json").items["a.md"], NativePermissions)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ("*", True),
        ("nextPageToken, files(id, mimeType, driveId, inheritedPermissionsDisabled, permissions)", True),
        ("permissions,mimeType,driveId,inheritedPermissionsDisabled", True),
        ("mimeType,driveId,inheritedPermissionsDisabled,permissions(*)", True),
        ("mimeType,driveId,inheritedPermissionsDisabled,permissions(id,type,role,emailAddress)", False),
        ("mimeType,driveId,inheritedPermissionsDisabled,permissions/id", False),
        ("mimeType,driveId,inheritedPermissionsDisabled,permissionIds", False),
    ],
)
def test_permissions_inside_a_file_count_only_whole(mask: str, told: bool) -> None:
    export = drive_export([_item()], fields={"files": mask, "permissions": "*"})
    found = read(encoded(export), "d.json").items["a.md"]
    assert isinstance(found, NativePermissions) is told


@pytest.mark.parametrize(
    ("export", "why"),
    [
        ([], "must be an object"),
        ({"format": "drive"}, "'fields' is missing"),
        (drive_export([], format="drive/2"), "must be 'drive'"),
        (drive_export([], itmes=[]), "unknown field 'itmes'"),
        (drive_export([_item(permisions=[])]), "unknown field 'permisions'"),
        (drive_export([{"path": 1, "file": FILE}]), "must be text"),
        (drive_export([{"file": FILE}]), "'path' is missing"),
        (drive_export([], exported_at="yesterday"), "not a date"),
        (drive_export([], drives=[{"id": "1"}, {"id": "1"}]), "occurs twice"),
        (drive_export([], organization_domains=["acme"]), "not a domain"),
        (drive_export([], fields={"files": "*"}), "'permissions' is missing"),
    ],
)
def test_an_export_that_is_none_is_refused(export: object, why: str) -> None:
    with pytest.raises(ConfigError, match=r"d.json#.*") as caught:
        read(encoded(export), "d.json")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encoded(drive_export([_item()]))[:-9], "not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"format": "drive", "format": "drive"}', "occurs twice"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested deeper than 64 levels"),
    ],
)
def test_what_is_no_export_at_all_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(data, "d.json")


def test_a_file_of_100_mb_is_refused_unread() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        read(bytes(100 << 20), "d.json")


def test_limits_fail_the_source_and_cut_nothing() -> None:
    ben = ADA | {"id": "2", "emailAddress": "ben.frost@acme.example"}
    data = encoded(drive_export([_item("a.md", ADA, ben), _item("b.md")]))
    with pytest.raises(ConfigError, match="more than 1 items"):
        read(data, "d.json", Limits(max_items=1))
    with pytest.raises(ConfigError, match="more than 2 entries"):
        read(data, "d.json", Limits(max_entries=2))
    assert len(read(data, "d.json", Limits(max_items=2, max_entries=3)).items) == 2


def test_a_path_too_deep_withholds_its_item() -> None:
    dump = read(encoded(drive_export([_item("a/" * 64 + "b.md"), _item("a/" * 63 + "b.md")])), "d.json")
    assert [type(x) for x in dump.items.values()] == [ItemProblem, NativePermissions]


def test_fifty_thousand_people_on_one_file_are_read() -> None:
    many = [ADA | {"id": str(n), "emailAddress": f"p{n}@acme.example"} for n in range(50_000)]
    found = read(encoded(drive_export([_item("a.md", *many)])), "d.json").items["a.md"]
    assert isinstance(found, NativePermissions)
    assert len(found.locks[0].allow) == 50_000


def test_the_example_is_read() -> None:
    path = Path(__file__).parents[4] / "acl/examples/drive/export.json"
    dump = read(path.read_bytes(), path.name)
    readers = {"drive-user:g.otis@acme.example", "drive-domain:acme.example"}
    open_to = [
        x
        for x, found in dump.items.items()
        if isinstance(found, NativePermissions) and may_read(found, readers, NOW)
    ]
    assert open_to == ["handbook/parental-leave.md", "plans/heron.md"]
    assert "could not be read" in _problem(dump.items["board/minutes.md"])
