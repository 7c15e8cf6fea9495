"""A first home for folders of documents: labels, a directory with its operator, one source and mapping per folder."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from secure_rag.config import Profile
from secure_rag.database.engine import write
from secure_rag.errors import InvalidRequestError, PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import EVERYONE, PrincipalId, principal_id
from secure_rag_acl.directory_files import load_directory
from secure_rag_acl.labels import load_labels
from secure_rag_api.importing import apply_directory, apply_labels
from secure_rag_api.ingesting import MANIFEST
from secure_rag_api.operators import os_user
from secure_rag_api.private_files import make_private_folder, write_private
from secure_rag_api.wiring import Installation, create_installation, open_installation
from secure_rag_ingestion.sources import load_manifest, register_source

LABELS: Final = ("Public", "General", "Internal", "Confidential", "Restricted")
NOBODY: Final = "nobody"
APPLICATION: Final = "app:local"
_READER: Final = ("user:", "group:")
_NOTES: Final = {
    "labels.yaml": "How sensitive a document is. After a change: secure-rag labels import labels.yaml",
    "directory.yaml": "Who there is. After a change: secure-rag directory import directory.yaml",
    MANIFEST: "A folder of documents. After a change here or in its mapping: secure-rag ingest run",
    "mapping.yaml": "Who may read what. The last rule that matches a path decides; no rule means nobody.",
}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of documents and what its owner decided about it.

    Attributes:
        path: absolute, exists.
        readers: who may read; empty for nobody.
        label: label of documents that carry none.
    """

    path: Path
    readers: tuple[PrincipalId, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a first home holds."""

    tenant: str
    operator: PrincipalId
    profile: Profile
    folders: tuple[Folder, ...]

    @property
    def settings(self) -> str:
        """`config.yaml`."""
        content = {
            "profile": self.profile.value,
            "tenant": self.tenant,
            "operators": {os_user(): str(self.operator)},
        }
        return yaml.safe_dump(content, sort_keys=False)


def tenant_of(text: str) -> str:
    """A tenant name.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return ids.name(text, "tenant")
    except PolicyError as error:
        raise InvalidRequestError(str(error)) from error


def operator_of(text: str) -> PrincipalId:
    """A principal that can manage a home.

    Raises:
        InvalidRequestError: it is none, or no person or service.
    """
    who = _principal(text)
    if not who.startswith(("user:", "service:")):
        raise InvalidRequestError(f"an operator is a person or a service: user:… or service:…, not {text!r}")
    return who


def readers_of(text: str) -> tuple[PrincipalId, ...]:
    """Readers from `everyone`, `nobody`, or people and groups with commas.

    Raises:
        InvalidRequestError: the text is none of these.
    """
    if text.strip() == NOBODY:
        return ()
    found = tuple(dict.fromkeys(_principal(x.strip()) for x in text.split(",")))
    for who in found:
        if who != EVERYONE and not who.startswith(_READER):
            raise InvalidRequestError(f"readers are everyone, nobody, user:… or group:…, not {who!r}")
    return found


def label_of(text: str) -> str:
    """One of the five labels, however it is capitalised.

    Raises:
        InvalidRequestError: the text is none of them.
    """
    found = next((x for x in LABELS if x.lower() == text.strip().lower()), None)
    if found is None:
        raise InvalidRequestError(f"unknown label {text!r}; one of {', '.join(LABELS)}")
    return found


def folder_of(path: Path, home: Path) -> Path:
    """An existing folder that neither holds the home nor lies in it.

    Raises:
        InvalidRequestError: there is no such folder, or the home and it are one inside the other.
    """
    found = path.expanduser().resolve()
    if not found.is_dir():
        raise InvalidRequestError(f"{path}: no such folder")
    if home.is_relative_to(found) or found.is_relative_to(home):
        raise InvalidRequestError(f"{path}: documents and home ({home}) must not lie inside each other")
    return found


def start(home: Path, plan: Plan) -> list[Path]:
    """Create a home, write its files, and import and register them. Returns the files, for their owner to edit.

    Raises:
        ConfigError: there is a home already, or the folder is not empty or cannot be written.
        UnavailableError: database or audit log could not be written.
    """
    created = create_installation(home, plan.settings)
    if not plan.folders:
        return []
    try:
        written = _write(created.root, plan)
        with open_installation(created.root) as opened:
            apply_labels(opened, load_labels(created.root / "labels.yaml"), plan.operator)
            apply_directory(opened, load_directory(created.root / "directory.yaml"), plan.operator)
            for path in written:
                if path.name == MANIFEST:
                    _register(opened, path)
    except BaseException:
        # A second attempt would be told that there is a home already.
        shutil.rmtree(created.root, ignore_errors=True)
        raise
    return written


def user_name() -> str:
    """The OS user as a name that a principal can have."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in os_user().lower())
    return plain.strip("-") or "me"


def differs(home: Path, plan: Plan) -> bool:
    """Whether a home with one folder was made by another plan, or was changed since."""
    for path, content in _contents(home, plan).items():
        if path.name in (MANIFEST, "mapping.yaml") and (
            not path.is_file() or yaml.safe_load(path.read_bytes()) != content
        ):
            return True
    return False


def _register(opened: Installation, path: Path) -> None:
    manifest = load_manifest(path)
    with opened.views.open() as view:
        tenant = opened.tenant_key(manifest.tenant, view)
        taxonomy = view.taxonomy(tenant)
    with write(opened.engine) as connection:
        register_source(connection, tenant, taxonomy, manifest, path)


def _contents(root: Path, plan: Plan) -> dict[Path, dict[str, object]]:
    contents: dict[Path, dict[str, object]] = {
        root / "labels.yaml": _labels(plan),
        root / "directory.yaml": _directory(plan),
    }
    for name, folder in _named(plan.folders).items():
        place = root if len(plan.folders) == 1 else root / "sources" / name
        contents[place / MANIFEST] = _manifest(plan, name, folder)
        contents[place / "mapping.yaml"] = {
            "source": name,
            "principals": [],
            "rules": [{"path": "**", "allow": [str(x) for x in folder.readers]}],
        }
    return contents


def _write(root: Path, plan: Plan) -> list[Path]:
    contents = _contents(root, plan)
    for path, content in contents.items():
        if path.parent != root:
            make_private_folder(path.parent.parent)
            make_private_folder(path.parent)
        body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        write_private(path, f"# {_NOTES[path.name]}\n{body}")
    return list(contents)


def _named(folders: Sequence[Folder]) -> dict[str, Folder]:
    """Each folder with a source name of its own, made from the folder's."""
    named: dict[str, Folder] = {}
    for folder in folders:
        base = re.sub(r"[^a-z0-9]+", "-", folder.path.name.lower()).strip("-")[:48] or "documents"
        number = next(n for n in range(1, len(folders) + 2) if _numbered(base, n) not in named)
        named[_numbered(base, number)] = folder
    return named


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}-{number}"


def _labels(plan: Plan) -> dict[str, object]:
    return {
        "tenant": plan.tenant,
        "labels": [
            {"id": str(uuid.uuid4()), "name": label, "priority": rank} for rank, label in enumerate(LABELS)
        ],
        "compartments": [],
        "default": LABELS[-1],
        "external_mix_threshold": "Confidential",
    }


def _directory(plan: Plan) -> dict[str, object]:
    """The operator, whoever is named as a reader, and one application. Groups begin with the operator in them."""
    readers = {str(x) for folder in plan.folders for x in folder.readers}
    people = sorted({str(plan.operator), *(x for x in readers if x.startswith("user:"))})
    grant = {
        "actions": ["read"],
        "label": LABELS[-1],
        "compartments": [],
        "sources": ["*"],
        "purposes": ["qa"],
        "expires": "2099-12-31",
    }
    return {
        "tenant": plan.tenant,
        "complete": True,
        "users": [{"id": x, "kind": _kind(x), "name": _display(x), "clearance": LABELS[-1]} for x in people],
        "groups": [
            {"id": x, "name": _display(x), "members": [str(plan.operator)]}
            for x in sorted(readers)
            if x.startswith("group:")
        ],
        "applications": [{"id": APPLICATION, "name": "Local development", "grant": grant}],
        "agents": [],
    }


def _manifest(plan: Plan, name: str, folder: Folder) -> dict[str, object]:
    return {
        "id": name,
        "tenant": plan.tenant,
        "kind": "filesystem",
        "root": str(folder.path),
        "mapping": "mapping.yaml",
        "trust": "internal",
        "default_label": folder.label,
        "max_acl_age": "30d",
    }


def _kind(who: str) -> str:
    return "service" if who.startswith("service:") else "member"


def _display(who: str) -> str:
    return who.partition(":")[2]


def _principal(text: str) -> PrincipalId:
    try:
        return principal_id(text)
    except PolicyError as error:
        raise InvalidRequestError(str(error)) from error
