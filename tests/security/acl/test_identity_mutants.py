"""Faults planted into the import from identity systems: a company with every gap, or exports by hand, notice each."""

from __future__ import annotations

import base64
import json
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.directory_files import DirectoryFile
from tests.controls import control
from tests.support.identity_world import FAULTS, Load, World, disagreement, loader

# Each imports those before it.
MODULES = (
    "secure_rag_acl.aliases",
    "secure_rag_acl.identity",
    "secure_rag_acl.formats._ldap_names",
    "secure_rag_acl.formats._ldif_records",
    "secure_rag_acl.formats.scim",
    "secure_rag_acl.formats.ldif",
)
_, RULES, NAMES, RECORDS, SCIM, LDIF = MODULES

# name -> (module, what stands there, what stands there instead)
MUTANTS: dict[str, tuple[str, str, str]] = {
    "unknown members are passed over": (RULES, "if group.complete and not unknown", "if group.complete"),
    "doubts of readers are passed over": (RULES, "if group.complete and not unknown", "if not unknown"),
    "gaps are passed over": (RULES, "rules.complete and not export.gaps", "rules.complete"),
    "the last of two ids wins": (RULES, "if other is not account:", "if False:"),
    "unfit ids are left out": (RULES, "    if problems:\n", "    if False:\n"),
    "guests of Entra are members": (RULES, "if any(_INVITED in value.lower()", "if any(False and value"),
    "the disabled are active": (RULES, '"active" if user.active else "disabled"', '"active"'),
    "pages may be missing": (SCIM, "if listing.count != listing.total:", "if False:"),
    "no list is an empty list": (SCIM, "complete = stated is not None or", "complete = True or"),
    "text is true": (SCIM, '"false": False', '"false": True'),
    "silence is active": (SCIM, "active=bool(active)", "active=active is not False"),
    "nested groups are not read": (
        SCIM,
        "    for entry in node.items():\n        yield",
        '    for entry in node.items():\n        if "Group" in str(entry.value):\n            continue\n        yield',
    ),
    "ranges need not be whole": (LDIF, "if ranges and not _covers(", "if False and not _covers("),
    "ranges are not read": (LDIF, "if found is not None or name in _MEMBERS:", "if name in _MEMBERS:"),
    "primary groups are not read": (
        LDIF,
        '        elif f"{domain}-{stated[0]}" in by_sid:',
        "        elif False:",
    ),
    "hidden primary groups are no doubt": (
        LDIF,
        "if silent and str(group.sid)",
        "if False and str(group.sid)",
    ),
    "back links are not read": (
        LDIF,
        "if group is not None and key not in group.members:",
        "if False and group is not None:",
    ),
    "an empty group of names is empty": (LDIF, "if group.classes & _NEVER_EMPTY:", "if False:"),
    "size limits are nothing": (LDIF, 'if any(x.split()[:1] != ["0"] for x in results):', "if False:"),
    "flags are not read": (LDIF, "return not int(stated[0]) & _DISABLED", "return True"),
    "computers are people": (LDIF, "if classes & _NOBODY:", "if False:"),
    "builtin groups are the domain's": (LDIF, "if x.startswith(_OF_A_DOMAIN)", "if x"),
    "names differ by case": (NAMES, ".casefold().split()", ".split()"),
    "escapes are kept": (NAMES, "_prepared(_unescaped(value))", "_prepared(value)"),
    "SIDs are big-endian": (NAMES, '"little") for n in', '"big") for n in'),
    "GUIDs are big-endian": (NAMES, "bytes_le=data", "bytes=data"),
    "changes are entries": (
        RECORDS,
        "if kinds is not None and [x.lower() for x in kinds]",
        "if False and [x.lower() for x in kinds or []]",
    ),
    "folded lines end": (RECORDS, "pending.append(line[1:])", "pass"),
}

SID = base64.b64encode(
    bytes([1, 2]) + (5).to_bytes(6, "big") + (21).to_bytes(4, "little") + (7).to_bytes(4, "little")
)
BUILTIN = base64.b64encode(
    bytes([1, 2]) + (5).to_bytes(6, "big") + (32).to_bytes(4, "little") + b"\x20\2\0\0"
)
GUID = base64.b64encode(bytes.fromhex("33221100554477668899aabbccddeeff"))
AD = f"""\
dn: CN=Ada\\2C A,DC=acme
objectClass: user
sAMAccountName: ada
userAccountControl: 512
primaryGroupID: 513
objectSid:: {SID.decode()}
objectGUID:: {GUID.decode()}

dn: CN=pc,DC=acme
objectClass: user
objectClass: computer
sAMAccountName: pc$
userAccountControl: 4096

dn: CN=off,DC=acme
objectClass: user
sAMAccountName: of
 f
userAccountControl: 514
primaryGroupID: 513
objectSid: S-1-5-21-9

dn: CN=g,DC=acme
objectClass: group
sAMAccountName: g
objectSid:: {BUILTIN.decode()}
member;range=0-0: cn=ada\\, a,dc=ACME
member;range=1-*: CN=pc,DC=acme
"""

DELETION = b"dn: CN=a,DC=acme\nchangetype: delete\nobjectClass: user\nsAMAccountName: a\n"


def user(key: str, name: str, **more: Any) -> dict[str, Any]:
    return {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": key, "userName": name, **more}


def page(*resources: Any) -> bytes:
    schemas = ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
    return json.dumps({"schemas": schemas, "totalResults": len(resources), "Resources": resources}).encode()


def state_and_kind(document: DirectoryFile) -> list[tuple[str, str, str]]:
    return [(x.id, x.state, x.kind) for x in document.users or ()]


def by_hand(load: Load) -> bool:
    """Whether a few exports come to what they must."""
    document = load(AD.encode(), "ad")
    groups = [([m.id for m in x.members], x.complete, list(x.native_ids())) for x in document.groups or ()]
    aliases = sorted((document.users or [])[0].native_ids())
    said = load(page(user("1", "a", active="False"), user("2", "b"), user("3", "c", active=True)), "scim")
    return (
        state_and_kind(document) == [("user:ada", "active", "member"), ("user:off", "disabled", "member")]
        and groups == [(["user:ada"], None, [])]
        and aliases == ["object:00112233-4455-6677-8899-aabbccddeeff", "sid:S-1-5-21-7"]
        and [x.state for x in said.users or ()] == ["disabled", "disabled", "active"]
        and refused(
            load,
            page(user("1", "a", active=True), user("2", "A", active=True)),
            "scim",
            "would be user:a, which",
        )
        and refused(
            load,
            page(user("1", "a b", active=True), user("2", "c", active=True)),
            "scim",
            "not a principal: 'user:a b'",
        )
        and refused(load, DELETION, "ad", "describes a change")
        and invited(load) == "guest"
    )


def invited(load: Load) -> str:
    """Kind of somebody whose address tells that Entra only hosts them."""
    hosted = "dn: uid=x,dc=acme\nobjectClass: inetOrgPerson\nuid: x\nuserPrincipalName: x#EXT#@acme.example\n"
    return (load(hosted.encode(), "ldap").users or [])[0].kind


def refused(load: Load, data: bytes, style: str, said: str) -> bool:
    try:
        load(data, style)
    except ConfigError as error:
        return said in str(error)
    return False


def mutated(module: str, old: str, new: str) -> Load:
    """An import whose modules are loaded anew, one of them changed."""
    real = {x: import_module(x) for x in MODULES}
    try:
        for name, loaded in real.items():
            source = Path(str(loaded.__file__)).read_text(encoding="utf-8")
            if name == module:
                assert old in source, f"{module} no longer holds: {old}"
                source = source.replace(old, new)
            fresh = ModuleType(name)
            sys.modules[name] = fresh
            exec(compile(source, name, "exec"), fresh.__dict__)  # noqa: S102 -- our own source, changed
        return loader(sys.modules[RULES], sys.modules[SCIM], sys.modules[LDIF])
    finally:
        sys.modules.update(real)


def unnoticed(load: Load) -> bool:
    """Whether neither a company with every gap nor the exports by hand tell an import from the right one."""
    members = (frozenset({"u0", "g1"}), frozenset({"u0", "u1"}))
    for style, faults in FAULTS.items():
        shown = (
            (frozenset[str](), members[1], frozenset({"g3"}), frozenset({"u0"})) if style == "ad" else members
        )
        for fault in sorted(set(faults)):
            for at in range(len(shown)):
                try:
                    if disagreement(load, World(2, shown, style, fault, at), Counter()) is not None:
                        return False
                except (ConfigError, TypeError, KeyError, AttributeError, ValueError):
                    return False
    try:
        return by_hand(load)
    except (ConfigError, TypeError, KeyError, AttributeError, ValueError):
        return False


@control("acl:identity-rules")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    assert not unnoticed(mutated(*MUTANTS[name]))


def test_the_import_itself_passes() -> None:
    assert unnoticed(loader(*(import_module(x) for x in (RULES, SCIM, LDIF))))
