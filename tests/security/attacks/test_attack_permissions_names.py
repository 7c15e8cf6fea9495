"""Names of a source that would come to mean more people than the source means by them."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from secure_rag.model.ids import PrincipalId
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.management import Action
from secure_rag_api.mapping_names import names_of, readable_sources
from tests.controls import control
from tests.support.ingest_home import DIRECTORY, Source, World, company

OBJECT = "0a000000-0000-4000-8000-000000000001"
QUERY = "valve opens at nine bar"


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with company(tmp_path) as found:
        content = json.loads(json.dumps(DIRECTORY))
        # The group's address is a mailbox too, and whoever has an account under it is one person.
        staff = next(x for x in content["groups"] if x["id"] == "group:staff")
        staff["mail"] = "team@acme.example"
        others = next(x for x in content["groups"] if x["id"] == "group:contractors")
        others["object_id"] = OBJECT
        cleo = next(x for x in content["users"] if x["id"] == "user:cleo")
        cleo["mail"] = "cleo@acme.example"
        parsed = parse_directory(yaml.safe_dump(content).encode(), "directory.yaml")
        import_directory(found.opened.engine, parsed, actor="user:operator", now=found.opened.clock.now())
        yield found


def exported(world: World, form: str, content: object, line: dict[str, object]) -> Source:
    source = Source(world.base, "share", rules=[], principals=[line])
    source.settings = {
        "default_label": "Internal",
        "max_acl_age": "9999d",
        "permissions": {"format": form, "file": "dump"},
    }
    source.write("a.md", "The valve opens at nine bar.")
    source.save()
    (source.manifest.parent / "dump").write_text(json.dumps(content), encoding="utf-8")
    return source


def drive(*permissions: dict[str, object]) -> dict[str, object]:
    listed = [{"id": str(n), "role": "reader", **x} for n, x in enumerate(permissions)]
    item = {
        "path": "a.md",
        "file": {"id": "f", "name": "a.md", "mimeType": "text/markdown"},
        "permission_pages": [{"permissions": listed}],
    }
    return {"format": "drive", "fields": {"files": "*", "permissions": "*"}, "items": [item]}


def readers(world: World) -> set[str]:
    every = ("ann", "ben", "cleo", "dora", "gus")
    return {who for who in every if "share/a.md" in world.ask(f"user:{who}", QUERY)}


def suggested(world: World) -> dict[str, str | None]:
    operator = PrincipalId("user:operator")
    tenant = world.opened.tenant_key("acme")
    (source,) = readable_sources(world.opened, tenant, operator, None, Action.POLICY_READ)
    names = names_of(world.opened, tenant, source, suggest=True).names
    return {x.name: None if x.suggestion is None else x.suggestion.principal for x in names}


@control("acl:names-by-directory")
def test_an_account_under_the_address_of_a_group_is_not_the_group(world: World) -> None:
    dump = drive({"type": "user", "emailAddress": "team@acme.example"})
    world.run(exported(world, "drive", dump, {"mail_domain": "acme.example"}))
    assert readers(world) == set()
    assert suggested(world) == {"drive-user:team@acme.example": None}
    dump = drive({"type": "group", "emailAddress": "team@acme.example"})
    world.run(exported(world, "drive", dump, {"mail_domain": "acme.example"}))
    assert readers(world) == {"ann", "cleo", "dora"}
    dump = drive({"type": "group", "emailAddress": "cleo@acme.example"})
    world.run(exported(world, "drive", dump, {"mail_domain": "acme.example"}))
    assert readers(world) == set()


@control("acl:names-by-directory")
@pytest.mark.parametrize("kind", ["user", "application"])
def test_an_object_that_the_source_calls_a_person_is_not_a_group(world: World, kind: str) -> None:
    permission = {"id": "1", "roles": ["read"], "grantedToV2": {kind: {"id": OBJECT}}}
    dump = {
        "format": "graph-permissions",
        "version": 1,
        "items": [{"path": "a.md", "permissions": {"value": [permission]}}],
    }
    world.run(exported(world, "graph", dump, {"object_ids": True}))
    assert readers(world) == set()
    permission["grantedToV2"] = {"group": {"id": OBJECT}}
    world.run(exported(world, "graph", dump, {"object_ids": True}))
    assert readers(world) == {"ben"}


def confluence(group: str) -> dict[str, object]:
    listed = {"results": [{"type": "group", "name": group}], "start": 0, "limit": 10, "size": 1}
    nobody = {"results": [], "start": 0, "limit": 10, "size": 0}
    return {
        "format": "confluence",
        "spaces": [
            {
                "key": "S",
                "data_center": [
                    {
                        "operation": {"operationKey": "read", "targetType": "space"},
                        "subject": {"type": "group", "name": group},
                    }
                ],
            }
        ],
        "content": [
            {
                "id": "1",
                "path": "a.md",
                "type": "page",
                "space": "S",
                "parent": None,
                "restrictions": {"operation": "read", "restrictions": {"user": nobody, "group": listed}},
            }
        ],
    }


@control("acl:mapping-collisions")
@pytest.mark.parametrize(
    ("group", "who"),
    [
        ("Kernel", {"ann", "cleo", "dora"}),
        ("\u212aernel", set[str]()),
        ("Kern\u00e9l", set[str]()),
        ("\u212aern\u00e9l", set[str]()),
    ],
)
def test_a_letter_that_normalizes_into_ascii_makes_another_name(
    world: World, group: str, who: set[str]
) -> None:
    line: dict[str, object] = {"native": "confluence-group:Kernel", "principal": "group:staff"}
    source = exported(world, "confluence", confluence(group), line)
    source.principals.append({"native": "confluence-group:Kern\u00e9l", "principal": "group:contractors"})
    world.run(source)
    assert readers(world) - ({"ben"} if group == "Kern\u00e9l" else set()) == who
    # The same account on a file system.
    source.principals = [{"native": "posix-group:Kernel", "principal": "group:staff"}]
    source.settings["permissions"] = {"format": "posix", "file": "dump", "below_root": True}
    source.save()
    text = (
        "# source-root: /srv\n\n# file: /srv\n# owner: root\n# group: root\nuser::rwx\ngroup::r-x\nother::r-x\n\n"
        f"# file: /srv/a.md\n# owner: root\n# group: {group}\nuser::rw-\ngroup::r--\nother::---\n"
    )
    (source.manifest.parent / "dump").write_text(text, encoding="utf-8")
    source.principals.append({"native": "posix-other", "principal": "everyone"})
    world.run(source)
    assert readers(world) == (who if group != "Kern\u00e9l" else set())
