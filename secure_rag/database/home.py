"""A home: the folder that holds everything of one installation."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import exc

from secure_rag.database import migrations
from secure_rag.database.engine import open_engine, private_file
from secure_rag.database.triggers import missing_triggers
from secure_rag.errors import ConfigError, UnavailableError

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
            UnavailableError: the database cannot be written.
        """
        try:
            for folder in (self.root, self.keys, self.locks):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.root}: cannot be created: {error.strerror}") from error
        if self.control.exists():
            return
        # The control database gets its name last: what was killed on the way here is no home.
        draft = self.control.with_suffix(".creating")
        draft.unlink(missing_ok=True)
        private_file(draft)
        migrations.upgrade(draft)
        if draft.with_name(f"{draft.name}-wal").exists():
            raise UnavailableError(f"{draft}: cannot be completed; is the disk full?")
        draft.rename(self.control)

    def upgrade(self) -> None:
        """Bring the control database to the revision of this release. Make a backup first.

        Raises:
            ConfigError: there is no home here, or one of a newer release or of none.
            UnavailableError: the database cannot be written now.
        """
        self._must_exist()
        migrations.upgrade(self.control)

    def revision(self) -> str | None:
        """Revision of the control database; None when it has none.

        Raises:
            ConfigError: there is no home here, or its control database cannot be read.
        """
        return self._read()[0]

    def check(self) -> None:
        """Start-up check of the control database.

        Raises:
            ConfigError: there is no home here, its revision is another one, or a trigger is missing.
        """
        found, missing = self._read()
        if found is None:
            raise ConfigError(f"{self.control}: not a control database of any release")
        if found not in migrations.REVISIONS:
            raise ConfigError(f"{self.control}: revision {found} is of a newer release of secure-rag")
        if found != migrations.HEAD:
            raise ConfigError(
                f"{self.control}: revision {found}, this release needs {migrations.HEAD}: "
                f"run `secure-rag upgrade --home {self.root}`"
            )
        if missing:
            raise ConfigError(f"{self.control}: triggers are missing or altered: {', '.join(missing)}")

    def _read(self) -> tuple[str | None, list[str]]:
        """Revision, and triggers that are not as they should be."""
        self._must_exist()
        engine = open_engine(self.control, read_only=True)
        try:
            with engine.connect() as connection:
                return migrations.revision(connection), missing_triggers(connection)
        except exc.DatabaseError as error:
            raise ConfigError(f"{self.control}: not a control database: {error.orig}") from error
        finally:
            engine.dispose()

    def _must_exist(self) -> None:
        if not self.control.is_file():
            raise ConfigError(f"{self.root}: no home here; `secure-rag init` creates one")

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
