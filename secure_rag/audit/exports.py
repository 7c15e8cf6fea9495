"""The file of all chains' signed places that is carried off the host, and its record in the log."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secure_rag.audit.chains import Problem
from secure_rag.audit.checkpoints import sign_heads
from secure_rag.audit.events import Head, frame
from secure_rag.audit.records import ExportRow, exports_of
from secure_rag.audit.schema import sync_directory, transaction
from secure_rag.audit.signing import PublicKey, Signer
from secure_rag.errors import ConfigError, UnavailableError
from secure_rag.model.ids import Micros

MAX_EXPORT_BYTES: Final = 256 * 2**20
NO_PREVIOUS: Final = bytes(32)
"""What the first export names as the one before it."""

_FORMAT: Final = "secure-rag audit checkpoint 1"
_HEADS_TAG: Final = b"secure-rag audit heads v1"


@dataclass(frozen=True, slots=True)
class ExportedCheckpoint:
    """An exported file, read back."""

    record: ExportRow
    heads: Sequence[tuple[bytes, Head]]
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export holds. A chain with a problem stands in it with its last good signed place."""

    sequence: int
    at: Micros
    digest: str
    heads: int
    problems: tuple[Problem, ...]


_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _HeadModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    writer: str = Field(pattern=r"^[0-9a-f]{32}$")
    n: int = Field(ge=0, lt=2**62)
    hash: _Hash


class _ExportModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal["secure-rag audit checkpoint 1"]
    sequence: int = Field(ge=1, lt=2**62)
    at: int = Field(ge=-(2**62), lt=2**62)
    previous: _Hash
    heads: list[_HeadModel]
    public_key: _Hash
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")


def export(connection: sqlite3.Connection, signer: Signer, at: Micros, path: Path) -> ExportResult:
    """Sign every head and write them to a file to carry off the host. The file appears whole or not at all.

    Raises:
        UnavailableError: the file cannot be written. (Its number stays used; the next export follows it.)
    """
    result, heads = sign_heads(connection, signer, at)
    digest = _heads_digest(heads)
    with transaction(connection):
        last = next(exports_of(connection, newest_first=True), None)
        sequence, previous = (1, NO_PREVIOUS) if last is None else (last.sequence + 1, last.digest)
        signature = signer.sign(ExportRow(sequence, at, previous, digest, b"").message)
        record = ExportRow(sequence, at, previous, digest, signature)
        connection.execute(
            "INSERT INTO export(sequence, at, previous, heads_digest, signature) VALUES (?, ?, ?, ?, ?)",
            (sequence, at, previous, digest, signature),
        )
    model = _ExportModel(
        format=_FORMAT,
        sequence=sequence,
        at=at,
        previous=previous.hex(),
        heads=[_HeadModel(writer=w.decode(), n=head.n, hash=head.hash.hex()) for w, head in heads],
        public_key=signer.public_key.raw.hex(),
        signature=signature.hex(),
    )
    _write_whole(path, model.model_dump_json(indent=1).encode() + b"\n")
    return ExportResult(sequence, at, record.digest.hex(), len(heads), result.problems)


def load_export(path: Path) -> ExportedCheckpoint:
    """Read an exported file. Whether its signature holds is for the verifier to say.

    Raises:
        ConfigError: it cannot be read or is not such a file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_EXPORT_BYTES + 1)
        if len(content) > MAX_EXPORT_BYTES:
            raise ConfigError(f"{path}: larger than an exported checkpoint can be")
        model = _ExportModel.model_validate_json(content)
    except OSError as exc:
        raise ConfigError(f"{path}: the exported checkpoint cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors()[0]["loc"]) or "the file"
        raise ConfigError(f"{path}: not an exported checkpoint: {where} is wrong") from exc
    heads = [(head.writer.encode(), Head(head.n, bytes.fromhex(head.hash))) for head in model.heads]
    record = ExportRow(
        model.sequence,
        model.at,
        bytes.fromhex(model.previous),
        _heads_digest(heads),
        bytes.fromhex(model.signature),
    )
    return ExportedCheckpoint(record, heads, PublicKey(bytes.fromhex(model.public_key)))


def _heads_digest(heads: Sequence[tuple[bytes, Head]]) -> bytes:
    fields = [field for writer, head in heads for field in (writer, head.n, head.hash)]
    return hashlib.sha256(frame(_HEADS_TAG, *fields)).digest()


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as exc:
        raise UnavailableError(f"{path}: the checkpoint cannot be written: {exc.strerror}") from exc
