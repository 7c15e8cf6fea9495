"""The kernel's ports. Each has its implementations elsewhere; `secure_rag_api.wiring` joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from secure_rag.model.decisions import ChunkRow, Decision
from secure_rag.model.findings import Finding
from secure_rag.model.ids import ChunkKey, ClassKey, Micros, TenantKey
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass
from secure_rag.model.permissions import MappedPermissions
from secure_rag.model.subject import Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from secure_rag.database.views import ReadView

    Vector = NDArray[np.float32]
    ClassIds = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AccessScope:
    """What one search may touch. Compiled per store; a caller's filter has already narrowed it.

    `classes` is sorted and unique. An empty one answers `[]` before the store is touched.
    """

    tenant: TenantKey
    classes: ClassIds
    modified_after: Micros | None = None


@dataclass(frozen=True, slots=True)
class CompiledScope:
    """The classes that a subject may read, and until when that holds if nothing changes."""

    classes: ClassIds
    valid_until: Micros


@dataclass(frozen=True, slots=True)
class Hit:
    """A candidate of a store. Only a hint: class, version and text are read from the database."""

    chunk: ChunkKey
    score: float


class PolicyEngine(Protocol):
    """Decides. `compile` answers fast for a whole query, `decide` is the authority; both must agree."""

    @property
    def model_digest(self) -> str:
        """SHA-256 of the packaged model and rows, recorded in every audit event."""
        ...

    def compile(self, view: ReadView, subject: Subject, action: str) -> CompiledScope:
        """Every class of the tenant that the subject may read, from the same rows as `decide`."""
        ...

    def decide(self, subject: Subject, action: str, cls: AclClass, now: Micros) -> Decision:
        """The authority's verdict on one class. An error inside the evaluation denies."""
        ...


class PermissionMapper(Protocol):
    """What guards the items of a source: its own permissions, the data owner's files. Pure: both were read before."""

    @property
    def confirmed_at(self) -> Micros | None:
        """When the permissions were exported; None when they are those of the moment."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the permissions of no item are known this time, with its place; None when they are."""
        ...

    def map(
        self, path: str, sidecar: bytes | None, sidecar_name: str | None, live: object = None
    ) -> MappedPermissions:
        """Permissions of the item at a POSIX path relative to the source's root.

        Args:
            path: relative, without `.` and `..` segments.
            sidecar: content of `NAME.acl.yaml` beside the item, None without one.
            sidecar_name: its name for messages and origins.
            live: what `LivePermissions` read of the item, for a source that has them.

        Raises:
            ConfigError: the sidecar is malformed; names file, line and what is wrong. The item is withheld.
            PermissionsUnknownError: what the source itself says of the item is not known.
            PolicyError: the path has another form, or a limit is exceeded.
        """
        ...


class LivePermissions(Protocol):
    """Permissions that are read from the source item by item, each after the item's content."""

    def read(self, root: int, path: str) -> object:
        """What guards the item now; equal values mean that nothing changed. Only the mapper looks into it.

        Args:
            root: descriptor of the source's folder.
            path: of the item in it.
        """
        ...


class VectorStore(Protocol):
    """Nearest neighbours inside a scope."""

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        """At most `k` hits, best first, ties by chunk key.

        Raises:
            StoreError: the store failed; nothing may be returned.
        """
        ...

    def ready(self) -> bool:
        """Whether the store follows its database closely enough to serve."""
        ...


class Embedder(Protocol):
    """Text to unit vectors. The engine id names model, weights and numeric recipe: ids never mix in an index."""

    @property
    def engine_id(self) -> str:
        """Model, weights digest and recipe."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    def embed_document(self, text: str) -> Vector:
        """Unit vector of one passage; the same text always gives the same bits."""
        ...

    def embed_query(self, text: str) -> Vector:
        """Unit vector of one query."""
        ...


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """What ingest-time detectors look at."""

    text: str
    title: str
    mime: str
    trust: Trust
    hidden: Sequence[Finding]


class ChunkDetector(Protocol):
    """Looks at the candidates of one answer, all of which the caller may read."""

    @property
    def name(self) -> str:
        """Stable name; the flag that callers see."""
        ...

    def inspect(self, query: str, rows: Sequence[ChunkRow]) -> Mapping[ChunkKey, Finding]:
        """Findings by chunk."""
        ...


class DocumentDetector(Protocol):
    """Looks at one document on its way in. Pure: no I/O, no clock."""

    @property
    def name(self) -> str:
        """Stable name."""
        ...

    def inspect(self, document: IncomingDocument) -> Sequence[Finding]:
        """Findings with spans and evidence."""
        ...


class AuditSink(Protocol):
    """Tamper-evident log. An event is durable before the call returns."""

    def record(self, tenant: str, kind: str, event_id: str, body: Mapping[str, object]) -> None:
        """Append one event and wait until it is on disk.

        Raises:
            UnavailableError: it could not be made durable; the answer must not leave.
        """
        ...


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> Micros:
        """Current instant."""
        ...


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """A class with its verdict, for explanations."""

    key: ClassKey
    decision: Decision
