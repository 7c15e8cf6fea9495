"""A home: the folder that holds everything of one installation."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, private_file, write
from secure_rag.database.triggers import missing_triggers
from secure_rag.errors import ConfigError

SCHEMA_VERSION: Final = 1
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one home. Every file in it is private to its owner."""

    root: Path

    @property
    def control(self) -> Path:
        """Control database: registry, permissions, text, vectors."""
        return self.root / "control.db"

    @property
    def audit(self) -> Path:
        """Audit log."""
        return self.root / "audit.db"

    @property
    def contexts(self) -> Path:
        """Context ledger."""
        return self.root / "contexts.db"

    @property
    def keys(self) -> Path:
        """Folder of keys."""
        return self.root / "keys"

    @property
    def locks(self) -> Path:
        """Folder of run locks."""
        return self.root / "locks"

    @property
    def settings(self) -> Path:
        """Settings file."""
        return self.root / "config.yaml"

    def create(self) -> None:
        """Create folders and the control database; what exists is left as it is.

        Raises:
            ConfigError: the folder cannot be created.
        """
        try:
            for folder in (self.root, self.keys, self.locks):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.root}: cannot be created: {error.strerror}") from error
        private_file(self.control)
        engine = open_engine(self.control)
        with write(engine) as connection:
            t.meta.create_all(connection)
            present = connection.execute(sa.select(t.counter.c.name)).scalars().all()
            missing = {"document_seq": 0, "schema": SCHEMA_VERSION}.items()
            rows = [{"name": name, "value": value} for name, value in missing if name not in present]
            if rows:
                connection.execute(sa.insert(t.counter), rows)
        engine.dispose()

    def check(self) -> None:
        """Start-up check of the control database.

        Raises:
            ConfigError: there is no home here, its schema is another one, or a trigger is missing.
        """
        if not self.control.is_file():
            raise ConfigError(f"{self.root}: no home here; `secure-rag init` creates one")
        engine = open_engine(self.control, read_only=True)
        try:
            with engine.connect() as connection:
                version = connection.execute(
                    sa.select(t.counter.c.value).where(t.counter.c.name == "schema")
                ).scalar()
                if version != SCHEMA_VERSION:
                    raise ConfigError(
                        f"{self.control}: schema {version}, this release needs {SCHEMA_VERSION}"
                    )
                missing = missing_triggers(connection)
                if missing:
                    raise ConfigError(
                        f"{self.control}: triggers are missing or altered: {', '.join(missing)}"
                    )
        except exc.DatabaseError as error:
            raise ConfigError(f"{self.control}: not a control database") from error
        finally:
            engine.dispose()

    def key(self, name: str) -> bytes:
        """A 32-byte secret of this home, created on first use.

        Raises:
            ConfigError: the key file is damaged.
        """
        path = self.keys / name
        try:
            return _read_key(path)
        except FileNotFoundError:
            return _make_key(path)


def _make_key(path: Path) -> bytes:
    """Write a key beside its place and link it in: whoever is killed half-way leaves no damaged key."""
    made = secrets.token_bytes(_KEY_BYTES)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return _read_key(path)
        return made
    finally:
        draft.unlink()


def _read_key(path: Path) -> bytes:
    found = path.read_bytes()
    if len(found) != _KEY_BYTES:
        raise ConfigError(f"{path}: not a key of {_KEY_BYTES} bytes")
    return found
