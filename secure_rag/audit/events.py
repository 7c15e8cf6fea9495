"""What an event is, how it is written down, and what may not be in it.

Invariants:
    * The hash of an event covers every column of its row, and the hash of the event before it.
    * Fields are framed by their length, so no two different rows have one preimage.
    * A body is ASCII-only canonical JSON: one value, one spelling, no byte that SQLite treats specially.
    * A body carries no content of documents, and no query text unless the log was told to keep it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from secure_rag.errors import UnavailableError
from secure_rag.model.ids import Micros

INSTALLATION: Final = ""
"""Tenant of events that belong to the installation as a whole."""
MAX_BODY_BYTES: Final = 65_536
MAX_DEPTH: Final = 12
CONTENT_KEYS: Final = frozenset(
    {"text", "content", "title", "headings", "snippet", "excerpt", "passage", "evidence"}
)
"""Names under which content of documents travels in this product; refused at any depth."""
QUERY_KEY: Final = "query"
"""The only name under which query text may be kept, and only when the log was opened so."""
PATHS_DISAGREE: Final = "paths_disagree"
"""Kind of the alarm that Casbin and the compiled path decided one class differently in one view."""
SOURCE_STALE: Final = "source_stale"
"""Kind of the alarm that permissions of a source are older than it allows, so that documents of it are withheld."""
ALARMS: Final[Mapping[str, frozenset[str]]] = {
    PATHS_DISAGREE: frozenset(
        {
            "decision",  # id of the decision during which it was found
            "classes",  # [class, reason of Casbin]; `allowed`: the compiled path denied
            "caller",
            "subject",
            "subject_key",
            "delegation",
            "hops",
            "purpose",
            "view",  # instant at which both decided
            "policy",
            "model",
        }
    ),
    SOURCE_STALE: frozenset(
        {
            "source",
            "acl_as_of",  # when its permissions were last confirmed
            "max_acl_age",
            "noticed",
        }
    ),
}
"""Kinds that somebody has to look at, each with the fields that its body has: exactly these."""

_EVENT_TAG: Final = b"secure-rag audit event v1"
_WRITER_TAG: Final = b"secure-rag audit writer v1"
_TENANT: Final = re.compile(r"[!-~]{0,64}")
_KIND: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_EVENT_ID: Final = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain stands: the number of its last event and that event's hash."""

    n: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A checked event that has no place in a chain yet."""

    at: Micros
    tenant: str
    kind: str
    event_id: str
    body: str


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row of the event table as bytes, so that what is not even text can be hashed and named."""

    writer: bytes
    n: int
    at: int
    tenant: bytes
    kind: bytes
    event_id: bytes
    body: bytes
    prev_hash: bytes
    hash: bytes

    def digest(self, n: int | None = None, prev_hash: bytes | None = None) -> bytes:
        """Recompute the hash, at another place or after another row if one is given."""
        return hashlib.sha256(
            frame(
                _EVENT_TAG,
                self.writer,
                self.n if n is None else n,
                self.at,
                self.tenant,
                self.kind,
                self.event_id,
                self.prev_hash if prev_hash is None else prev_hash,
                self.body,
            )
        ).digest()


def chained(entry: Entry, writer: str, after: Head) -> StoredRow:
    """Give an entry its place: the row that follows `after` in the chain of `writer`."""
    row = StoredRow(
        writer=writer.encode(),
        n=after.n + 1,
        at=entry.at,
        tenant=entry.tenant.encode(),
        kind=entry.kind.encode(),
        event_id=entry.event_id.encode(),
        body=entry.body.encode(),
        prev_hash=after.hash,
        hash=b"",
    )
    return replace(row, hash=row.digest())


def writer_message(writer: bytes, started: int, version: bytes, key: bytes) -> bytes:
    """What the signature of a writer row covers; its SHA-256 is the hash that event 1 of the chain follows."""
    return frame(_WRITER_TAG, writer, started, version, key)


def frame(tag: bytes, *fields: bytes | int) -> bytes:
    """Join fields so that only these fields in this order give these bytes; the tag separates the uses."""
    parts: list[bytes] = []
    for value in (tag, *fields):
        raw = value.to_bytes(8, "big", signed=True) if isinstance(value, int) else value
        parts += (len(raw).to_bytes(8, "big"), raw)
    return b"".join(parts)


def entry(
    at: Micros,
    tenant: str,
    kind: str,
    event_id: str,
    body: Mapping[str, object],
    *,
    keep_query_text: bool = False,
) -> Entry:
    """Check an event and bring it into its one spelling.

    Raises:
        UnavailableError: the event cannot be recorded as it is, so what it stands for must not happen.
    """
    for value, pattern, what in (
        (tenant, _TENANT, "tenant"),
        (kind, _KIND, "kind"),
        (event_id, _EVENT_ID, "event id"),
    ):
        if not pattern.fullmatch(value):
            raise UnavailableError(f"an audit event has an invalid {what}")
    if kind in ALARMS and ALARMS[kind].symmetric_difference(body):
        raise UnavailableError(f"an audit event of kind {kind} has other fields than its kind has")
    return Entry(at, tenant, kind, event_id, canonical_json(body, keep_query_text=keep_query_text))


def canonical_json(body: Mapping[str, object], *, keep_query_text: bool = False) -> str:
    """Sorted, compact, ASCII-only JSON of a body.

    Raises:
        UnavailableError: a key is not text or names content, a value is not JSON, or the body is too large.
    """
    refused = CONTENT_KEYS if keep_query_text else CONTENT_KEYS | {QUERY_KEY}
    plain = dict(body)
    _check(plain, refused, MAX_DEPTH)
    try:
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise UnavailableError("the body of an audit event is not JSON") from exc
    if len(text) > MAX_BODY_BYTES:
        raise UnavailableError(f"the body of an audit event has more than {MAX_BODY_BYTES} bytes")
    return text


def _check(value: object, refused: frozenset[str], depth: int) -> None:
    if depth < 0:
        raise UnavailableError("the body of an audit event is nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            # json.dumps would turn the keys 1 and "1" into one name.
            if not isinstance(key, str):
                raise UnavailableError("the body of an audit event has a key that is not text")
            if key.lower() in refused:
                raise UnavailableError(f"the body of an audit event may not carry {key!r}")
            _check(inner, refused, depth - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner, refused, depth - 1)


def query_digest(key: bytes, text: str) -> str:
    """HMAC-SHA256 of a query, in hex: equal queries can be found again by who holds the key, by nobody else."""
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def query_fields(key: bytes, text: str, *, keep_query_text: bool = False) -> dict[str, object]:
    """The fields of an event that stand for a query. The text itself only when the configuration says so."""
    fields: dict[str, object] = {"query_digest": query_digest(key, text)}
    if keep_query_text:
        fields[QUERY_KEY] = text
    return fields
