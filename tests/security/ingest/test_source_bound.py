"""A source writes only its own documents, vouches for its own trust, and nobody becomes a source by writing files."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_ingestion.sources import load_manifest
from tests.controls import control
from tests.support.ingest_home import Source, World, company, index


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with company(tmp_path, tenants=("acme", "globex")) as found:
        yield found


def trust_of(world: World, path: str) -> str:
    with world.opened.reader.connect() as connection:
        d, s, c = t.document.c, t.source.c, t.acl_class.c
        source, _, name = path.partition("/")
        return str(
            connection.execute(
                sa.select(c.trust)
                .join(t.document, d.class_id == c.id)
                .join(t.source, s.id == d.source_id)
                .where(s.name == source, d.native_id == name)
            ).scalar_one()
        )


@control("ingest:source-bound")
def test_the_same_names_in_two_sources_are_two_documents(world: World, tmp_path: Path) -> None:
    hr, inbox = Source(tmp_path, "hr"), Source(tmp_path, "inbox", settings={"trust": "external"})
    hr.write("plan.txt", "The secret plan of the company about pumps.")
    inbox.write("plan.txt", "A forged plan about pumps by somebody outside.")
    inbox.rules = [{"path": "**", "allow": ["everyone"], "label": "Public"}]
    hr.rules = [{"path": "**", "allow": ["user:cleo"], "label": "Internal"}]
    world.run(hr)
    before = index(world.opened)
    world.run(inbox)
    after = index(world.opened)
    assert {key: after[key] for key in before} == before
    assert set(after) == {"acme/hr/plan.txt", "acme/inbox/plan.txt"}
    assert world.ask("user:ann", "plan about pumps") == {"inbox/plan.txt"}
    assert (trust_of(world, "hr/plan.txt"), trust_of(world, "inbox/plan.txt")) == ("internal", "external")
    # Deleting in one source deletes nothing in the other.
    (inbox.folder / "plan.txt").unlink()
    assert world.run(inbox).report.outcomes == {"deleted": 1}
    assert set(index(world.opened)) == {"acme/hr/plan.txt"}
    assert index(world.opened)["acme/hr/plan.txt"] == before["acme/hr/plan.txt"]


@control("ingest:source-bound")
def test_the_same_source_and_names_in_two_tenants(world: World, tmp_path: Path) -> None:
    ours = Source(tmp_path / "a", "wiki")
    theirs = Source(tmp_path / "b", "wiki", tenant="globex")
    for source in (ours, theirs):
        source.write("plan.txt", f"The plan of {source.tenant} about pumps.")
        world.run(source)
    assert world.ask("user:ann", "plan about pumps") == {"wiki/plan.txt"}
    identifiers = {key: x["public_id"] for key, x in index(world.opened).items()}
    assert set(identifiers) == {"acme/wiki/plan.txt", "globex/wiki/plan.txt"}
    assert len(set(identifiers.values())) == 2
    (theirs.folder / "plan.txt").unlink()
    world.run(theirs)
    assert set(index(world.opened)) == {"acme/wiki/plan.txt"}


@control("ingest:source-bound")
def test_trust_comes_from_the_manifest_alone(world: World, tmp_path: Path) -> None:
    inbox = Source(tmp_path, "inbox", settings={"trust": "external"})
    inbox.write("offer.txt", "trust: verified\nsource: hr\nAn offer for pumps.")
    inbox.write("offer.txt.acl.yaml", "label: Internal\ntrust: verified\n")
    assert world.run(inbox).outcome("offer.txt") == ("failed", "bad_sidecar")
    (inbox.folder / "offer.txt.acl.yaml").unlink()
    world.run(inbox)
    assert trust_of(world, "inbox/offer.txt") == "external"
    inbox.settings["trust"] = "partner"
    assert world.run(inbox).outcome("offer.txt") == ("permission_updated", "permissions_changed")
    assert trust_of(world, "inbox/offer.txt") == "partner"


@control("ingest:source-bound")
def test_a_second_manifest_cannot_claim_a_source(world: World, tmp_path: Path) -> None:
    hr, forged = Source(tmp_path, "hr"), Source(tmp_path / "forged", "hr")
    hr.write("plan.txt", "The secret plan about pumps.")
    forged.write("other.txt", "Something else.")
    forged.rules = [{"path": "**", "allow": ["everyone"], "label": "Public"}]
    world.run(hr)
    before = index(world.opened)
    with pytest.raises(ConfigError, match="belongs to"):
        world.run(forged)
    assert index(world.opened) == before
    with world.opened.reader.connect() as connection:
        stored = connection.execute(sa.select(t.source.c.manifest)).scalar_one()
    assert Path(stored) == hr.manifest.resolve()


@control("ingest:source-bound")
def test_a_source_may_move_when_its_old_manifest_is_gone(world: World, tmp_path: Path) -> None:
    hr = Source(tmp_path, "hr")
    hr.write("plan.txt", "The plan about pumps.")
    world.run(hr)
    shutil.move(tmp_path / "sources", tmp_path / "moved")
    manifest = tmp_path / "moved" / "hr" / "source.yaml"
    report = ingest_source(world.opened, manifest, "user:operator", lambda *_: None)
    assert report.outcomes == {"unchanged": 1}


def planted(folder: Path, **changes: object) -> Path:
    """A manifest and a mapping that somebody put among the documents."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "id": "hr", "tenant": "acme", "kind": "filesystem", "root": "/etc", "mapping": "mapping.yaml",
        "trust": "verified", "max_acl_age": "30d", **changes,
    }  # fmt: skip
    (folder / "source.yaml").write_text(yaml.safe_dump(manifest))
    rules = [{"path": "**", "allow": ["everyone"], "label": "Public"}]
    (folder / "mapping.yaml").write_text(yaml.safe_dump({"source": "hr", "rules": rules}))
    return folder / "source.yaml"


@control("ingest:source-bound")
@pytest.mark.parametrize("ran_before", [True, False])
def test_a_manifest_among_documents_is_never_found(world: World, tmp_path: Path, ran_before: bool) -> None:
    wiki = Source(tmp_path, "wiki")
    wiki.write("pump.txt", "The pump.")
    wiki.save()
    if ran_before:
        world.run(wiki)
    path = planted(wiki.folder / "deep" / "down")
    for given in ([tmp_path], [wiki.manifest, path], [path] if ran_before else [tmp_path]):
        with pytest.raises(ConfigError, match="must not lie among the documents of source 'wiki'"):
            find_manifests(world.opened, given)
    if ran_before:
        # What is registered stays what it was.
        assert find_manifests(world.opened, []) == [wiki.manifest.resolve()]


@control("ingest:source-bound")
def test_a_planted_manifest_cannot_shut_out_others_unnoticed(world: World, tmp_path: Path) -> None:
    wiki = Source(tmp_path, "wiki")
    wiki.write("pump.txt", "The pump.")
    wiki.save()
    # It claims the folder of the real manifests as its documents.
    planted(wiki.folder, root=str(tmp_path))
    with pytest.raises(ConfigError, match="must not lie among the documents"):
        find_manifests(world.opened, [tmp_path])
    assert find_manifests(world.opened, [wiki.manifest]) == [wiki.manifest]


@control("ingest:source-bound")
def test_mapping_and_home_do_not_lie_among_the_documents(world: World, tmp_path: Path) -> None:
    wiki = Source(tmp_path, "wiki")
    wiki.write("pump.txt", "The pump.")
    wiki.settings["mapping"] = str(wiki.folder / "mapping.yaml")
    wiki.write(
        "mapping.yaml", yaml.safe_dump({"source": "wiki", "rules": [{"path": "**", "allow": ["everyone"]}]})
    )
    with pytest.raises(ConfigError, match="its mapping must not lie among the documents"):
        world.run(wiki)
    del wiki.settings["mapping"]
    wiki.settings["root"] = str(tmp_path)
    with pytest.raises(ConfigError, match="its manifest must not lie among the documents"):
        world.run(wiki)
    wiki.base = tmp_path / "elsewhere"
    wiki.settings["root"] = str(world.root.parent / "home" / "..")
    shutil.rmtree(tmp_path / "sources")
    wiki.manifest.parent.mkdir(parents=True)
    outside = tmp_path.parent / f"{tmp_path.name}-manifests"
    wiki.base = outside
    with pytest.raises(ConfigError, match="the home must not lie among the documents"):
        world.run(wiki)


def test_a_link_to_documents_hides_no_manifest(world: World, tmp_path: Path) -> None:
    wiki = Source(tmp_path, "wiki")
    wiki.write("pump.txt", "The pump.")
    world.run(wiki)
    path = planted(wiki.folder / "deep")
    (tmp_path / "link.yaml").symlink_to(path)
    with pytest.raises(ConfigError, match="must not lie among the documents"):
        find_manifests(world.opened, [tmp_path / "link.yaml"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: hr\nid: wiki\n", r"source.yaml:2: not valid YAML: the key 'id' occurs twice"),
        ("id: [\n", r"source.yaml:2: not valid YAML"),
        ("a: &x 1\nb: *x\n", r"source.yaml"),
        ("[" * 5_000, r"not valid YAML"),
        ("", r"Input should be"),
        ("id: HR\n", r"id: "),
        ("!!python/object/apply:os.system ['true']", r"source.yaml"),
        (b"\xff\xfe\x00", r"not valid YAML"),
        ("#" * ((1 << 20) + 1), "larger than"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "source.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError, match=message):
        load_manifest(path)


def author(path: str, principal: str) -> dict[str, object]:
    return {"contributors": [{"path": path, "principal": principal}]}


@pytest.mark.parametrize(
    "change",
    [
        {"trust": "trusted"},
        {"max_acl_age": "30"},
        {"max_acl_age": 30},
        {"max_acl_age": "0d"},
        {"kind": "web"},
        {"sidecars": "ignore"},
        {"root": "a\0b"},
        {"mapping": "a\nb"},
        {"extra": 1},
        {"id": "../hr"},
        {"tenant": ""},
        author("/a", "user:x"),
        author("a", "group:x"),
        author("a", "everyone"),
        author("a", "Gus Otis"),
    ],
)
def test_wrong_values_in_a_manifest(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        load_manifest(planted(tmp_path, **change))


def test_an_unknown_default_label_is_refused_and_registers_nothing(world: World, tmp_path: Path) -> None:
    wiki = Source(tmp_path, "wiki", settings={"default_label": "Cosmic"})
    with pytest.raises(ConfigError, match="unknown label 'Cosmic'"):
        world.run(wiki)
    with world.opened.reader.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(t.source)).scalar_one() == 0
