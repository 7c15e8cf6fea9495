"""How soon a right that is taken away is gone: in another process, and through a run of permissions.

A revocation is measured from its commit to the end of the first answer of another process, which is asked at once.
The run of permissions re-points 10,000 documents of one chunk each; its writes are also counted alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import yaml

from secure_rag.database import documents as db
from secure_rag.database import revocations
from secure_rag.database.documents import NewChunk, NewContent
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import Micros, PrincipalId, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.labels import import_labels, parse_labels
from secure_rag_api.ingesting import prepared_source
from secure_rag_api.operators import os_user
from secure_rag_api.permission_syncing import sync_source
from secure_rag_api.wiring import Installation, create_installation, open_installation
from secure_rag_ingestion.connectors.filesystem import FilesystemConnector
from secure_rag_ingestion.permission_sync import SyncReport
from secure_rag_ingestion.sources import confirm
from secure_rag_ingestion.tagging.tagger import Tagger

DOCUMENTS: Final = 10_000
REVOCATIONS: Final = 100
DIMENSIONS: Final = 64
_OPERATOR: Final = PrincipalId("user:operator")
_READER: Final = PrincipalId("user:reader")
_LABELS: Final = {
    "tenant": "acme",
    "labels": [{"id": "00000000-0000-4000-8000-000000000000", "name": "Internal", "priority": 0}],
    "compartments": [],
    "default": "Internal",
    "external_mix_threshold": "Internal",
}
_DIRECTORY: Final = {
    "tenant": "acme",
    "complete": True,
    "users": [{"id": _READER, "kind": "member", "clearance": "Internal"}],
    "groups": [{"id": f"group:g{n}", "members": [_READER]} for n in range(40)],
    "applications": [
        {
            "id": "app:bench",
            "grant": {
                "actions": ["read"],
                "label": "Internal",
                "compartments": [],
                "sources": ["*"],
                "purposes": ["qa"],
                "expires": "2999-01-01",
            },
        }
    ],
}


def run(folder: Path) -> dict[str, float]:
    """Build a home of 10,000 documents in a folder, revoke and synchronise, and return the figures."""
    home = folder / "home"
    settings = {"profile": "development", "tenant": "acme", "operators": {os_user(): _OPERATOR}}
    create_installation(home, yaml.safe_dump(settings))
    with open_installation(home, embedder=HashingEmbedder(DIMENSIONS)) as opened:
        manifest = _fill(opened, folder)
        figures = _revocations(opened)
        # All documents to other classes, then back, so that the classes are interned the second time.
        reports = [_synchronised(opened, manifest, shift) for shift in (20, 0, 20)]
    return figures | {
        "permission_sync_10k_documents_ms": statistics.median(x.elapsed_us for x in reports) / 1e3,
        "permission_sync_10k_write_ms": statistics.median(x.write_us for x in reports) / 1e3,
    }


def _synchronised(opened: Installation, manifest: Path, shift: int) -> SyncReport:
    _map(manifest, shift)
    report = sync_source(opened, manifest, _OPERATOR, lambda _: None)
    if report.outcomes != {"permission_updated": DOCUMENTS}:
        raise RuntimeError(f"a synchronisation did something else: {report.outcomes}")
    return report


def _revocations(opened: Installation) -> dict[str, float]:
    """From commit to the end of the next answer of another process."""
    command = [sys.executable, "-m", "benchmarks.freshness", str(opened.home.root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    tenant = opened.tenant_key("acme")
    times: list[float] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        for _ in range(REVOCATIONS):
            if not _asked(process):
                raise RuntimeError("the reader found nothing although nothing was revoked")
            with write(opened.engine) as connection:
                public_id = revocations.revoke(
                    connection,
                    tenant,
                    principal=_READER,
                    source=None,
                    document=None,
                    by=_OPERATOR,
                    reason="",
                    now=opened.clock.now(),
                )
            started = time.perf_counter()
            found = _asked(process)
            times.append((time.perf_counter() - started) * 1e3)
            if found:
                raise RuntimeError("a revocation had no effect in the other process")
            with write(opened.engine) as connection:
                revocations.lift(connection, tenant, public_id, "user:other", opened.clock.now())
        if process.stdin is not None:
            process.stdin.close()
    ordered = sorted(times)
    return {
        "revocation_other_process_p50_ms": statistics.median(ordered),
        "revocation_other_process_p99_ms": ordered[max(0, -(-99 * len(ordered) // 100) - 1)],
    }


def _asked(process: subprocess.Popen[str]) -> int:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the other process has no pipes")
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def answering(home: Path) -> None:
    """The other process: one question for each line, answered with the number of results."""
    who = CallerIdentity("acme", principal_id("app:bench"), _READER)
    with open_installation(home, embedder=HashingEmbedder(DIMENSIONS)) as opened:
        for _ in sys.stdin:
            answer = opened.retrieval.retrieve(who, RetrievalRequest("valve pump torque", k=10))
            sys.stdout.write(f"{len(answer.results)}\n")
            sys.stdout.flush()


def _fill(opened: Installation, folder: Path) -> Path:
    """Labels, directory, and a source of documents that are written as a run would write them."""
    now = opened.clock.now()
    labels = parse_labels(yaml.safe_dump(_LABELS).encode(), "labels.yaml")
    import_labels(opened.engine, labels, actor=_OPERATOR, now=now)
    directory = parse_directory(yaml.safe_dump(_DIRECTORY).encode(), "directory.yaml")
    import_directory(opened.engine, directory, actor=_OPERATOR, now=now)
    documents = folder / "documents"
    manifest = folder / "source" / "source.yaml"
    manifest.parent.mkdir(parents=True)
    content = {
        "id": "wiki",
        "tenant": "acme",
        "kind": "filesystem",
        "root": str(documents),
        "mapping": "mapping.yaml",
        "trust": "internal",
        "max_acl_age": "30d",
    }
    manifest.write_text(yaml.safe_dump(content), encoding="utf-8")
    _map(manifest, 0)
    names = [f"f{n % 20:02d}/{n:05d}.txt" for n in range(DOCUMENTS)]
    for n in range(20):
        (documents / f"f{n:02d}").mkdir(parents=True)
    for name in names:
        (documents / name).touch()
    with prepared_source(opened, manifest, _OPERATOR) as found:
        tagger = Tagger(found.source, found.taxonomy)
        with FilesystemConnector(documents, 0) as connector, write(opened.engine) as connection:
            tenant, source = found.source.tenant, found.source.key
            db.claim_embedding_space(connection, tenant, opened.embedder.engine_id, DIMENSIONS)
            for n, name in enumerate(names):
                key = db.ensure_document(connection, opened.ids, tenant, source, name, now)
                tag = tagger.tag(found.mapper.map(name, None, None))
                db.put_permission(connection, key, tagger.permission(connection, tag, now), now)
                signature = connector.signature(name)
                new = _content(opened, n, now, signature)
                db.put_content(connection, opened.ids, key, new, DocumentState.LIVE)
            confirm(connection, source, now)
    return manifest


def _content(opened: Installation, n: int, now: Micros, signature: str) -> NewContent:
    text = f"The valve of pump {n} has its own torque."
    vector = opened.embedder.embed_document(text)[None, :]
    chunk = NewChunk(text, 0, len(text), ())
    return NewContent(
        f"Document {n}", "text/plain", "unknown:wiki", f"{n:064x}", "bench", now, [chunk], vector, [], signature
    )  # fmt: skip


def _map(manifest: Path, shift: int) -> None:
    """Each folder to a group of its own."""
    rules = [
        {"path": f"f{n:02d}/**", "allow": [f"group:g{n + shift}"], "label": "Internal"} for n in range(20)
    ]
    mapping = {"source": "wiki", "principals": [], "rules": rules}
    (manifest.parent / "mapping.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")


if __name__ == "__main__":
    answering(Path(sys.argv[1]))
