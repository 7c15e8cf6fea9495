"""Faults planted into runs of permissions: one short history must notice each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.model.ids import PrincipalId
from secure_rag_api import permission_syncing
from secure_rag_ingestion import permission_sync, rereading, sync_writing
from secure_rag_ingestion.connectors import filesystem
from secure_rag_ingestion.permission_sync import SyncReport
from secure_rag_ingestion.runs import RunItem, RunKind
from secure_rag_ingestion.tagging.tagger import Tagger
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.exported import mutant
from tests.support.file_faults import refuse
from tests.support.ingest_home import Source, World, acl_as_of, company

OPERATOR = PrincipalId("user:operator")
MUTANTS: dict[str, tuple[ModuleType, str, str]] = {
    "any content will do": (rereading, "same_content=signature == document.signature != \"\"", "same_content=True"),
    "an unknown signature is equal": (
        rereading, "signature == document.signature != \"\"", "document.signature in (signature, \"\")",
    ),
    "permissions are read last": (
        rereading,
        "            tag = self._tag(document.native_id, sidecar=sidecar)\n"
        "            signature = self.connector.signature(document.native_id)\n",
        "            signature = self.connector.signature(document.native_id)\n"
        "            tag = self._tag(document.native_id, sidecar=sidecar)\n",
    ),
    "sidecars are left out": (rereading, "if sidecar or self.connector.guarded", "if self.connector.guarded"),
    "what is not listed is kept": (
        rereading, "yield Reread(document, None, reason=reason, detail=\"a folder could not be read\")", "continue",
    ),
    "what is gone is kept": (
        rereading,
        "            elif self.connector.complete:\n"
        "                yield Reread(document, None, reason=ReasonCode.GONE_AT_SOURCE.value)",
        "            elif self.connector.complete:\n                continue",
    ),
    "problems of a listing are passed over": (rereading, "if listed.problem is not None:", "if False:"),
    "changed content is re-pointed": (sync_writing, "if not found.same_content:", "if False:"),
    "everything comes back": (sync_writing, "if x.native_id in sound]", "]"),
    "changed content comes back": (sync_writing, "and x.same_content\n", "\n"),
    "failures are recorded only": (
        sync_writing, "[_retagged(x) for x in judged]", "[_retagged(x) for x in judged if x.tag]",
    ),
    "a partial listing confirms": (permission_sync, "if self._choose is None and not connector.complete:", "if False:"),
    "a sample confirms": (
        permission_sync, "whole = status is RunStatus.COMPLETED and self._choose is None",
        "whole = status is RunStatus.COMPLETED",
    ),
    "a source that cannot be opened keeps its documents": (
        permission_sync, "return self._nothing_known(writer, stored, ReasonCode.UNREADABLE, str(error))",
        "return self._nothing_known(writer, {}, ReasonCode.UNREADABLE, str(error))",
    ),
    "size is no part of a signature": (filesystem, "{status.st_size}:", ""),
    "time is no part of a signature": (filesystem, ":{status.st_mtime_ns}", ""),
    "the file itself is no part of a signature": (filesystem, ":{status.st_ino}", ""),
}  # fmt: skip


class _NoticedError(Exception):
    """The history did not go as it should."""


def expect(condition: bool) -> None:
    if not condition:
        raise _NoticedError


def patch(patched: pytest.MonkeyPatch, module: ModuleType, old: str, new: str) -> None:
    changed = mutant(module, ((old, new),))
    if module is rereading:
        patched.setattr(permission_sync, "Rereader", changed.Rereader)
    elif module is sync_writing:
        patched.setattr(permission_sync, "SyncWriter", changed.SyncWriter)
    elif module is permission_sync:
        patched.setattr(permission_syncing, "PermissionSync", changed.PermissionSync)
    else:
        patched.setattr(
            "secure_rag_ingestion.connectors.filesystem._stored_signature", changed._stored_signature
        )


def sync(world: World, source: Source, **options: object) -> tuple[SyncReport, dict[str, str]]:
    source.save()
    items: list[RunItem] = []
    report = permission_syncing.sync_source(
        world.opened, source.manifest, OPERATOR, items.append, **options  # type: ignore[arg-type]  # passed through
    )  # fmt: skip
    return report, {x.native_id: x.outcome.value for x in items}


def to(who: str) -> list[dict[str, object]]:
    return [{"path": "**", "allow": [who], "label": "Internal"}]


def history(base: Path) -> None:
    """A few weeks of one source in a moment.

    Raises:
        _NoticedError: somebody would read, or not read, what they should not.
    """
    clock = FixedClock()
    with company(base, clock=clock) as world:
        wiki = Source(base, "wiki")
        for name in ("a.txt", "b.txt", "deep/c.txt"):
            wiki.write(name, f"The valve of {name} opens at nine bar.")
        world.run(wiki)

        def reads(who: str) -> set[str]:
            return {x.removeprefix("wiki/") for x in world.ask(who, "valve opens at nine bar")}

        everything = {"a.txt", "b.txt", "deep/c.txt"}
        expect(reads("user:ann") == everything)
        _unreadable(world, wiki, reads, everything)
        _replaced(world, wiki, reads)
        _confirmed(world, wiki, clock, reads)
        _failed_content(world, wiki, reads)


def _unreadable(world: World, wiki: Source, reads: Callable[[str], set[str]], everything: set[str]) -> None:
    wiki.sidecar("a.txt", locks=[{"allow": ["user:ben"]}])
    sync(world, wiki)
    expect(reads("user:ann") == {"b.txt", "deep/c.txt"})
    (wiki.folder / "a.txt.acl.yaml").rename(wiki.folder / "a.txt.ACL.yaml")
    sync(world, wiki)
    expect("a.txt" not in reads("user:ann"))
    (wiki.folder / "a.txt.ACL.yaml").unlink()
    (wiki.folder / "b.txt").rename(wiki.base / "b")
    sync(world, wiki)
    expect(reads("user:ann") == {"a.txt", "deep/c.txt"})
    (wiki.base / "b").rename(wiki.folder / "b.txt")
    sync(world, wiki)
    expect(reads("user:ann") == everything)
    wiki.folder.rename(wiki.base / "away")
    permission_syncing.sync_source(world.opened, wiki.manifest, OPERATOR, lambda _: None)
    expect(reads("user:ann") == set())
    (wiki.base / "away").rename(wiki.folder)
    sync(world, wiki)
    expect(reads("user:ann") == everything)


def _replaced(world: World, wiki: Source, reads: Callable[[str], set[str]]) -> None:
    """Other text in the same place, in each way alone that a signature can tell, then opened to somebody else."""
    path = wiki.folder / "a.txt"
    with write(world.opened.engine) as connection:
        connection.execute(sa.update(t.document).values(signature=""))
    wiki.rules = to("user:ben")
    sync(world, wiki)
    expect(reads("user:ben") == set())
    for number, other in enumerate(("size", "time", "file", "late")):
        wiki.rules = to("group:staff")
        world.run(wiki)
        status = path.stat()
        text = path.read_text(encoding="utf-8")
        if other == "file":
            path.rename(wiki.base / f"kept{number}")
        wiki.rules = to("user:ben")
        wiki.save()
        if other == "late":
            _late(world, wiki, path)
        else:
            path.write_text(text + "!" if other == "size" else text.replace("nine", "five"), encoding="utf-8")
            if other != "time":
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            sync(world, wiki)
        expect("a.txt" not in reads("user:ben") | reads("user:ann"))
        path.write_text(text, encoding="utf-8")
        # Withheld for its content: the same permissions again do not bring it back, only a content run.
        wiki.rules = to("group:staff")
        sync(world, wiki)
        expect("a.txt" not in reads("user:ann"))
    world.run(wiki)


def _late(world: World, wiki: Source, path: Path) -> None:
    """The text is replaced between the two looks at the file."""
    done: list[bool] = []
    connector = filesystem.FilesystemConnector
    real_signature, real_tag = connector.signature, Tagger.tag

    def swap() -> None:
        if not done:
            path.write_text("Nothing at all, for everybody.", encoding="utf-8")
        done.append(True)

    def tagging(self: object, mapped: object) -> object:
        swap()
        return real_tag(self, mapped)  # type: ignore[arg-type]  # passed through

    with pytest.MonkeyPatch.context() as racing:
        racing.setattr(Tagger, "tag", tagging)
        racing.setattr(connector, "signature", real_signature)
        sync(world, wiki)


def _confirmed(world: World, wiki: Source, clock: FixedClock, reads: Callable[[str], set[str]]) -> None:
    before = acl_as_of(world.opened, "wiki")
    clock.at += 1_000_000
    with pytest.MonkeyPatch.context() as unreadable:
        refuse(unreadable, "deep")
        sync(world, wiki)
    expect(acl_as_of(world.opened, "wiki") == before)
    expect("deep/c.txt" not in reads("user:ann"))
    sync(world, wiki, choose=lambda names: names[:1], kind=RunKind.DRIFT)
    expect(acl_as_of(world.opened, "wiki") == before)
    sync(world, wiki)
    expect(acl_as_of(world.opened, "wiki") == clock.at)
    expect("deep/c.txt" in reads("user:ann"))


def _failed_content(world: World, wiki: Source, reads: Callable[[str], set[str]]) -> None:
    with pytest.MonkeyPatch.context() as unreadable:
        refuse(unreadable, "b.txt")
        world.run(wiki)
    sync(world, wiki)
    expect("b.txt" not in reads("user:ann"))
    world.run(wiki)
    sidecar = wiki.write("b.txt.acl.yaml", "locks: [")
    world.run(wiki)
    sidecar.unlink()
    (wiki.folder / "b.txt").write_text("Another text entirely.", encoding="utf-8")
    sync(world, wiki)
    expect("b.txt" not in reads("user:ann"))


@control("ingest:permission-sync", "ingest:permissions-of-this-content")
def test_the_history_goes_as_it_should(tmp_path: Path) -> None:
    history(tmp_path)


@control("ingest:permission-sync", "ingest:permissions-of-this-content")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_each_fault_is_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch(monkeypatch, *MUTANTS[name])
    with pytest.raises(_NoticedError):
        history(tmp_path)
