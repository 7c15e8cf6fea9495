"""Registered sources: their manifests, and what a source vouches for (trust, default label, contributors, age)."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import sqlalchemy as sa
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError, PolicyError
from secure_rag.globs import Glob
from secure_rag.model import ids
from secure_rag.model.ids import LabelId, Micros, SourceKey, TenantKey
from secure_rag.model.labels import Taxonomy, Trust

_MAX_BYTES = 1 << 20
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _plain_path(value: Path) -> Path:
    if not str(value).isprintable():
        raise ValueError("a path without control characters")
    return value


class ContributorRule(BaseModel):
    """Whom the source authenticated as author of what lies below a path. Ordered; the last match decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    principal: str

    @field_validator("path")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            return Glob(value).pattern
        except PolicyError as error:
            raise ValueError(str(error)) from error

    @field_validator("principal")
    @classmethod
    def _author(cls, value: str) -> str:
        try:
            principal = ids.principal_id(value)
        except PolicyError as error:
            raise ValueError(str(error)) from error
        if principal == ids.EVERYONE or principal.startswith("group:"):
            # Its members could release their own documents from quarantine: none of them would be the contributor.
            raise ValueError("an author is one principal, not a group")
        return principal


LIVE_FORMAT: Final = "posix-live"


class SourcePermissions(BaseModel):
    """The permissions that the source itself gives: an export in one of the formats, or the file system's own.

    `below_root`: readers enter the source at its root, so that the folders above it do not count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["ntfs", "posix", "posix-live", "nfs4", "graph", "drive", "confluence", "adls", "prefix"]
    file: Annotated[Path | None, AfterValidator(_plain_path)] = None
    below_root: bool = False

    @model_validator(mode="after")
    def _read_from_somewhere(self) -> SourcePermissions:
        if (self.file is None) != (self.format == LIVE_FORMAT):
            raise ValueError(f"`file` names the export; only {LIVE_FORMAT} has none")
        if self.below_root and self.format not in ("posix", "nfs4", LIVE_FORMAT):
            raise ValueError(f"`below_root`: the format {self.format} knows no folders above the root")
        return self


class SourceManifest(BaseModel):
    """`source.yaml`. Trust and the default label belong to the source: an item only lowers trust or raises a label."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    tenant: str
    kind: Literal["filesystem"]
    root: Path
    mapping: Path
    trust: Trust
    default_label: str | None = None
    max_acl_age: str
    sidecars: Literal["add", "authoritative"] = "add"
    permissions: SourcePermissions | None = None
    change_control: bool = False
    contributors: Annotated[tuple[ContributorRule, ...], Field(max_length=10_000)] = ()

    @field_validator("root", "mapping")
    @classmethod
    def _path(cls, value: Path) -> Path:
        return _plain_path(value)

    @model_validator(mode="after")
    def _one_authority(self) -> SourceManifest:
        if self.permissions is not None and self.sidecars != "add":
            raise ValueError(
                "`sidecars: authoritative` would replace the `permissions` of the source; leave out one"
            )
        return self

    @field_validator("id", "tenant")
    @classmethod
    def _name(cls, value: str) -> str:
        try:
            return ids.name(value, "source")
        except PolicyError as error:
            raise ValueError(str(error)) from error

    @field_validator("max_acl_age", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> str:  # noqa: ANN401 -- any YAML scalar may stand there
        if not isinstance(value, str) or not _DURATION.fullmatch(value):
            raise ValueError("a number and s, m, h or d, for example 30d")
        return value

    @property
    def max_acl_age_us(self) -> int:
        """`max_acl_age` in microseconds."""
        number, unit = self.max_acl_age[:-1], self.max_acl_age[-1]
        return int(number) * _UNITS[unit] * 1_000_000


class _ManifestLoader(yaml.SafeLoader):
    """Refuses what PyYAML accepts without a word: aliases, and of two equal keys it would keep the last."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ComposerError("aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                problem = f"the key {key.value!r} occurs twice"
                raise ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class RegisteredSource:
    """A source in the control database."""

    tenant: TenantKey
    key: SourceKey
    manifest: SourceManifest
    default_label: LabelId | None


def load_manifest(path: Path) -> SourceManifest:
    """Read a manifest; relative paths in it start at its folder.

    Raises:
        ConfigError: missing, too large, no YAML, or a wrong value; names file and field.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        manifest = SourceManifest.model_validate(_ManifestLoader(raw).get_single_data())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{path}: {'.'.join(str(x) for x in first['loc'])}: {first['msg']}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML") from error
    folder = path.resolve().parent
    permissions = manifest.permissions
    if permissions is not None and permissions.file is not None:
        permissions = permissions.model_copy(update={"file": (folder / permissions.file).resolve()})
    return manifest.model_copy(
        update={
            "root": (folder / manifest.root).resolve(),
            "mapping": (folder / manifest.mapping).resolve(),
            "permissions": permissions,
        }
    )


def register_source(
    connection: sa.Connection, tenant: TenantKey, taxonomy: Taxonomy, manifest: SourceManifest, path: Path
) -> RegisteredSource:
    """Create the source or bring its row in line with its manifest.

    Raises:
        ConfigError: the default label is unknown, or another manifest claims the same source.
    """
    default = None
    if manifest.default_label is not None:
        default = next((x.id for x in taxonomy.labels.values() if x.name == manifest.default_label), None)
        if default is None:
            raise ConfigError(f"{path}: default_label: unknown label {manifest.default_label!r}")
    values = {
        "kind": manifest.kind,
        "trust": manifest.trust.value,
        "default_label": default,
        "max_acl_age": manifest.max_acl_age_us,
        "manifest": str(path.resolve()),
    }
    s = t.source.c
    row = connection.execute(
        sa.select(t.source).where(s.tenant_id == tenant, s.name == manifest.id)
    ).one_or_none()
    if row is not None:
        _refuse_second_manifest(row.manifest, path, manifest)
    if row is None:
        key = connection.execute(
            sa.insert(t.source).values(tenant_id=tenant, name=manifest.id, **values).returning(s.id)
        ).scalar_one()
    else:
        key = row.id
        if any(getattr(row, name) != value for name, value in values.items()):
            connection.execute(sa.update(t.source).where(s.id == key).values(**values))
    return RegisteredSource(tenant, SourceKey(key), manifest, default)


def _refuse_second_manifest(registered: str, path: Path, manifest: SourceManifest) -> None:
    """A source moves to another manifest only when the one that registered it no longer claims it."""
    if registered == str(path.resolve()) or not Path(registered).exists():
        return
    other = load_manifest(Path(registered))
    if (other.tenant, other.id) == (manifest.tenant, manifest.id):
        raise ConfigError(
            f"{path}: source {manifest.id!r} belongs to {registered}; remove that one first if the source moved"
        )


def confirm(connection: sa.Connection, source: SourceKey, at: Micros) -> None:
    """Record that every permission of a source was read in a complete run that began at `at`."""
    connection.execute(sa.update(t.source).where(t.source.c.id == source).values(acl_as_of=at))


def lower_confirmation(connection: sa.Connection, source: SourceKey, at: Micros) -> None:
    """Never let permissions count as younger than those that a run is about to use."""
    s = t.source.c
    connection.execute(sa.update(t.source).where(s.id == source, s.acl_as_of > at).values(acl_as_of=at))


def unknown_contributor(source: str) -> str:
    """The one contributor of everything in a source whose author the source did not authenticate."""
    return f"unknown:{source}"
