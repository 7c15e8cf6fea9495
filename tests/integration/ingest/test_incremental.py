"""What the second run does: as little as the change needs, and never less."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_ingestion.parsing.model import ParsedDocument
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.support.ingest_home import DIMENSIONS, Source, World, company, index, opened

PUMP = "The seals of the pump are changed every second year by the maintenance crew."
VALVE = "The relief valve opens at nine bar and is tested each spring."


class Counting(HashingEmbedder):
    """Counts what it embeds."""

    def __init__(self) -> None:
        super().__init__(DIMENSIONS)
        self.documents = 0

    def embed_document(self, text: str) -> NDArray[np.float32]:
        self.documents += 1
        return super().embed_document(text)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return HashingEmbedder.embed_document(self, text)


class Work:
    """Counters of parses and embeddings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.embedder = Counting()
        self.parsed: list[str] = []
        real = SandboxedParser.parse

        def parse(parser: SandboxedParser, name: str, data: bytes) -> ParsedDocument:
            self.parsed.append(name)
            return real(parser, name, data)

        monkeypatch.setattr(SandboxedParser, "parse", parse)

    def take(self) -> tuple[list[str], int]:
        """What was done since the last call."""
        done = self.parsed, self.embedder.documents
        self.parsed, self.embedder.documents = [], 0
        return done


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


@pytest.fixture
def world(tmp_path: Path, work: Work) -> Generator[World]:
    with company(tmp_path, embedder=work.embedder) as found:
        yield found


@pytest.fixture
def wiki(tmp_path: Path) -> Source:
    source = Source(tmp_path, "wiki")
    source.write("pump.txt", PUMP)
    source.write("notes/valve.md", f"# Valves\n\n{VALVE}\n")
    return source


def test_a_second_run_embeds_nothing_and_changes_nothing(world: World, wiki: Source, work: Work) -> None:
    first = world.run(wiki)
    assert first.report.outcomes == {"added": 2}
    assert first.report.embedded > 0
    before = index(world.opened)
    work.take()
    second = world.run(wiki)
    assert (second.report.status.value, second.report.outcomes) == ("completed", {"unchanged": 2})
    assert second.report.embedded == 0
    assert work.take() == ([], 0)
    assert index(world.opened) == before


def test_an_edited_mapping_repoints_without_parsing_or_embedding(
    world: World, wiki: Source, work: Work, tmp_path: Path
) -> None:
    world.run(wiki)
    with opened(tmp_path) as other:
        assert other.ask("user:ann", "pump seals") == {"wiki/pump.txt", "wiki/notes/valve.md"}
        work.take()
        wiki.rules = [*wiki.rules, {"path": "pump.txt", "allow": ["group:contractors"], "label": "Internal"}]
        ran = world.run(wiki)
        assert work.take() == ([], 0)
        assert ran.outcome("pump.txt") == ("permission_updated", "permissions_changed")
        # The very next query of a process that knows nothing of the run; its store was not even refreshed.
        assert other.ask("user:ann", "pump seals") == {"wiki/notes/valve.md"}
        assert other.why("user:ann", "wiki/pump.txt") == "not_on_list"
        assert other.ask("user:ben", "pump seals") == {"wiki/pump.txt"}


def test_only_the_label_changed(world: World, wiki: Source, work: Work) -> None:
    world.run(wiki)
    work.take()
    wiki.rules = [{"path": "**", "allow": ["group:staff"], "label": "Confidential"}]
    ran = world.run(wiki)
    assert {ran.outcome(x) for x in ran.items} == {("label_updated", "label_changed")}
    assert work.take() == ([], 0)
    assert world.ask("user:dora", "pump seals") == set()
    assert world.why("user:dora", "wiki/pump.txt") == "label"


def test_compartments_and_trust_are_no_mere_label(world: World, wiki: Source, work: Work) -> None:
    world.run(wiki)
    wiki.rules = [{"path": "**", "allow": ["group:staff"], "label": "Internal", "compartments": ["heron"]}]
    assert world.run(wiki).outcome("pump.txt") == ("permission_updated", "permissions_changed")
    assert world.ask("user:ann", "pump seals") == set()
    assert world.ask("user:cleo", "pump seals") != set()
    work.take()
    wiki.settings["trust"] = "external"
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("permission_updated", "permissions_changed")
    assert work.take() == ([], 0)
    (trust,) = {str(x["class"]).split("'")[-2] for x in index(world.opened).values()}
    assert trust == "external"


def test_a_sidecar_is_added_and_removed_again(world: World, wiki: Source, work: Work) -> None:
    world.run(wiki)
    before = index(world.opened)
    work.take()
    sidecar = wiki.sidecar("pump.txt", label="Confidential")
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("label_updated", "label_changed")
    assert ran.outcome("pump.txt.acl.yaml") == ("skipped", "sidecar")
    assert ran.outcome("notes/valve.md") == ("unchanged", "same")
    wiki.sidecar("pump.txt", locks=[{"allow": ["user:cleo"]}])
    assert world.run(wiki).outcome("pump.txt") == ("permission_updated", "permissions_changed")
    assert world.ask("user:ann", "pump seals") == {"wiki/notes/valve.md"}
    sidecar.unlink()
    assert world.run(wiki).outcome("pump.txt") == ("permission_updated", "permissions_changed")
    assert work.take() == ([], 0)
    assert index(world.opened) == before


def test_moved_lines_of_a_mapping_change_explanations_only(world: World, wiki: Source, work: Work) -> None:
    world.run(wiki)
    work.take()
    before = {key: {**x, "permissions": None} for key, x in index(world.opened).items()}
    wiki.rules = [{"path": "nothing/**", "allow": []}, *wiki.rules]
    ran = world.run(wiki)
    assert {ran.outcome(x) for x in ran.items} == {("unchanged", "same")}
    assert work.take() == ([], 0)
    assert {key: {**x, "permissions": None} for key, x in index(world.opened).items()} == before


def test_changed_content_is_parsed_and_embedded_alone(world: World, wiki: Source, work: Work) -> None:
    world.run(wiki)
    work.take()
    wiki.write("pump.txt", "The pump now runs dry twice a year, which nobody planned.")
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("content_updated", "content_changed")
    assert ran.outcome("notes/valve.md") == ("unchanged", "same")
    assert ran.items["pump.txt"].version == 2
    assert work.take() == (["pump.txt"], 1)


def test_another_pipeline_makes_everything_anew(
    world: World, wiki: Source, work: Work, tmp_path: Path
) -> None:
    world.run(wiki)
    before = index(world.opened)
    with opened(tmp_path, embedder=work.embedder) as later:
        tools = later.opened.ingest_tools
        object.__setattr__(tools, "pipeline_id", "another")
        work.take()
        ran = later.run(wiki)
        assert {ran.outcome(x) for x in ran.items} == {("content_updated", "pipeline_changed")}
        assert len(work.take()[0]) == 2
        after = index(later.opened)
    for key, document in after.items():
        assert document["vectors"] == before[key]["vectors"]
        assert document["chunks"] == before[key]["chunks"]


def test_a_moved_file_is_a_new_document_and_a_deleted_one(world: World, wiki: Source) -> None:
    world.run(wiki)
    wiki.write("archive/pump.txt", (wiki.folder / "pump.txt").read_bytes())
    (wiki.folder / "pump.txt").unlink()
    ran = world.run(wiki)
    assert ran.outcome("archive/pump.txt") == ("added", "new")
    assert ran.outcome("pump.txt") == ("deleted", "gone_at_source")
    assert world.ask("user:ann", "pump seals") == {"wiki/archive/pump.txt", "wiki/notes/valve.md"}


def test_a_file_that_comes_back_is_a_new_version_of_the_same_document(world: World, wiki: Source) -> None:
    world.run(wiki)
    (wiki.folder / "pump.txt").unlink()
    world.run(wiki)
    wiki.write("pump.txt", PUMP)
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("added", "new")
    assert ran.items["pump.txt"].version == 2
    assert world.ask("user:ann", "pump seals") == {"wiki/pump.txt", "wiki/notes/valve.md"}


def test_an_author_that_the_manifest_names_later_is_recorded(world: World, wiki: Source, work: Work) -> None:
    world.run(wiki)
    work.take()
    wiki.settings["contributors"] = [{"path": "pump.txt", "principal": "user:ann"}]
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("unchanged", "contributor_changed")
    assert work.take() == ([], 0)
    assert {key: x["head"][2] for key, x in index(world.opened).items() if isinstance(x["head"], tuple)} == {
        "acme/wiki/pump.txt": "user:ann",
        "acme/wiki/notes/valve.md": "unknown:wiki",
    }


def test_durations_are_on_record(world: World, wiki: Source) -> None:
    ran = world.run(wiki)
    item = ran.items["pump.txt"]
    assert 0 < item.parse_us <= item.total_us
    assert 0 < item.embed_us <= item.total_us
    with world.opened.reader.connect() as connection:
        stored = connection.exec_driver_sql(
            "SELECT parse_us, embed_us, total_us FROM run_item WHERE native_id = 'pump.txt'"
        ).one()
    assert tuple(stored) == (item.parse_us, item.embed_us, item.total_us)
