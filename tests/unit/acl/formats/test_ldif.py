"""LDIF exports: syntax of RFC 2849, people and groups of both worlds, and what makes them incomplete."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.directory_files import DirectoryFile
from secure_rag_acl.formats._ldap_names import distinguished_name, object_guid, security_id
from secure_rag_acl.formats.ldif import read_ldif
from secure_rag_acl.formats.native import Limits
from secure_rag_acl.identity import ImportedIdentities
from secure_rag_acl.identity_exports import DirectoryFormat, load_identities
from tests.controls import control

RULES = """\
tenant: acme
complete: true
users:
  id: {attribute: uid}
  members: {all: true}
groups:
  id: {attribute: cn, replace: {" ": "-"}}
"""
AD_RULES = RULES.replace("uid", "sAMAccountName").replace("cn,", "sAMAccountName,")
BASE = "dc=acme,dc=example"
FOREIGN = f"CN=S-1-5-11,CN=ForeignSecurityPrincipals,{BASE}"
DONE = "result: 0 Success"


def person(uid: str, *lines: str) -> str:
    head = f"dn: uid={uid},ou=people,{BASE}\nobjectClass: top\nobjectClass: inetOrgPerson\nuid: {uid}\n"
    return head + "".join(f"{x}\n" for x in lines) + "\n"


def group(cn: str, *lines: str, cls: str = "groupOfNames") -> str:
    return (
        f"dn: cn={cn},ou=groups,{BASE}\nobjectClass: {cls}\ncn: {cn}\n"
        + "".join(f"{x}\n" for x in lines)
        + "\n"
    )


def member(uid: str) -> str:
    return f"member: uid={uid},ou=people,{BASE}"


def binary_sid(text: str) -> str:
    authority, *subs = (int(x) for x in text.split("-")[2:])
    data = (
        bytes([1, len(subs)]) + authority.to_bytes(6, "big") + b"".join(x.to_bytes(4, "little") for x in subs)
    )
    return base64.b64encode(data).decode()


def ad_user(
    name: str, rid: int, *lines: str, control: int = 512, primary: str = "primaryGroupID: 513"
) -> str:
    sid = binary_sid(f"S-1-5-21-1-2-3-{rid}")
    head = (
        f"dn: CN={name},OU=People,DC=acme,DC=example\nobjectClass: top\nobjectClass: person\nobjectClass: user\n"
        f"sAMAccountName: {name}\nobjectSid:: {sid}\nuserAccountControl: {control}\n"
    )
    return head + "".join(f"{x}\n" for x in (primary, *lines) if x) + "\n"


def ad_group(name: str, rid: int, *members: str, lines: tuple[str, ...] = ()) -> str:
    listed = [f"member: CN={x},OU=People,DC=acme,DC=example" for x in members]
    sid = binary_sid(f"S-1-5-21-1-2-3-{rid}")
    head = f"dn: CN={name},OU=People,DC=acme,DC=example\nobjectClass: group\n"
    head += f"sAMAccountName: {name}\nobjectSid:: {sid}\n"
    return head + "".join(f"{x}\n" for x in (*listed, *lines)) + "\n"


def load(folder: Path, text: str | bytes, rules: str = RULES) -> ImportedIdentities:
    (folder / "d.ldif").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "identity.yaml").write_text(rules, encoding="utf-8")
    return load_identities(folder / "d.ldif", DirectoryFormat.LDIF, folder / "identity.yaml")


def users(document: DirectoryFile) -> dict[str, str]:
    return {x.id: x.state for x in document.users or ()}


def groups(document: DirectoryFile) -> dict[str, tuple[set[str], bool | None]]:
    return {x.id: ({m.id for m in x.members}, x.complete) for x in document.groups or ()}


# ---- what comes out


def test_people_and_nested_groups(tmp_path: Path) -> None:
    staff = group("All Staff", f"member: cn=hr,ou=groups,{BASE}", member("ben"))
    found = load(
        tmp_path, "version: 1\n\n" + person("ada") + person("ben") + group("hr", member("ada")) + staff
    )
    assert found.notes == ()
    assert users(found.document) == {"user:ada": "active", "user:ben": "active"}
    assert groups(found.document) == {
        "group:hr": ({"user:ada"}, None),
        "group:all-staff": ({"group:hr", "user:ben"}, None),
    }


def test_active_directory(tmp_path: Path) -> None:
    guid = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
    ada = ad_user(
        "ada",
        1107,
        "mail: Ada@Acme.example",
        "displayName: Ada Marsh",
        f"objectGUID:: {base64.b64encode(guid.bytes_le).decode()}",
        f"sIDHistory:: {binary_sid('S-1-5-21-9-9-9-500')}",
    )
    domain_users = ad_group("Domain Users", 513)
    text = ada + ad_user("ben", 1108, control=514) + ad_group("hr", 1200, "ada") + domain_users
    found = load(tmp_path, text, AD_RULES)
    assert found.notes == ()
    assert users(found.document) == {"user:ada": "active", "user:ben": "disabled"}
    assert groups(found.document) == {
        "group:hr": ({"user:ada"}, None),
        "group:domain-users": ({"user:ada", "user:ben"}, None),
    }
    entry = (found.document.users or [])[0]
    assert (entry.name, entry.mail) == ("Ada Marsh", "ada@acme.example")
    assert set(entry.native_ids()) == {
        "mail:ada@acme.example",
        "sid:S-1-5-21-1-2-3-1107",
        "sid:S-1-5-21-9-9-9-500",
        f"object:{guid}",
    }
    assert list((found.document.groups or [])[0].native_ids()) == ["sid:S-1-5-21-1-2-3-1200"]


@control("acl:identity-rules")
def test_builtin_groups_mean_another_group_on_every_machine(tmp_path: Path) -> None:
    builtin = ad_group("Administrators", 1).replace(
        binary_sid("S-1-5-21-1-2-3-1"), binary_sid("S-1-5-32-544")
    )
    found = load(tmp_path, ad_user("ada", 1107) + ad_group("hr", 1200, "ada") + builtin, AD_RULES)
    assert [list(x.native_ids()) for x in found.document.groups or ()] == [["sid:S-1-5-21-1-2-3-1200"], []]


def test_posix_groups_name_logins_and_primary_groups(tmp_path: Path) -> None:
    ada = person("ada", "objectClass: posixAccount", "gidNumber: 100", "uidNumber: 1")
    text = ada + person("Ben") + group("users", "gidNumber: 100", cls="posixGroup")
    text += group("wheel", "gidNumber: 10", "memberUid: ada", "memberUid: Ben", cls="posixGroup")
    found = load(tmp_path, text)
    assert groups(found.document) == {
        "group:users": ({"user:ada"}, None),
        "group:wheel": ({"user:ada", "user:ben"}, None),
    }
    # A login counts with its case.
    doubtful = load(tmp_path, person("ada") + group("wheel", "memberUid: ADA", cls="posixGroup"))
    assert groups(doubtful.document) == {"group:wheel": (set(), False)}


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("nsAccountLock: TRUE", "disabled"),
        ("nsAccountLock: false", "active"),
        ("loginDisabled: TRUE", "disabled"),
        ("pwdAccountLockedTime: 000001010000Z", "disabled"),
        ("pwdAccountLockedTime: 20260101000000Z", "active"),
        ("entryUUID: 00112233-4455-6677-8899-aabbccddeeff", "active"),
    ],
)
def test_who_may_sign_in(tmp_path: Path, line: str, state: str) -> None:
    assert users(load(tmp_path, person("ada", line)).document) == {"user:ada": state}


def test_a_user_of_active_directory_without_flags_counts_as_disabled(tmp_path: Path) -> None:
    found = load(tmp_path, ad_user("ada", 1107).replace("userAccountControl: 512\n", ""), AD_RULES)
    assert users(found.document) == {"user:ada": "disabled"}
    assert "has no userAccountControl" in found.notes[0]


def test_computers_and_contacts_are_nobody(tmp_path: Path) -> None:
    pc = ad_user("pc$", 1300).replace("objectClass: user", "objectClass: user\nobjectClass: computer")
    contact = f"dn: CN=kim,OU=People,{BASE}\nobjectClass: contact\n\n"
    text = ad_user("ada", 1107) + pc + contact + ad_group("all", 1200, "ada", "pc$", "kim")
    assert groups(load(tmp_path, text, AD_RULES).document) == {"group:all": ({"user:ada"}, None)}


# ---- what is not known for certain


@control("acl:identity-rules", "acl:directory-incomplete")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (person("ada") + group("hr", member("ada"), member("ghost")), "not in the export"),
        (
            person("ada")
            + f"dn: {FOREIGN}\nobjectClass: foreignSecurityPrincipal\n\n"
            + group("hr", member("ada"), f"member: {FOREIGN}"),
            "not in the export",
        ),
        (person("ada") + group("hr", member("ada"), "member: not a name"), "not in the export"),
        (
            person("ada") + group("hr", "memberUid: ada", "memberUid: eve", cls="posixGroup"),
            "no accounts have the uid 'eve'",
        ),
        (person("ada") + group("hr"), "has no member, which its class does not allow"),
        (person("ada") + group("hr", cls="posixGroup"), "no group of the export has a list of members"),
        (
            person("ada") + group("hr", member("ada").replace("member:", "member;range=0-1499:")),
            "not all ranges",
        ),
        (
            person("ada") + group("hr", member("ada").replace("member:", "member;range=1500-*:")),
            "not all ranges",
        ),
        (
            person("ada", f"memberOf: cn=hr,ou=groups,{BASE}") + person("ben") + group("hr", member("ben")),
            "its own list does not name them",
        ),
    ],
)
def test_a_group_that_is_not_known_completely(tmp_path: Path, text: str, why: str) -> None:
    found = load(tmp_path, text)
    assert groups(found.document)["group:hr"][1] is False
    assert any(why in x for x in found.notes), found.notes


def test_ranges_up_to_the_end_are_complete(tmp_path: Path) -> None:
    first, rest = (
        member(x).replace("member:", f"member;range={y}:") for x, y in (("ben", "0-0"), ("ada", "1-*"))
    )
    found = load(tmp_path, person("ada") + person("ben") + group("hr", rest, first))
    assert groups(found.document) == {"group:hr": ({"user:ada", "user:ben"}, None)}


def test_empty_groups_are_empty_where_others_have_members(tmp_path: Path) -> None:
    text = ad_user("ada", 1107) + ad_group("hr", 1200, "ada") + ad_group("void", 1201)
    assert groups(load(tmp_path, text, AD_RULES).document)["group:void"] == (set(), None)
    only = ad_user("ada", 1107) + ad_group("void", 1201)
    assert groups(load(tmp_path, only, AD_RULES).document)["group:void"] == (set(), False)
    knowingly = AD_RULES + "  absent_members: empty\n"
    assert groups(load(tmp_path, only, knowingly).document)["group:void"] == (set(), None)


def test_member_of_alone_makes_groups(tmp_path: Path) -> None:
    text = person("ada", f"memberOf: CN=HR,ou=groups,{BASE}") + group("hr", cls="group")
    assert groups(load(tmp_path, text).document) == {"group:hr": ({"user:ada"}, None)}


def test_domain_users_are_doubtful_when_somebody_hides_the_primary_group(tmp_path: Path) -> None:
    text = (
        ad_user("ada", 1107)
        + ad_user("ben", 1108, primary="")
        + ad_group("Domain Users", 513)
        + ad_group("x", 1200, "ada")
    )
    found = load(tmp_path, text, AD_RULES)
    assert groups(found.document)["group:domain-users"] == ({"user:ada"}, False)
    assert groups(found.document)["group:x"] == ({"user:ada"}, None)


@control("acl:directory-incomplete")
@pytest.mark.parametrize(
    ("end", "complete"),
    [
        ("# search result\nsearch: 2\nresult: 0 Success\n\n# numResponses: 3\n", True),
        ("search: 2\nresult: 4 Size limit exceeded\n", False),
        ("search: 2\nresult: 0 Success\npagedresults: cookie=\n", True),
        ("search: 2\nresult: 0 Success\npagedresults: cookie=abc\n", False),
        ("search: 2\nresult: 0 Success\npagedresults: estimate=9 cookie=abc\n\nref: ldap://x\n", False),
        ("search: 2\nresult: 0 Success\npagedresults: estimate=0 cookie=\n", True),
        (f"search: 2\n{DONE}\npagedresults: cookie=a\n\nsearch: 3\n{DONE}\npagedresults: cookie=\n", True),
        ("# search reference\nref: ldap://other.example/dc=sub\n", False),
    ],
)
def test_the_end_of_a_search_says_whether_it_was_cut_off(tmp_path: Path, end: str, complete: bool) -> None:
    assert load(tmp_path, person("ada") + end).document.complete is complete


def test_ranged_member_of_makes_the_directory_incomplete(tmp_path: Path) -> None:
    text = person("ada", f"memberOf;range=0-1499: cn=hr,ou=groups,{BASE}") + group("hr", member("ada"))
    assert not load(tmp_path, text).document.complete


# ---- syntax


def test_folding_comments_base64_and_line_ends(tmp_path: Path) -> None:
    text = (
        "# a comment\n# that goes\n  on\nversion: 1\n"
        f"dn:: {base64.b64encode(f'uid=ada,ou=people,{BASE}'.encode()).decode()}\n"
        "objectClass: inetOrg\n Person\n# inside\nuid:ada\ncn:: QWRhIE3DvGxsZXI=\n"
        "jpegPhoto:: /9j/\nmail: ada@\n acme.example\n"
    )
    for form in (text, text.replace("\n", "\r\n")):
        entry = (load(tmp_path, form).document.users or [])[0]
        assert (entry.id, entry.name, entry.mail) == ("user:ada", "Ada Müller", "ada@acme.example")


def test_an_export_of_ldifde_is_whole_entries(tmp_path: Path) -> None:
    added = person("ada").replace("objectClass: top", "changetype: add\nobjectClass: top")
    assert users(load(tmp_path, added).document) == {"user:ada": "active"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "dn: uid=a,dc=x\nchangetype: modify\nadd: mail\nmail: x@y.example\n-\n\n",
            "not an attribute with a value",
        ),
        ("dn: uid=a,dc=x\nchangetype: delete\n\n", "d.ldif:1: describes a change"),
        ("dn: uid=a,dc=x\nchangetype: modrdn\nnewrdn: uid=b\n\n", "describes a change"),
        (
            person("ada") + person("ben").replace("uid: ben", "uid: ben\nchangetype: add"),
            "entries and changes in one file",
        ),
        ("version: 2\n\n" + person("ada"), "d.ldif:1: only version 1 is read"),
        (" dn: uid=a\n", "d.ldif:1: continues nothing"),
        (person("ada") + " x\n", "continues nothing"),
        ("dn: uid=a,dc=x\nobjectClass\n", "d.ldif:2: not an attribute with a value"),
        ("dn: uid=a,dc=x\nuid:: %%%\n", "d.ldif:2: not valid base64"),
        ("dn: uid=a,dc=x\njpegPhoto:< file:///etc/passwd\n", "d.ldif:2: values from other files"),
        ("dn: uid=a,dc=x\ndn: uid=b,dc=x\n", "d.ldif:2: `dn` does not begin an entry"),
        ("uid: a\ndn: uid=b,dc=x\n", "`dn` does not begin an entry"),
        ("uid: a\nmail: b@x.example\n", "d.ldif:1: an entry without `dn`"),
        ("dn:: gA==\n", "`dn` is not UTF-8"),
        ("dn: nonsense\nobjectClass: person\n", "not a part of a distinguished name"),
        ("dn: \nobjectClass: person\n", "an empty name"),
        ("dn: uid=a,dc=x\nuid: a\n", "has no objectClass"),
        (person("ada") + person("ada").replace("uid=ada,", "UID = Ada ,"), "occurs twice"),
        (person("ada", "objectSid:: AQI="), "not a security identifier"),
        (
            person("ada", f"objectSid:: {binary_sid('S-1-5-21-1-1-1-1')}", "objectSid: S-1-5-21-1-1-1-2"),
            "more than one objectSid",
        ),
        (person("ada", "objectGUID:: AQI="), "badly formed"),
        (person("ada")[:-2], "ends within a line"),
        ("", "neither users nor groups"),
        (b"dn: uid=\xff,dc=x\n", "not UTF-8"),
        (person("ada", "description: a\0b"), "zero byte"),
    ],
)
def test_a_malformed_export_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


@control("acl:identity-rules")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (person("ada") + person("ADA").replace("uid=ADA", "uid=other"), "would be user:ada, which"),
        (person("ada", "uid: second"), "has 2 values of 'uid'"),
        (person("a.b c"), "not a principal: 'user:a.b c'"),
        (
            person("ada", "mail: x@y.example") + person("ben", "mail: X@y.example"),
            "x@y.example belongs to user:ada already",
        ),
        (
            group("a", f"member: cn=b,ou=groups,{BASE}") + group("b", f"member: cn=a,ou=groups,{BASE}"),
            "contain each other",
        ),
        (
            person("ada", "objectSid: S-1-5-21-1-2-3-4") + person("ben", "sIDHistory: S-1-5-21-1-2-3-4"),
            "sid:S-1-5-21-1-2-3-4 belongs to user:ada already",
        ),
    ],
)
def test_nobody_is_merged(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


def test_limits_refuse_the_whole_export() -> None:
    data = (person("ada") + person("ben")).encode()
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        read_ldif(data, "d.ldif", limits=Limits(max_bytes=10))
    with pytest.raises(ConfigError, match="more than 1 entries"):
        read_ldif(data, "d.ldif", limits=Limits(max_items=1))
    with pytest.raises(ConfigError, match="larger than"):
        read_ldif(b"\n" * (100 << 20), "d.ldif")


# ---- names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=Ada Marsh,DC=acme,DC=example", "cn = ada  marsh , dc=ACME, dc=example"),
        ("cn=Marsh\\, Ada,dc=x", "cn=Marsh\\2C Ada,dc=x"),
        ("2.5.4.3=ada,dc=x", "OID.2.5.4.3=ada,dc=x"),
        ("2.5.4.3=ada,dc=x", "cn=ada,dc=x"),
        ("cn=a+uid=b,dc=x", "UID=b+CN=a,dc=x"),
        ("cn=Müller,dc=x", "cn=M\\C3\\BCller,dc=x"),
        ("cn=Mu\u0308ller,dc=x", "cn=MÜLLER,dc=x"),
        ("cn=#0403414243,dc=x", "cn=#0403414243,DC=x"),
        ("cn=a\\+b,dc=x", "cn=a\\2bb,dc=x"),
    ],
)
def test_equal_names(one: str, other: str) -> None:
    assert distinguished_name(one) == distinguished_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cn=a,dc=x", "cn=a,dc=y"),
        ("cn=a,dc=x", "ou=a,dc=x"),
        ("cn=a\\,dc=x", "cn=a,dc=x"),
        ("cn=a\\+uid=b,dc=x", "cn=a+uid=b,dc=x"),
        ("cn=a,ou=b,dc=x", "cn=a,dc=x,ou=b"),
        ("cn=\\#61,dc=x", "cn=#61,dc=x"),
    ],
)
def test_other_names(one: str, other: str) -> None:
    assert distinguished_name(one) != distinguished_name(other)


@pytest.mark.parametrize("text", ["", "a", "=a", "cn=a,,dc=x", 'cn="a",dc=x', "cn=a\\", "cn=\\ff", "1.=a"])
def test_no_names(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        distinguished_name(text)


@pytest.mark.parametrize(
    ("text", "sid"),
    [
        ("010500000000000515000000010000000200000003000000f4010000", "S-1-5-21-1-2-3-500"),
        ("01010000000000010000000000"[:24], "S-1-1-0"),
        ("01020000000000052000000020020000", "S-1-5-32-544"),
    ],
)
def test_security_identifiers_from_bytes(text: str, sid: str) -> None:
    assert security_id(bytes.fromhex(text)) == sid
    assert security_id(sid.lower().encode()) == sid


@pytest.mark.parametrize(
    "text", ["", "01", "020100000000000100000000", "010200000000000100000000", "0110" + "00" * 70]
)
def test_no_security_identifiers(text: str) -> None:
    with pytest.raises(ValueError, match="not a security identifier"):
        security_id(bytes.fromhex(text))


def test_object_identifiers_are_little_endian_in_part() -> None:
    data = bytes.fromhex("33221100554477668899aabbccddeeff")
    assert object_guid(data) == "00112233-4455-6677-8899-aabbccddeeff"
    assert object_guid(b"00112233-4455-6677-8899-AABBCCDDEEFF") == object_guid(data)


def test_the_example_comes_to_what_the_page_says() -> None:
    folder = Path(__file__).parents[4] / "acl/examples/ldif"
    found = load_identities(folder / "export.ldif", DirectoryFormat.LDIF, folder / "identity.yaml")
    assert found.notes == ()
    assert users(found.document) == {"user:ada.marsh": "active", "user:ben.okoro": "disabled"}
    assert groups(found.document) == {
        "group:hr-team": ({"user:ada.marsh"}, None),
        "group:staff": ({"group:hr-team", "user:ben.okoro"}, None),
        "group:domain-users": ({"user:ada.marsh", "user:ben.okoro"}, None),
    }
    assert "sid:S-1-5-21-1-2-3-1107" in (found.document.users or [])[0].native_ids()
