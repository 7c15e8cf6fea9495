"""The only composition root: joins policy engine, stores, embedding, audit and flows over one home."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.audit.log import AuditLog, AuditOptions
from secure_rag.audit.signing import create_keys, load_digest_key, load_signer
from secure_rag.config import Settings, load_settings
from secure_rag.database import tables as t
from secure_rag.database.contexts import ContextLedger
from secure_rag.database.documents import PublicIds
from secure_rag.database.engine import open_engine
from secure_rag.database.home import Home
from secure_rag.database.views import Views
from secure_rag.detection import (
    ContributorBurst,
    NearDuplicates,
    QueryEcho,
    default_document_detectors,
    detection_digest,
)
from secure_rag.embedding import open_embedder
from secure_rag.errors import ConfigError, NotFoundError
from secure_rag.model.ids import TenantKey
from secure_rag.ports import Clock, Embedder
from secure_rag.retrieval.candidates import Screen
from secure_rag.retrieval.conversation import Conversations
from secure_rag.retrieval.record import Recorder
from secure_rag.retrieval.service import RetrievalService
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.explain import explain_row
from secure_rag_acl.management import ManagementPolicy
from secure_rag_api.clock import SystemClock
from secure_rag_api.private_files import make_private_folder, write_private
from secure_rag_ingestion.chunking.chunker import Chunker, TokenCounter
from secure_rag_ingestion.parsing.sandbox import SandboxedParser, SandboxLimits, default_requirements
from secure_rag_ingestion.preparing import RESERVED_TOKENS
from secure_rag_ingestion.scanning.scanner import Scanner
from secure_rag_ingestion.tools import Tools

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView
    from secure_rag_api.qdrant_following import FollowedQdrant

_SECOND = 1_000_000
_PIPELINE_FORMAT = 1
_PARSING_LIBRARIES = (
    "kreuzberg", "pypdfium2", "selectolax", "defusedxml", "charset-normalizer", "markdown-it-py"
)  # fmt: skip


@dataclass
class Installation:
    """One opened home. Expensive parts are made on first use and closed together."""

    home: Home
    settings: Settings
    clock: Clock
    engine: sa.Engine
    reader: sa.Engine
    audit: AuditLog
    closing: ExitStack
    embedder_override: Embedder | None = None

    @cached_property
    def views(self) -> Views:
        """Snapshots for decision code."""
        return Views(self.reader, self.clock.now)

    @cached_property
    def policy(self) -> CasbinEngine:
        """The policy engine; refuses to exist when its start-up checks fail."""
        return CasbinEngine()

    @cached_property
    def management(self) -> ManagementPolicy:
        """Who may manage what."""
        return ManagementPolicy()

    @cached_property
    def ids(self) -> PublicIds:
        """Identifiers that callers see."""
        return PublicIds(self.home.key("public-ids"))

    @cached_property
    def embedder(self) -> Embedder:
        """The embedding engine of the settings."""
        return self.embedder_override or open_embedder(self.settings.embedding)

    @cached_property
    def store(self) -> EmbeddedStore | FollowedQdrant:
        """The vector store of the settings."""
        if self.remote_store is not None:
            return self.remote_store
        store = EmbeddedStore(self.home.control, self.embedder.engine_id, self.embedder.dimensions)
        self.closing.callback(store.close)
        return store

    @cached_property
    def remote_store(self) -> FollowedQdrant | None:
        """The store outside the control database, brought to its state; None when the vectors live in it."""
        if self.settings.qdrant is None:
            return None
        # Here, so that the client of Qdrant is loaded only where there is a Qdrant.
        from secure_rag_api.qdrant_following import open_qdrant

        store = open_qdrant(self.settings.qdrant, self.home, self.embedder, self.reader)
        self.closing.callback(store.close)
        store.sync()
        return store

    def documents_changed(self) -> None:
        """Bring a store outside the control database in step with it; the embedded one follows by itself.

        Raises:
            StoreError: the store cannot be reached. Whoever opens it next makes up for it.
        """
        if self.remote_store is not None:
            self.remote_store.sync()

    @cached_property
    def retrieval(self) -> RetrievalService:
        """The query flow."""
        detectors = (QueryEcho(),)
        duplicates = NearDuplicates(tau=self.settings.near_duplicate_tau)
        return RetrievalService(
            views=self.views,
            engine=self.policy,
            store=self.store,
            embedder=self.embedder,
            screen=Screen(detectors, duplicates),
            conversations=Conversations(
                ContextLedger(self.home.contexts),
                self.home.key("contexts"),
                self.settings.context_ttl_s * _SECOND,
            ),
            recorder=Recorder(
                audit=self.audit,
                engine=self.policy,
                explain=explain_row,
                query_key=load_digest_key(self.home.keys),
                token_key=self.home.key("policy-tokens"),
                engine_id=self.embedder.engine_id,
                detection_digest=detection_digest((*detectors, duplicates)),
                keep_query_text=self.settings.audit.query_text,
            ),
        )

    @cached_property
    def ingest_tools(self) -> Tools:
        """What ingest runs use, the parse sandbox among it."""
        parser = self.closing.enter_context(self._parser())
        scanner = Scanner(default_document_detectors())
        burst = ContributorBurst()
        # Without a token limit the end of a long chunk would never reach its vector.
        tokens = self.embedder if isinstance(self.embedder, TokenCounter) else None
        chunker = Chunker(700, 900, tokens=tokens, reserved_tokens=RESERVED_TOKENS if tokens else 0)
        parts = (
            _PIPELINE_FORMAT,
            *(f"{name}-{version(name)}" for name in _PARSING_LIBRARIES),
            chunker.chunker_id,
            detection_digest((*scanner.detectors, burst)),
            self.embedder.engine_id,
        )
        return Tools(
            engine=self.engine,
            ids=self.ids,
            parser=parser,
            chunker=chunker,
            embedder=self.embedder,
            scanner=scanner,
            burst=burst,
            audit=self.audit,
            clock=self.clock,
            pipeline_id=hashlib.sha256(repr(parts).encode("utf-8")).hexdigest(),
            max_bytes=self.settings.parser.input_mib << 20,
        )

    def tenant_key(self, name: str, view: ReadView | None = None) -> TenantKey:
        """Key of a tenant, in a view that is open already or in one of its own.

        Raises:
            NotFoundError: there is no such tenant.
        """
        if view is None:
            with self.views.open() as fresh:
                return self.tenant_key(name, fresh)
        found = view.tenant_key(name)
        if found is None:
            raise NotFoundError(f"there is no tenant {name!r}; importing its labels or directory creates it")
        return found

    def tenant_names(self) -> list[str]:
        """Every tenant of the home."""
        with self.reader.connect() as connection:
            return list(connection.execute(sa.select(t.tenant.c.name).order_by(t.tenant.c.name)).scalars())

    def close(self) -> None:
        """Close everything that was opened; what is closed already stays so."""
        self.closing.close()

    def new_id(self) -> str:
        """Identifier of an audit event that has no other."""
        return secrets.token_hex(16)

    def _parser(self) -> SandboxedParser:
        chosen = self.settings.parser
        limits = SandboxLimits(
            memory_bytes=chosen.memory_mib << 20,
            wall_seconds=chosen.wall_seconds,
            input_bytes=chosen.input_mib << 20,
        )
        required = default_requirements() - frozenset(chosen.accepted_weaknesses)
        return SandboxedParser(limits, require=required)


@contextmanager
def open_installation(
    root: Path, *, clock: Clock | None = None, embedder: Embedder | None = None
) -> Generator[Installation]:
    """Open a home; everything that was made on the way is closed at the end.

    Raises:
        ConfigError: no home there, or a file of it is damaged.
    """
    home = Home(root.resolve())
    home.check()
    settings = load_settings(home.root)
    chosen = clock or SystemClock()
    with ExitStack() as closing:
        engine, reader = open_engine(home.control), open_engine(home.control, read_only=True)
        closing.callback(engine.dispose)
        closing.callback(reader.dispose)
        options = AuditOptions(
            checkpoint_every=settings.audit.checkpoint_every, keep_query_text=settings.audit.query_text
        )
        audit = AuditLog(home.audit, load_signer(home.keys), chosen, options)
        closing.enter_context(audit)
        yield Installation(home, settings, chosen, engine, reader, audit, closing, embedder)


def create_installation(root: Path, settings_text: str, *, beside: frozenset[str] = frozenset()) -> Home:
    """Create a home with its keys in a new or empty folder. Nothing stays of it when something goes wrong.

    Args:
        root: the folder.
        settings_text: content of its `config.yaml`.
        beside: names of files that may lie in the folder already.

    Raises:
        ConfigError: the folder is not empty or cannot be written, or the settings are wrong.
    """
    home = Home(root.resolve())
    if home.control.exists():
        raise ConfigError(f"{home.root}: there is a home already")
    if home.root.is_dir() and any(path.name not in beside for path in home.root.iterdir()):
        raise ConfigError(f"{home.root}: not empty; a home gets a folder of its own")
    make_private_folder(home.root)
    try:
        write_private(home.settings, settings_text)
        load_settings(home.root)
        make_private_folder(home.keys)
        create_keys(home.keys)
        home.create()
    except BaseException:
        shutil.rmtree(home.root, ignore_errors=True)
        raise
    return home
