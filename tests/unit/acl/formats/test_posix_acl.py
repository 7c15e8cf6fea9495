"""What `getfacl` prints, the extended attribute, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import secure_rag_acl
from secure_rag.errors import ConfigError
from secure_rag_acl.formats import native, posix_acl
from secure_rag_acl.formats._folder_locks import RefusedError
from secure_rag_acl.formats._posix_rules import READ, AccessList, account
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions, PermissionDump
from tests.controls import control
from tests.support.acl_dumps import Case, posix_table, wrong
from tests.support.native_readers import may_read

ROOT = "# file: .\n# owner: root\n# group: root\nuser::rwx\ngroup::r-x\nother::r-x\n\n"
ENTRIES = "# owner: ada\n# group: staff\nuser::rw-\ngroup::r--\nother::---\n"
FILE = f"# file: f.txt\n{ENTRIES}\n"
ADA, EVE = ["posix-user:ada", "posix-other"], ["posix-user:eve", "posix-other"]


def read(text: str, limits: Limits | None = None) -> PermissionDump:
    return posix_acl.read(text.encode(), "x", limits or Limits(), below_root=True)


def problem(text: str, item: str = "f.txt") -> str:
    found = read(text).items[item]
    assert isinstance(found, ItemProblem), found
    return f"{found.place}: {found.why}"


def permissions(dump: PermissionDump, item: str = "f.txt") -> NativePermissions:
    found = dump.items[item]
    assert isinstance(found, NativePermissions), found
    return found


def with_entries(*entries: str) -> str:
    return f"{ROOT}# file: f.txt\n# owner: ada\n# group: staff\n" + "".join(f"{x}\n" for x in entries)


@control("acl:posix-subset")
@pytest.mark.parametrize("case", posix_table(), ids=lambda x: str(x.id))
def test_golden(case: Case) -> None:
    assert wrong(case, posix_acl.read) is None


def test_there_are_enough_golden_cases() -> None:
    assert len(posix_table()) >= 25


# ---- origin and locks


def test_every_entry_says_where_it_stands() -> None:
    found = permissions(
        read(
            with_entries("user::rw-", "user:eve:rw-\t#effective:r--", "group::---", "mask::r--", "other::---")
        )
    )
    eve = next(x for x in found.locks[0].allow if x.principal.name == "posix-user:eve")
    assert (eve.place, eve.entry) == ("x:12", "user:eve:rw-\t#effective:r--")


def test_a_folder_that_admits_everybody_is_no_lock() -> None:
    assert [x.what for x in permissions(read(ROOT + FILE)).locks] == ["read on f.txt"]


def test_an_open_file_keeps_its_lock() -> None:
    found = permissions(read(with_entries("user::r--", "group::r--", "other::r--")))
    assert not may_read(found, ["posix-user:nobody-of-this-machine"], 0)
    assert may_read(found, EVE, 0)


def test_folders_with_the_same_list_share_a_lock() -> None:
    folder = "# owner: root\n# group: eng\nuser::rwx\ngroup::r-x\nother::---\n\n"
    dump = read(f"# file: .\n{folder}# file: d\n{folder}# file: d/f.txt\n{ENTRIES}")
    assert [x.what for x in permissions(dump, "d/f.txt").locks] == [
        "search on ., search on d",
        "read on d/f.txt",
    ]


def test_more_locks_than_there_may_be_withhold_the_item() -> None:
    folders = ["/".join(["d"] * n) or "." for n in range(65)]
    text = "".join(
        f"# file: {x}\n# owner: u{n}\n# group: g\nuser::rwx\ngroup::---\nother::---\n\n"
        for n, x in enumerate(folders)
    )
    assert "more than 64 locks" in problem(
        f"{text}# file: {folders[-1]}/f.txt\n{ENTRIES}", f"{folders[-1]}/f.txt"
    )


def test_folders_are_no_items() -> None:
    folder = (
        "# file: d\n# owner: root\n# group: root\nuser::rwx\ngroup::r-x\nother::r-x\ndefault:user::rwx\n\n"
    )
    assert set(read(ROOT + folder + FILE).items) == {"f.txt"}


def test_names_are_normalised() -> None:
    found = permissions(
        read(with_entries("user::rw-", "user:e\u0301va:r--", "group::---", "mask::r--", "other::---"))
    )
    assert may_read(found, ["posix-user:\u00e9va"], 0)


def test_two_names_that_are_one_after_normalising_are_refused() -> None:
    text = with_entries(
        "user::rw-", "user:e\u0301va:r--", "user:\u00e9va:---", "group::---", "mask::r--", "other::---"
    )
    assert "a second entry" in problem(text)


# ---- the way down


def test_an_item_whose_folder_is_missing_is_withheld() -> None:
    assert "not in the dump" in problem(f"{ROOT}# file: d/f.txt\n{ENTRIES}", "d/f.txt")


def test_an_item_whose_folder_cannot_be_read_is_withheld() -> None:
    dump = read(f"{ROOT}# file: d\n# owner: root\n\n# file: d/f.txt\n{ENTRIES}\n{FILE}")
    assert isinstance(dump.items["d"], ItemProblem)
    assert isinstance(dump.items["d/f.txt"], ItemProblem)
    assert isinstance(dump.items["f.txt"], NativePermissions)


def test_a_folder_listed_twice_withholds_everything_in_it() -> None:
    folder = "# file: d\n# owner: root\n# group: root\nuser::rwx\ngroup::r-x\nother::r-x\n\n"
    assert "second time" in problem(f"{ROOT}{folder}{folder}# file: d/f.txt\n{ENTRIES}", "d/f.txt")


def test_deep_folders_are_withheld() -> None:
    path = "/".join(["d"] * 70) + "/f.txt"
    assert "more than 64 folders" in problem(f"{ROOT}# file: {path}\n{ENTRIES}", path)


def absolute(*blocks: str) -> bytes:
    folder = "# owner: root\n# group: root\nuser::rwx\ngroup::r-x\nother::r-x\n\n"
    return ("# source-root: /srv/hr\n\n" + "".join(f"# file: {x}\n{folder}" for x in blocks)).encode()


def test_all_folders_above_the_root_must_be_in_the_dump() -> None:
    file = f"# file: /srv/hr/f.txt\n{ENTRIES}".encode()
    with pytest.raises(ConfigError, match="folder /srv is not in the dump"):
        posix_acl.read(absolute("/", "/srv/hr") + file, "x")
    assert set(posix_acl.read(absolute("/", "/srv", "/srv/hr") + file, "x").items) == {"f.txt"}
    assert set(posix_acl.read(absolute("/srv/hr") + file, "x", below_root=True).items) == {"f.txt"}


def test_a_relative_dump_must_say_that_folders_above_do_not_count() -> None:
    with pytest.raises(ConfigError, match="what lies above a relative root"):
        posix_acl.read((ROOT + FILE).encode(), "x")
    stated = "# folders-above: ignored\n# exported-at: 2026-11-24T16:00:00Z\n\n"
    dump = posix_acl.read((stated + ROOT + FILE).encode(), "x")
    assert set(dump.items) == {"f.txt"}
    assert dump.as_of == 1_795_536_000_000_000


def test_a_root_below_another_folder_of_a_relative_dump() -> None:
    folder = "# owner: root\n# group: root\nuser::rwx\ngroup::r-x\nother::r-x\n\n"
    text = f"# source-root: srv/hr\n# folders-above: ignored\n\n# file: srv/hr\n{folder}# file: srv/hr/f.txt\n{ENTRIES}"
    assert set(posix_acl.read(text.encode(), "x").items) == {"f.txt"}


@control("acl:text-dumps-refused")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "itself is not in the dump"),
        (FILE, "itself is not in the dump"),
        (f"# source-root: /srv\n\n{ROOT}", "not counted from the same folder"),
        (f"# source-root: ../x\n\n{ROOT}", "source-root: not a path"),
        (f"# source-root: a\\9\n\n{ROOT}", "octal"),
        (f"# source-root: {'/d' * 5_000}\n\n{ROOT}", "x:1: source-root: lies in more than 64 folders"),
        (f"# source-root: d\n\n{ROOT}# file: e\n{ENTRIES}", "x:10: e lies outside"),
        (f"{ROOT}# file: a/../f.txt\n{ENTRIES}", "x:8: not a path without"),
        (f"# colour: red\n\n{ROOT}", "x:1: before the first"),
        (f"user::rwx\n{ROOT}", "x:1: before the first"),
        (f"# folders-above: no\n{ROOT}", "x:1: folders-above must be"),
        (f"# exported-at: soon\n{ROOT}", "x:1: exported-at: not a date"),
        (f"# exported-at: 2026-01-01\n# exported-at: 2026-01-02\n{ROOT}", "x:2: a second"),
        ("USER   root      rwx\n", "x:1: before the first"),
        ("\x00\xff" * 50, "x:1: before the first"),
    ],
)
def test_dumps_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(text)


# ---- one item's trouble


@control("acl:text-dumps-refused")
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["user::rw-", "group::r--"], "x:8: no entry other::"),
        (["group::r--", "other::---"], "no entry user::"),
        (["user::rw-", "user::r--", "group::r--", "other::---"], "x:12: a second entry for user::"),
        (["user::rw-", "group::r--", "other::---", "other::r--"], "a second entry for other::"),
        (["user::rw-", "group::r--", "mask::r--", "mask::r--", "other::---"], "a second entry for mask::"),
        (["user::rwX", "group::r--", "other::---"], "x:11: not an entry"),
        (["user::rw", "group::r--", "other::---"], "x:11: not an entry"),
        (["u::rw-", "group::r--", "other::---"], "x:11: not an entry"),
        (["user:rw-", "group::r--", "other::---"], "x:11: not an entry"),
        (["user::rw-", "group::r--", "other:eve:---"], "names nobody"),
        (["user::rw-", "group::r--", "other::---", "flavour::r--"], "not an entry"),
        (["user::rw-", "user:eve:rwx\t#effec", "group::r--", "mask::r--", "other::---"], "not an entry"),
        (["user::rw-", "user:eve:rw-\t#effective:rw-", "group::r--", "mask::r--", "other::---"], "disagree"),
        (["user::rw-\t#effective:r--", "group::r--", "mask::r--", "other::---"], "disagree"),
        (["user::rw-", "user:a\\9:r--", "group::r--", "mask::r--", "other::---"], "octal"),
        (["user::rw-", "user:a\\012b:r--", "group::r--", "mask::r--", "other::---"], "not a name"),
        (["user::rw-", "user:a\\377:r--", "group::r--", "mask::r--", "other::---"], "codec"),
        (["user::rw-", "user:\\040a:r--", "group::r--", "mask::r--", "other::---"], "not a name"),
        (["user::rw-", "user:01000:r--", "group::r--", "mask::r--", "other::---"], "not a number"),
        (["user::rw-", "user:4294967295:r--", "group::r--", "mask::r--", "other::---"], "not a number"),
        (["user::rw-", "user:99999999999:r--", "group::r--", "mask::r--", "other::---"], "not a number"),
        (["user::rw-", "user:" + "a" * 600 + ":r--", "group::r--", "mask::r--", "other::---"], "not a name"),
        (["user::rw-", "group::r--", "other::---", "", "user:eve:---"], "after the end"),
        (["user::rw-", "group::r--", "other::---\r"], "control characters"),
        (["user::rw-", "user:\ufffd:r--", "group::r--", "mask::r--", "other::---"], "not UTF-8"),
        (["user::rw-", "group::r--", "other::---", "# owner: eve"], "after entries"),
        (["user::rw-", "group::r--", "other::---", "# flags: s--"], "after entries"),
        (["default:user::rw-"], "no entry user::"),
        ([], "no entry user::"),
    ],
)  # fmt: skip
def test_lists_that_are_withheld(entries: list[str], message: str) -> None:
    text = with_entries(*entries) + "\n# file: g.txt\n" + ENTRIES
    assert message in problem(text)
    assert isinstance(read(text).items["g.txt"], NativePermissions), "the others go on"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("# owner: ada\n", "no `# group:`"),
        ("# group: staff\n", "no `# owner:`"),
        ("# owner: ada\n# owner: eve\n# group: staff\n", "a second `# owner:`"),
        ("# owner: ada\n# group: staff\n# flags: -x-\n", "unknown flags"),
        ("# owner: ada\n# group: staff\n# colour: red\n", "not an entry"),
        ("# owner: \n# group: staff\n", "not an entry"),
    ],
)
def test_heads_that_are_withheld(head: str, message: str) -> None:
    assert message in problem(f"{ROOT}# file: f.txt\n{head}user::rw-\ngroup::r--\nother::---\n")


def test_a_truncated_dump_never_widens() -> None:
    named = ("user::rw-", "user:eve:rw-\t#effective:r--", "user:bob:---")
    whole = with_entries(*named, "group::r--", "group:ops:---", "mask::r--", "other::r--")
    people = [
        ["posix-user:eve"],
        ["posix-user:bob", "posix-group:staff"],
        ["posix-user:cy", "posix-group:ops"],
    ]
    admitted = [may_read(permissions(read(whole)), [*x, "posix-other"], 0) for x in people]
    assert admitted == [True, False, False]
    for cut in range(len(ROOT) + len("# file: f.txt"), len(whole)):
        found = read(whole[:cut]).items.get("f.txt")
        if isinstance(found, NativePermissions):
            assert [may_read(found, [*x, "posix-other"], 0) for x in people] == admitted


@pytest.mark.parametrize("path", ["a\x01b", "a\\012b", "a\\000", "a\\377", "a\u202eb"])
def test_paths_that_name_no_document_are_withheld(path: str) -> None:
    dump = read(f"{ROOT}# file: {path}\n{ENTRIES}\n{FILE}")
    bad = {key: value for key, value in dump.items.items() if key != "f.txt"}
    assert len(bad) == 1
    assert all(isinstance(x, ItemProblem) and key.startswith("./") for key, x in bad.items())


def test_a_bad_escape_in_a_path_is_withheld() -> None:
    assert "octal" in problem(f"{ROOT}# file: a\\8\n{ENTRIES}", "a\\8")


def test_the_example() -> None:
    path = Path(secure_rag_acl.__file__).parents[1] / "examples" / "posix_acl" / "hr.getfacl"
    dump = posix_acl.read(path.read_bytes(), path.name)
    assert {x for x in dump.items if not x.startswith("./")} == {"parental-leave.odt", "payroll/salaries.ods"}
    assert [x for x in dump.items if x.startswith("./")] == ["./payroll/salaries\\0122026.ods"]
    pay = permissions(dump, "payroll/salaries.ods")
    assert [x.what for x in pay.locks] == [
        "search on srv/hr",
        "search on srv/hr/payroll",
        "read on srv/hr/payroll/salaries.ods",
    ]
    assert may_read(pay, ["posix-user:bob", "posix-group:payroll", "posix-other"], 0)
    assert not may_read(pay, ["posix-user:bob", "posix-other"], 0), "the folder is searched by payroll only"
    assert not may_read(permissions(dump, "parental-leave.odt"), ["posix-user:contractor", "posix-other"], 0)
    assert may_read(permissions(dump, "parental-leave.odt"), EVE, 0)


# ---- limits


@control("acl:text-dumps-refused")
def test_limits() -> None:
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        read(ROOT, Limits(max_bytes=10))
    with pytest.raises(ConfigError, match="x:8: more than 1 items"):
        read(ROOT + FILE, Limits(max_items=1))
    with pytest.raises(ConfigError, match="more than 7 entries"):
        read(ROOT + FILE, Limits(max_entries=7))


def test_a_huge_file_is_refused_by_its_size() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        posix_acl.read(bytes(100 << 20), "x", below_root=True)


def test_a_list_of_many_names() -> None:
    many = [f"user:u{n}:r--" for n in range(50_000)]
    found = permissions(read(with_entries("user::rw-", *many, "group::---", "mask::r--", "other::---")))
    assert len(found.locks[0].allow) == 50_001


def test_a_list_of_too_many_names_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "MAX_LOCK_ENTRIES", 5)
    many = [f"user:{n}:r--" for n in range(5)]
    assert "more than 5 entries" in problem(
        with_entries("user::rw-", *many, "group::---", "mask::r--", "other::---")
    )


# ---- the attribute

BASE = [(1, 6, 0xFFFFFFFF), (4, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]


def packed(entries: list[tuple[int, int, int]], version: int = 2) -> bytes:
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *x) for x in entries)


def from_xattr(value: bytes) -> AccessList:
    return posix_acl.from_xattr(
        value, "f", account("user", "ada"), account("group", "staff"),
        lambda n: account("user", str(n)), lambda n: account("group", str(n)),
    )  # fmt: skip


def test_the_attribute_says_the_same_as_the_text() -> None:
    value = packed(
        [
            (1, 6, 0xFFFFFFFF),
            (2, 7, 1234),
            (4, 4, 0xFFFFFFFF),
            (8, 0, 2000),
            (16, 4, 0xFFFFFFFF),
            (32, 4, 0xFFFFFFFF),
        ]
    )
    lock = from_xattr(value).guard(READ, "read").lock
    assert [(x.principal.name, x.entry) for x in lock.allow] == [
        ("posix-user:ada", "user::rw-"),
        ("posix-uid:1234", "user:1234:rwx"),
        ("posix-group:staff", "group::r--"),
        ("posix-other", "other::r--"),
    ]
    assert [(x.principal.name, x.place) for x in lock.deny] == [("posix-gid:2000", "f entry 4")]


@control("acl:text-dumps-refused")
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x02\x00\x00",
        packed([]),
        packed(BASE, version=1),
        packed(BASE, version=3),
        packed(BASE)[:-1],
        packed(BASE)[:-8],
        packed([*BASE, (64, 4, 1)]),
        packed([*BASE, (0, 4, 1)]),
        packed([*BASE, (1, 4, 1)]),
        packed([(1, 8, 0xFFFFFFFF), *BASE[1:]]),
        packed([*BASE, (2, 4, 1000)]),
        packed([*BASE, (16, 4, 0), (2, 4, 1000), (2, 0, 1000)]),
    ],
)
def test_attributes_that_are_refused(value: bytes) -> None:
    with pytest.raises(RefusedError):
        from_xattr(value)


def test_an_undefined_number_in_the_attribute_is_nobody_known() -> None:
    mask = (16, 7, 0xFFFFFFFF)
    refusing = from_xattr(packed([*BASE, mask, (2, 0, 0xFFFFFFFF)])).guard(READ, "read").lock
    assert refusing.closed
    granting = from_xattr(packed([*BASE, mask, (2, 4, 0xFFFFFFFF)])).guard(READ, "read")
    assert not granting.lock.closed
    assert granting.narrowed


def test_a_refused_owner_whom_nobody_knows_closes_also_before_named_users() -> None:
    value = packed([(1, 0, 0xFFFFFFFF), (2, 4, 1000), (4, 0, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), BASE[2]])
    refusing = posix_acl.from_xattr(
        value, "f", None, account("group", "staff"), lambda n: account("user", str(n)), lambda _: None
    )
    assert refusing.guard(READ, "read").lock.closed
