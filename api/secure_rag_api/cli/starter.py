"""Files for a first folder: labels, a directory with its operator, one source and its mapping."""

from __future__ import annotations

import uuid
from pathlib import Path

import yaml

from secure_rag.errors import InvalidRequestError
from secure_rag.model.ids import PrincipalId, is_canonical, principal_id

LABELS = ("Public", "General", "Internal", "Confidential", "Restricted")


def write_starter(
    root: Path, tenant: str, operator: PrincipalId, documents: Path, readers: str, default_label: str
) -> list[Path]:
    """Write the four files; the data owner edits them from here on.

    Raises:
        InvalidRequestError: an unknown label, or readers that are no principals.
    """
    if default_label not in LABELS:
        raise InvalidRequestError(f"unknown label {default_label!r}; one of {', '.join(LABELS)}")
    allow = [] if readers == "nobody" else [x.strip() for x in readers.split(",")]
    if not all(is_canonical(x) and principal_id(x) for x in allow):
        raise InvalidRequestError(
            "readers: `everyone`, `nobody`, or principals such as group:staff, with commas"
        )
    groups = sorted({x for x in allow if x.startswith("group:")})
    people = sorted({operator, *(x for x in allow if x.startswith("user:"))})
    grant = {
        "actions": ["read"],
        "label": "Restricted",
        "compartments": [],
        "sources": ["*"],
        "purposes": ["qa"],
        "expires": "2099-01-01",
    }
    files: dict[str, object] = {
        "labels.yaml": {
            "tenant": tenant,
            "labels": [
                {"id": str(uuid.uuid4()), "name": label, "priority": rank}
                for rank, label in enumerate(LABELS)
            ],
            "compartments": [],
            "default": "Restricted",
            "external_mix_threshold": "Confidential",
        },
        "directory.yaml": {
            "tenant": tenant,
            "complete": True,
            "users": [
                {"id": x, "kind": "member", "name": x.split(":", 1)[1], "clearance": "Restricted"}
                for x in people
            ],
            "groups": [{"id": x, "name": x.split(":", 1)[1], "members": [operator]} for x in groups],
            "applications": [{"id": "app:local", "name": "Local development", "grant": grant}],
            "agents": [],
        },
        "source.yaml": {
            "id": "documents",
            "tenant": tenant,
            "kind": "filesystem",
            "root": str(documents),
            "mapping": "mapping.yaml",
            "trust": "internal",
            "default_label": default_label,
            "max_acl_age": "30d",
        },
        "mapping.yaml": {"source": "documents", "principals": [], "rules": [{"path": "**", "allow": allow}]},
    }
    written: list[Path] = []
    for file_name, content in files.items():
        path = root / file_name
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        written.append(path)
    return written
