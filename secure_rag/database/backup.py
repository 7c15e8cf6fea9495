"""Backup and restore. A restored home serves nothing until directory and sources are read again.

A backup holds rights that may have been revoked since. So a restore starts a new generation, ends every delegation,
forgets when permissions were confirmed, and moves every id sequence past anything that was given out after the
backup was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import sqlite3
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from secure_rag.database import migrations
from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, private_file, write
from secure_rag.database.home import Home
from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros

ID_GAP: Final = 1_000_000
_MANIFEST: Final = "backup.json"
_DATABASES: Final = ("control.db", "audit.db", "contexts.db")


def back_up(home: Home, target: Path, now: Micros) -> dict[str, str]:
    """Copy databases (consistently, while in use), keys, settings and the data owners' files into a new folder.

    Returns:
        The digest of each file.

    Raises:
        ConfigError: the target exists already or cannot be written.
    """
    try:
        target.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}") from error
    for name in _DATABASES:
        if (home.root / name).exists():
            private_file(target / name)
            with (
                contextlib.closing(sqlite3.connect(f"file:{home.root / name}?mode=ro", uri=True)) as original,
                contextlib.closing(sqlite3.connect(target / name)) as copy,
            ):
                original.backup(copy)
    shutil.copytree(home.keys, target / "keys")
    _copy_owners_files(home.root, target)
    digests = {
        str(path.relative_to(target)): _sha256(path) for path in sorted(target.rglob("*")) if path.is_file()
    }
    manifest = {"made_at": now, "files": digests}
    (target / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return digests


def restore(backup: Path, home: Home, now: Micros) -> None:
    """Make a home from a backup; one of an older release is upgraded on the way.

    Raises:
        ConfigError: the backup is damaged, the home exists already, or it cannot be written.
    """
    if home.root.exists() and any(home.root.iterdir()):
        raise ConfigError(f"{home.root}: not empty; a backup is restored into a new home")
    _check(backup)
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(backup / "keys", home.keys)
    home.keys.chmod(0o700)
    home.locks.mkdir(mode=0o700)
    for name in _DATABASES[1:]:
        if (backup / name).exists():
            shutil.copy2(backup / name, home.root / name)
    _copy_owners_files(backup, home.root)
    # The control database gets its name last: a restore that is killed leaves no home that serves old rights.
    draft = home.control.with_suffix(".restoring")
    shutil.copy2(backup / home.control.name, draft)
    migrations.upgrade(draft)
    engine = open_engine(draft)
    with write(engine) as connection:
        _forget(connection, now)
    engine.dispose()
    if draft.with_name(f"{draft.name}-wal").exists():
        raise ConfigError(f"{draft}: cannot be completed; is the disk full?")
    draft.rename(home.control)
    home.check()


def _copy_owners_files(source: Path, target: Path) -> None:
    """Settings, and what `secure-rag init` writes into a home for people to edit: directory, labels, manifests."""
    for path in sorted([*source.glob("*.yaml"), *source.glob("sources/*/*.yaml")]):
        if path.is_file() and not path.is_symlink():
            copy = target / path.relative_to(source)
            for folder in (copy.parent.parent, copy.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            shutil.copy2(path, copy)


def _forget(connection: sa.Connection, now: Micros) -> None:
    connection.execute(sa.update(t.tenant).values(directory_as_of=0))
    connection.execute(sa.update(t.source).values(acl_as_of=0))
    connection.execute(sa.update(t.document).values(acl_as_of=0))
    d = t.delegation.c
    connection.execute(
        sa.update(t.delegation).where(d.valid_to > now).values(valid_to=sa.func.max(now, d.valid_from))
    )
    for row in connection.execute(sa.select(t.policy_version.c.tenant_id)).all():
        connection.execute(
            sa.update(t.policy_version)
            .where(t.policy_version.c.tenant_id == row.tenant_id)
            .values(generation=secrets.token_hex(8))
        )
    # A table that was empty has no sequence yet; what it was given since the backup must not come back either.
    for table in t.meta.sorted_tables:
        if table.dialect_options["sqlite"]["autoincrement"]:
            connection.exec_driver_sql(
                "INSERT INTO sqlite_sequence(name, seq) SELECT ?1, 0 "
                "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)",
                (table.name,),
            )
    connection.exec_driver_sql("UPDATE sqlite_sequence SET seq = seq + ?", (ID_GAP,))
    counter = t.counter.c
    connection.execute(
        sa.update(t.counter).where(counter.name == "document_seq").values(value=counter.value + ID_GAP)
    )


def _check(backup: Path) -> None:
    try:
        manifest = json.loads((backup / _MANIFEST).read_text(encoding="utf-8"))
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{backup}: not a backup") from error
    for name, digest in files.items():
        path = backup / str(name)
        if not path.is_file() or _sha256(path) != digest:
            raise ConfigError(f"{path}: missing or altered since the backup was made")
    if "control.db" not in files:
        raise ConfigError(f"{backup}: holds no control database")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
