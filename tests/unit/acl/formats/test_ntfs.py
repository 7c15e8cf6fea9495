"""Dumps of NTFS permissions: the table decided by hand, the file forms, shares, and input that must be refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.formats import native
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions, PermissionDump
from secure_rag_acl.formats.ntfs_export import read
from secure_rag_acl.formats.sddl import parse_sddl
from tests.controls import control
from tests.support.native_readers import may_read
from tests.support.ntfs_cases import Case, table, wrong

TABLE = table()
EXAMPLES = Path(__file__).resolve().parents[4] / "acl/examples/ntfs"
HR = "S-1-5-21-1-2-3-1201"
ALLOW_HR = f"D:(A;;FR;;;{HR})"


def dump(**changed: object) -> bytes:
    body: dict[str, object] = {"share": None, "items": [{"path": "a.docx", "sddl": ALLOW_HR}]}
    return json.dumps(body | changed).encode()


def permissions(found: PermissionDump, path: str = "a.docx") -> NativePermissions:
    item = found.items[path]
    assert isinstance(item, NativePermissions), item
    return item


def problem(found: PermissionDump, path: str = "a.docx") -> str:
    item = found.items[path]
    assert isinstance(item, ItemProblem), item
    return item.why


# ---- decisions


@control("acl:ntfs-subset")
@pytest.mark.parametrize("case", TABLE.cases, ids=lambda x: x.id)
def test_decided_by_hand(case: Case) -> None:
    assert wrong(case, TABLE.people, read) is None, case.why


def test_the_table_is_large_enough_and_says_why() -> None:
    assert len(TABLE.cases) >= 25
    assert len({x.id for x in TABLE.cases}) == len(TABLE.cases)
    assert all(x.why for x in TABLE.cases)


def test_every_entry_names_its_place_and_is_kept_as_written() -> None:
    sddl = f"D:PAI(D;;FR;;;S-1-5-21-1-2-3-1107)(A;;WD;;;BA)(A;ID;0x1200A9;;;{HR})"
    lock = permissions(read(dump(items=[{"path": "a.docx", "sddl": sddl}]), "hr.json")).locks[0]
    assert [(x.place, x.entry) for x in (*lock.deny, *lock.allow)] == [
        ("hr.json#/items/0/sddl ace 1", "(D;;FR;;;S-1-5-21-1-2-3-1107)"),
        ("hr.json#/items/0/sddl ace 3", f"(A;ID;0x1200A9;;;{HR})"),
    ]


@pytest.mark.parametrize(
    ("token", "name", "broad"),
    [
        ("WD", "sid:S-1-1-0", True),
        ("AU", "sid:S-1-5-11", True),
        ("BU", "sid:S-1-5-32-545", True),
        ("DU", "sid:DU", True),
        ("EA", "sid:EA", False),
        ("BA", "sid:S-1-5-32-544", False),
        ("S-1-5-21-1-2-3-513", "sid:S-1-5-21-1-2-3-513", True),
        ("S-1-5-21-1-2-3-1513", "sid:S-1-5-21-1-2-3-1513", False),
        ("S-1-0x5-21-01-2-3-1107", "sid:S-1-5-21-1-2-3-1107", False),
        ("S-1-12-1-4294967295-0-0-1", "sid:S-1-12-1-4294967295-0-0-1", False),
    ],
)
def test_names(token: str, name: str, broad: bool) -> None:
    found = permissions(read(dump(items=[{"path": "a.docx", "sddl": f"D:(A;;FR;;;{token})"}]), "d"))
    assert [(x.principal.name, x.principal.broad) for x in found.locks[0].allow] == [(name, broad)]


def test_domain_tokens_are_resolved_by_the_domain_of_the_dump() -> None:
    found = read(
        dump(domain_sid="S-1-5-21-1-2-3", items=[{"path": "a.docx", "sddl": "D:(A;;FR;;;DA)(A;;FR;;;EA)"}]),
        "d",
    )
    assert [x.principal.name for x in permissions(found).locks[0].allow] == [
        "sid:S-1-5-21-1-2-3-512",
        "sid:EA",  # of the first domain of the forest, which need not be this one
    ]


def test_condition_and_attribute_are_skipped_byte_true() -> None:
    ace = '(XA;OICI;FX;;;S-1-1-0;(@User.Title=="a)b;(" && (Member_of {SID(BA), SID(DU)} || @User."x%0022" == #0aff)))'
    attribute = '(RA;CI;;;;S-1-1-0;("Projekt „Reiher“",TS,0,"Windows;SQL",")"))'
    parsed = parse_sddl(f"O:BAG:DUD:PAI{ace}(A;;FA;;;BA)S:ARAI{attribute}")
    assert parsed.dacl is not None
    assert parsed.sacl is not None
    assert parsed.dacl.protected
    assert [x.text for x in (*parsed.dacl.aces, *parsed.sacl.aces)] == [ace, "(A;;FA;;;BA)", attribute]
    assert (parsed.owner, parsed.group) == ("S-1-5-32-544", "DU")


@pytest.mark.parametrize(
    "sddl",
    [
        "D",
        "D:(",
        "D:()",
        "D:(A;;FR;;;BA",
        "D:(A;;FR;;;BA)x",
        "D:(A;;FR;;BA)",
        "D:(A;;FR;;;BA;;)",
        "D:(A;;FR;;;BA;(1==1))",
        "D:(XA;;FR;;;BA;(1==1)(2==2))",
        "D:(XA;;FR;;;BA;1==1)",
        '(D:(XA;;FR;;;BA;(@User.a=="b)))',
        'D:(XA;;FR;;;BA;(@User.a=="b)))',
        "D:(a;;FR;;;BA)",
        "D:(ABC;;FR;;;BA)",
        "D:(;;FR;;;BA)",
        "D:(A;XX;FR;;;BA)",
        "D:(A;O;FR;;;BA)",
        "D:(A;;F;;;BA)",
        "D:(A;;fr;;;BA)",
        "D:(A;;0x;;;BA)",
        "D:(A;;0x1ffffffff;;;BA)",
        "D:(A;;-1;;;BA)",
        "D:(A;;089;;;BA)",
        "D:(A;;4294967296;;;BA)",
        "D:(A;;99999999999999999999;;;BA)",
        "D:(A;;FR;;;)",
        "D:(A;;FR;;;ba)",
        "D:(A;;FR;;;S-1-5)",
        "D:(A;;FR;;;S-2-5-21)",
        "D:(A;;FR;;;S-1-5-4294967296)",
        "D:(A;;FR;;;S-1-5-21-1-2-3-)",
        "D:(A;;FR;;;S-1-5-" + "-".join("1" * 16) + ")",
        "D:(A;;FR;;;ACME\\hr)",
        "D:(A;;FR;bf967aba;;BA)",
        "D:NO_ACCESS_CONTROL(A;;FR;;;BA)",
        "D:(A;;FR;;;BA)S:NO_ACCESS_CONTROL",
        "D:(A;;FR;;;BA)D:(A;;FR;;;BA)",
        "O:BAO:BAD:P",
        "O:D:P",
        "X:BAD:P",
        "D:P (A;;FR;;;BA)",
        "D:(A;;FR;;;B\tA)",
        "D:(XA;;FR;;;BA;" + "(" * 100 + "1==1" + ")" * 100 + ")",
    ],
)
def test_malformed_descriptors_withhold_their_item_only(sddl: str) -> None:
    items = [{"path": "a.docx", "sddl": sddl}, {"path": "b.docx", "sddl": ALLOW_HR}]
    found = read(dump(items=items), "d")
    assert problem(found)
    assert permissions(found, "b.docx").locks[0].allow


def test_an_owner_who_reads_anyway_is_not_reported() -> None:
    found = read(dump(items=[{"path": "a.docx", "sddl": "O:BAD:(A;;FA;;;BA)"}]), "d")
    assert permissions(found).narrowed == ()


# ---- shares


def test_share_and_file_are_two_locks() -> None:
    found = permissions(read(dump(share={"name": "\\\\fs1\\hr", "sddl": "D:(A;;FA;;;WD)"}), "d"))
    assert [x.what for x in found.locks] == ["share \\\\fs1\\hr", "ntfs"]


@pytest.mark.parametrize(
    "access",
    [
        [
            {"AccountName": "ACME\\Contractors", "AccessControlType": "Deny", "AccessRight": "Full"},
            {"AccountName": "Everyone", "AccessControlType": "Allow", "AccessRight": "Read", "Name": "hr"},
        ],
        [
            {"AccountName": "acme\\contractors", "AccessControlType": 1, "AccessRight": 0},
            {"AccountName": "Everyone", "AccessControlType": 0, "AccessRight": 2, "CimClass": {}},
        ],
        [
            {"AccountName": "*S-1-5-21-1-2-3-1107", "AccessControlType": 1, "AccessRight": 2},
            {"AccountName": "S-1-1-0", "AccessControlType": 0, "AccessRight": 1},
        ],
    ],
)
def test_share_access_as_powershell_prints_it(access: list[object]) -> None:
    found = permissions(
        read(
            dump(
                share={"name": "hr", "access": access}, accounts={"ACME\\Contractors": "S-1-5-21-1-2-3-1107"}
            ),
            "d",
        )
    )
    assert [x.principal.name for x in found.locks[0].deny] == ["sid:S-1-5-21-1-2-3-1107"]
    assert found.locks[0].deny[0].place == "d#/share/access ace 1"
    assert [x.principal.name for x in found.locks[0].allow] == ["sid:S-1-1-0"]


def test_a_single_share_entry_is_no_list_in_powershell() -> None:
    access = {"AccountName": "Everyone", "AccessControlType": 0, "AccessRight": 2}
    assert permissions(read(dump(share={"name": "hr", "access": access}), "d")).locks[0].allow
    assert permissions(read(dump(items={"path": "a.docx", "sddl": ALLOW_HR}), "d")).locks[0].allow


@pytest.mark.parametrize(
    ("entry", "closed"),
    [
        ({"AccountName": "ACME\\Gone", "AccessControlType": 0, "AccessRight": 0}, False),
        ({"AccountName": "Everyone", "AccessControlType": 0, "AccessRight": 3}, False),  # custom
        ({"AccountName": "ACME\\Gone", "AccessControlType": 1, "AccessRight": 0}, True),
        ({"AccountName": "Everyone", "AccessControlType": 1, "AccessRight": 3}, True),
        ({"AccountName": "Everyone", "AccessControlType": 7, "AccessRight": 0}, True),
    ],
)
def test_unknown_values_of_a_share_grant_nothing_or_close(entry: dict[str, object], closed: bool) -> None:
    hr = {"AccountName": HR, "AccessControlType": 0, "AccessRight": 0}
    found = permissions(read(dump(share={"name": "hr", "access": [entry, hr]}), "d"))
    assert may_read(found, {f"sid:{HR}", "sid:S-1-1-0"}, 0) is not closed
    assert not may_read(found, {"sid:S-1-1-0"}, 0)
    assert bool(found.locks[0].closed) is closed


@pytest.mark.parametrize(
    "share",
    [
        {"name": "hr"},
        {"name": "hr", "sddl": "D:P", "access": []},
        {"name": "hr", "sddl": "O:BA"},
        {"name": "hr", "sddl": "D:("},
        {"name": "hr", "sddl": "D:P", "path": "D:\\hr"},
        {"name": "hr", "access": [{"AccountName": "Everyone", "AccessRight": 0}]},
        {"name": "hr", "access": [{"AccountName": "S-1-x", "AccessControlType": 0, "AccessRight": 0}]},
        {"name": "hr", "access": [{"AccountName": "Everyone", "AccessControlType": True, "AccessRight": 0}]},
        {"sddl": "D:P"},
        "hr",
    ],
)
def test_a_share_that_cannot_be_read_refuses_the_dump(share: object) -> None:
    with pytest.raises(ConfigError, match=r"^hr\.json#/share"):
        read(dump(share=share), "hr.json")


# ---- files


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-8-sig", "utf-8"])
def test_icacls_save(encoding: str) -> None:
    share = "\\\\fs1\\hr\r\nD:(A;;FA;;;WD)\r\n"
    text = f"Größe\\gehalt.docx\r\nD:AI(A;ID;FA;;;{HR})\r\n.\r\nD:P\r\nb.docx\r\nD:\r\n{share}"
    found = read(text.encode(encoding), "acl.txt")
    assert list(found.items) == ["Größe/gehalt.docx", "b.docx"]
    assert permissions(found, "Größe/gehalt.docx").locks[1].allow[0].place == "acl.txt:2 ace 1"
    assert permissions(found, "b.docx").locks[1].allow == ()


def test_a_share_beside_icacls_lines() -> None:
    text = f"a.docx\r\n{ALLOW_HR}\r\n\\\\fs1\\hr\r\nD:(A;;0x2;;;WD)\r\n"
    found = permissions(read(text.encode("utf-16-le"), "acl.txt"))
    assert len(found.locks) == 2
    assert not may_read(found, {f"sid:{HR}", "sid:S-1-1-0"}, 0)


@pytest.mark.parametrize("head", ["", "#TYPE System.Management.Automation.PSCustomObject\r\n"])
def test_export_csv(head: str) -> None:
    text = f'{head}"Path","Sddl"\r\n"x\\a, b.docx","{ALLOW_HR}"\r\n"c.docx",""\r\n"\\\\fs1\\hr","D:(A;;FA;;;WD)"\r\n'
    found = read(text.encode("utf-16"), "acl.csv")
    assert permissions(found, "x/a, b.docx").locks[1].allow[0].place == f"acl.csv:{3 if head else 2} ace 1"
    assert "could not be exported" in problem(found, "c.docx")


def test_csv_quotes_of_conditions() -> None:
    ace = f'(XA;;FR;;;{HR};(@User.Title == "PM"))'
    doubled = ace.replace('"', '""')
    share = "\\\\fs1\\hr,D:(A;;FA;;;WD)"
    found = read(f'path,sddl\n{share}\na.docx,"D:{doubled}(A;;FR;;;BA)"\n'.encode(), "acl.csv")
    assert [x.entry for x in permissions(found).narrowed] == [ace]


def test_json_says_when_it_was_made() -> None:
    assert read(dump(exported_at="2026-11-24T10:00:00Z"), "d").as_of == 1_795_514_400_000_000


def test_accounts_are_for_people_to_read() -> None:
    found = permissions(read(dump(accounts={"ACME\\HR": HR}), "d"))
    assert found.locks[0].allow[0].principal.display == "ACME\\HR"


@pytest.mark.parametrize(
    ("items", "path", "why"),
    [
        ([{"path": "a.docx", "sddl": ALLOW_HR}] * 2, "a.docx", "twice"),
        ([{"path": "a.docx", "sddl": ALLOW_HR}, {"path": "A.DOCX", "sddl": ALLOW_HR}], "a.docx", "twice"),
        ([{"path": "a.docx", "sddl": ALLOW_HR}, {"path": "A.DOCX", "sddl": ALLOW_HR}], "A.DOCX", "twice"),
        ([{"path": "a.docx", "sddl": ALLOW_HR}] * 3, "a.docx", "twice"),
        ([{"path": "É.docx", "sddl": ALLOW_HR}, {"path": "é.docx", "sddl": ALLOW_HR}], "É.docx", "twice"),
        ([{"path": "a.docx", "error": "Access is\r\ndenied"}], "a.docx", "Access is denied"),
        ([{"path": "a.docx", "sddl": None}], "a.docx", "could not be exported"),
        ([{"path": "a.docx", "sddl": ALLOW_HR, "error": "?"}], "a.docx", "could not be exported"),
        ([{"path": "a.docx", "sddl": 7}], "a.docx", "no text"),
        ([{"path": "gr??e.docx", "sddl": ALLOW_HR}], "gr??e.docx", "encoding"),
        ([{"path": "a\u0007", "sddl": ALLOW_HR}], "a\u0007", "control"),
        ([{"path": "x/" * 65 + "a", "sddl": ALLOW_HR}], "x/" * 65 + "a", "folders"),
    ],
)
def test_items_that_are_withheld(items: object, path: str, why: str) -> None:
    assert why in problem(read(dump(items=items), "d"), path)


def test_names_that_ntfs_tells_apart_are_two_items() -> None:
    items = [{"path": f"{x}.docx", "sddl": ALLOW_HR} for x in ("straße", "strasse", "a/x", "ax")]
    assert all(isinstance(x, NativePermissions) for x in read(dump(items=items), "d").items.values())


@control("acl:ntfs-refused")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (b"a.docx", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"share": null}', "'items' is missing"),
        (b'{"items": []}', "'share' is missing"),
        (b'{"share": null, "items": 7}', "must be a list"),
        (b'{"share": null, "items": [7]}', "#/items/0: must be an object"),
        (b'{"share": null, "items": [{"sddl": "D:"}]}', "'path' is missing"),
        (b'{"share": null, "items": [{"path": 7, "sddl": "D:"}]}', "must be text"),
        (b'{"share": null, "items": [{"path": "a", "sddl": "D:", "acl": 1}]}', "unknown key 'acl'"),
        (b'{"share": null, "items": [], "items": []}', "twice"),
        (b'{"share": null, "items": [], "root": "D:/hr"}', "unknown key 'root'"),
        (b'{"share": null, "items": [], "domain_sid": "ACME"}', "not a security identifier"),
        (b'{"share": null, "items": [], "accounts": {"A": "S-1-5-9", "a": "S-1-5-9"}}', "twice"),
        (b'{"share": null, "items": [], "accounts": ["A"]}', "must be an object"),
        (b'{"share": null, "items": [], "accounts": {"A": "x"}}', "#/accounts/A: not a security"),
        (b'{"share": null, "items": [], "exported_at": "yesterday"}', "not a date"),
        (b'{"share": null, "items": [' + b"[" * 50_000, "nested too deep"),
        (b'{"share": null, "items": [{"path": "C:/a", "sddl": "D:"}]}', "not relative"),
        (b'{"share": null, "items": [{"path": "/a", "sddl": "D:"}]}', "not relative"),
        (b'{"share": null, "items": [{"path": "a/../b", "sddl": "D:"}]}', "plain path"),
        (b'{"share": null, "items": [{"path": "", "sddl": "D:"}]}', "plain path"),
        ("\ufeffa".encode("utf-16-be"), "big-endian"),
        ("a.docx\r\nD:P\r\n".encode("utf-16-le")[:-1], "cut off"),
        (b"a.docx\r\nD:P\r\nb.docx\r\n", "dump:3: a path without"),
        (b"a.docx\r\nD:P", "does not end"),
        (b"a.docx\r\nD:P\r\nb.docx\r\nc.docx\r\n", "dump:4: expected the security descriptor"),
        (b"a.docx\r\nD:P\r\n\r\nD:P\r\n", "dump:3: an empty line"),
        (b"\\\\s\\x\r\nD:P\r\n\\\\?\\C:\\a.docx\r\nD:P\r\n", "not relative"),
        (b"\\\\s\\x\r\nD:P\r\nMicrosoft.PowerShell.Core\\FileSystem::C:\\a\r\nD:P\r\n", "not relative"),
        (b"a.docx\r\nD:P\r\n", "no row holds the share"),
        (b"path,sddl\na.docx,D:P\n", "no row holds the share"),
        (b"a\r\nD:P\r\n\\\\s\\x\r\nD:P\r\n\\\\s\\y\r\nD:P\r\n", "dump:6: a second share"),
        (b"a\r\nD:P\r\n\\\\s\\x\r\nO:BA\r\n", "dump:4: the export holds no D:"),
        (b"path,sddl,owner\na,D:,x\n", "the columns must be"),
        (b"path,sddl\na\n", "dump:2: has 1 fields"),
        (b'path,sddl\na,"D:(A;;FR;;;BA)\n', "not valid CSV"),
        (b"path,sddl\na,\xff\n", "byte 12"),
    ],
)
def test_dumps_that_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(data, "dump")
    assert str(caught.value).startswith("dump")
    assert words in str(caught.value)


@control("acl:ntfs-refused")
def test_a_file_beyond_the_limit_is_not_read_apart() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        read(bytes(100 << 20), "dump")


@control("acl:ntfs-refused")
def test_quotas_fail_the_source_and_cut_nothing() -> None:
    items = [{"path": f"{n}.docx", "sddl": ALLOW_HR} for n in range(5)]
    with pytest.raises(ConfigError, match="more than 4 items"):
        read(dump(items=items), "d", Limits(max_items=4))
    with pytest.raises(ConfigError, match="more than 4 entries"):
        read(dump(items=items), "d", Limits(max_entries=4))
    assert len(read(dump(items=items), "d", Limits(max_items=5, max_entries=5)).items) == 5


@control("acl:ntfs-refused")
def test_more_entries_than_a_lock_holds_withhold_the_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "MAX_LOCK_ENTRIES", 3)
    many = "D:" + "".join(f"(A;;FR;;;S-1-5-21-1-2-3-{n})" for n in range(4))
    found = read(dump(items=[{"path": "a.docx", "sddl": many}, {"path": "b.docx", "sddl": ALLOW_HR}]), "d")
    assert "more than 3" in problem(found)
    assert permissions(found, "b.docx").locks


def test_examples_read_as_their_page_says() -> None:
    names = {f"sid:{HR}", "sid:S-1-5-11", "sid:S-1-1-0"}
    for file in sorted(EXAMPLES.glob("hr.*")):
        found = read(file.read_bytes(), file.name)
        assert may_read(permissions(found, "policies/parental-leave.docx"), names, 0), file.name
        assert not may_read(permissions(found, "payroll/2026.xlsx"), names, 0), file.name
        # icacls leaves out what it could not read; what is not in a dump is withheld like what failed.
        assert isinstance(found.items.get("payroll/locked.xlsx"), ItemProblem | None), file.name
