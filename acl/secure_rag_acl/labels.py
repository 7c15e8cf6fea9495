"""Import of the label taxonomy and the compartments of a tenant.

Classes and clearances hold a label's GUID, so a new order, another default or another meaning of a name changes who
sees what at once and without a trace in any document. Whatever might widen is refused until somebody says yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import sqlalchemy as sa
import structlog
from pydantic import AfterValidator, Field, PrivateAttr

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import LabelId, Micros, PrincipalId, TenantKey
from secure_rag_acl.data_files import DataFile, read_bytes
from secure_rag_acl.fields import CompartmentName, Native, ShortName, StrictModel
from secure_rag_acl.policy_files import LABELS, Bundle, latest, store, under_control
from secure_rag_acl.tenancy import ensure_tenant
from secure_rag_acl.yaml_files import parse_yaml

_log = structlog.get_logger(__name__)
PLAN_HINT: Final = "this may widen access, so it needs a plan: `secure-rag acl plan --labels -f labels.yaml`"


def _guid(value: str) -> LabelId:
    try:
        return ids.label_id(value)
    except PolicyError as error:
        raise ValueError(str(error)) from None


Guid = Annotated[LabelId, AfterValidator(_guid)]


class LabelEntry(StrictModel):
    """One label. A higher priority demands more."""

    id: Guid
    name: Native
    priority: Annotated[int, Field(ge=0, le=1_000_000)]
    parent: Guid | None = None


class LabelsFile(StrictModel):
    """`labels.yaml`."""

    tenant: ShortName
    labels: Annotated[list[LabelEntry], Field(min_length=1)]
    compartments: Annotated[list[CompartmentName], Field(default_factory=list)]
    default: Native
    external_mix_threshold: Native
    _file: DataFile = PrivateAttr(default_factory=lambda: DataFile("labels", None))

    def error(self, path: tuple[str | int, ...], message: str) -> ConfigError:
        """An error that names its place in the file."""
        return self._file.error(path, message)

    def named(self, name: str) -> LabelEntry | None:
        """Label by name."""
        return next((x for x in self.labels if x.name == name), None)

    def label_of(self, field: str) -> LabelEntry:
        """Label that `default` or `external_mix_threshold` names.

        Raises:
            ConfigError: there is none.
        """
        name = str(getattr(self, field))
        found = self.named(name)
        if found is None:
            raise self.error((field,), f"unknown label {name!r}")
        return found


@dataclass(frozen=True, slots=True)
class LabelsReport:
    """What an import changed, by label and compartment names."""

    tenant: str
    version: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    compartments_added: tuple[str, ...]
    compartments_removed: tuple[str, ...]
    accepted: tuple[str, ...]
    """What might widen access and was accepted knowingly."""

    @property
    def changes(self) -> int:
        """0 when the file says what is known already."""
        return sum(len(x) for x in (self.added, self.changed, self.removed)) + len(
            self.compartments_added + self.compartments_removed
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The taxonomy as it is; empty before the first import."""

    labels: dict[LabelId, LabelEntry]
    default: str | None
    threshold: str | None
    version: int
    compartments: frozenset[str]


def load_labels(path: Path) -> LabelsFile:
    """Read and check a taxonomy.

    Raises:
        ConfigError: it cannot be read or is malformed; names file, line and what is wrong.
    """
    return parse_labels(read_bytes(path), str(path))


def parse_labels(data: bytes, name: str) -> LabelsFile:
    """A taxonomy that was read already.

    Raises:
        ConfigError: it is malformed; names file, line and what is wrong.
    """
    file = parse_yaml(data, name)
    document = file.validate(LabelsFile)
    document._file = file
    _check(document)
    return document


def import_labels(
    engine: sa.Engine, document: LabelsFile, *, actor: str, now: Micros, accept_changes: bool = False
) -> LabelsReport:
    """Make the taxonomy of a tenant what a file says.

    Where labels guard documents already, another order is a matter for a plan; under change control, all that may
    widen access is.

    Args:
        engine: one that can write.
        document: the file.
        actor: principal who imports; for the log.
        now: when it happens; for the log.
        accept_changes: allow what might widen access: another default or threshold, or a name that moves.

    Raises:
        ConfigError: a change needs a plan or `accept_changes`, or removes what is used; nothing was changed.
        UnavailableError: the database could not be written; nothing was changed.
    """
    _check(document)
    with write(engine) as connection:
        tenant = ensure_tenant(connection, document.tenant)
        stored = _stored(connection, tenant)
        _refuse_removal_of_used(connection, tenant, document, stored)
        widening = tuple(_widening(connection, tenant, document, stored))
        if widening and _needs_plan(connection, tenant, document, stored):
            raise document.error((), f"{'; '.join(widening)} ({PLAN_HINT})")
        if widening and not accept_changes:
            raise document.error(
                (), "; ".join(widening) + " (this may widen access: accept the changes knowingly)"
            )
        report = _apply(connection, tenant, document, stored, widening)
        if report.changes and latest(connection, tenant, LABELS) is not None:
            # What is in force and the last version must be the same, or a plan would start from something else.
            bundle = Bundle(document.model_dump_json(indent=1))
            by = PrincipalId(actor)
            store(connection, tenant, LABELS, bundle, author=by, now=now, note="imported; narrows only")
    _log.info("labels_imported", actor=actor, tenant=document.tenant, version=report.version, at=now)
    return report


def replace_labels(connection: sa.Connection, document: LabelsFile) -> LabelsReport:
    """Make the taxonomy of a tenant what an applied plan says.

    Args:
        connection: inside a write transaction.
        document: the file.

    Raises:
        ConfigError: the file is inconsistent or removes what is used.
    """
    _check(document)
    tenant = ensure_tenant(connection, document.tenant)
    stored = _stored(connection, tenant)
    _refuse_removal_of_used(connection, tenant, document, stored)
    widening = tuple(_widening(connection, tenant, document, stored))
    return _apply(connection, tenant, document, stored, widening)


def loosened_by_labels(connection: sa.Connection, tenant: TenantKey, document: LabelsFile) -> tuple[str, ...]:
    """Sentences about what a taxonomy might let happen that it does not let happen now.

    Raises:
        ConfigError: the file is inconsistent or removes what is used.
    """
    _check(document)
    stored = _stored(connection, tenant)
    _refuse_removal_of_used(connection, tenant, document, stored)
    return tuple(_widening(connection, tenant, document, stored))


def _needs_plan(connection: sa.Connection, tenant: TenantKey, document: LabelsFile, stored: _Stored) -> bool:
    if under_control(connection, tenant):
        return True
    new = {x.id: x for x in document.labels}
    return _order(stored, new)[0] != _order(stored, new)[1] and _exists(
        connection, tenant, t.document, t.document.c.class_id.is_not(None)
    )


def _check(document: LabelsFile) -> None:
    for index, label in enumerate(document.labels):
        for other in document.labels[:index]:
            for field in ("id", "name", "priority"):
                if getattr(label, field) == getattr(other, field):
                    raise document.error(("labels", index, field), f"{getattr(label, field)} occurs twice")
        if label.parent is not None and label.parent not in {x.id for x in document.labels}:
            raise document.error(("labels", index, "parent"), "is not a label of this file")
    for field in ("default", "external_mix_threshold"):
        document.label_of(field)
    if len(set(document.compartments)) != len(document.compartments):
        raise document.error(("compartments",), "a compartment occurs twice")


def _stored(connection: sa.Connection, tenant: TenantKey) -> _Stored:
    x = t.label.c
    rows = connection.execute(
        sa.select(x.guid, x.name, x.priority, x.parent).where(x.tenant_id == tenant)
    ).all()
    labels = {
        LabelId(r.guid): LabelEntry(
            id=LabelId(r.guid),
            name=r.name,
            priority=r.priority,
            parent=None if r.parent is None else LabelId(r.parent),
        )
        for r in rows
    }
    head = connection.execute(sa.select(t.taxonomy).where(t.taxonomy.c.tenant_id == tenant)).one_or_none()
    c = t.compartment.c
    compartments = frozenset(connection.execute(sa.select(c.name).where(c.tenant_id == tenant)).scalars())
    if head is None:
        return _Stored(labels, None, None, 0, compartments)
    return _Stored(labels, head.default_label, head.mix_threshold, head.version, compartments)


def _refuse_removal_of_used(
    connection: sa.Connection, tenant: TenantKey, document: LabelsFile, stored: _Stored
) -> None:
    kept = {x.id for x in document.labels}
    for guid, label in stored.labels.items():
        if guid not in kept and _label_used(connection, tenant, guid):
            raise document.error(("labels",), f"label {label.name!r} is used and cannot be removed")
    for name in sorted(stored.compartments - set(document.compartments)):
        if _compartment_used(connection, tenant, name):
            raise document.error(("compartments",), f"compartment {name!r} is used and cannot be removed")


def _label_used(connection: sa.Connection, tenant: TenantKey, guid: LabelId) -> bool:
    """Whether anything holds the label. Classes and history stay for ever, so they count as well."""
    columns = (
        (t.acl_class, t.acl_class.c.label),
        (t.clearance, t.clearance.c.label),
        (t.grant, t.grant.c.label),
        (t.delegation, t.delegation.c.label),
        (t.source, t.source.c.default_label),
    )
    return any(_exists(connection, tenant, table, column == guid) for table, column in columns)


def _compartment_used(connection: sa.Connection, tenant: TenantKey, name: str) -> bool:
    # Names hold only a-z, 0-9 and -, so that a quoted one in stored JSON is that name and nothing else.
    quoted = f'"{name}"'
    return (
        _exists(connection, tenant, t.compartment_member, t.compartment_member.c.compartment == name)
        or _exists(
            connection, tenant, t.acl_class, t.acl_class.c.compartments.contains(quoted, autoescape=True)
        )
        or _exists(connection, tenant, t.grant, t.grant.c.compartments.contains(quoted, autoescape=True))
    )


def _exists(
    connection: sa.Connection, tenant: TenantKey, table: sa.Table, condition: sa.ColumnElement[bool]
) -> bool:
    statement = (
        sa.select(sa.literal(1)).select_from(table).where(table.c.tenant_id == tenant, condition).limit(1)
    )
    return connection.execute(statement).scalar() is not None


def _widening(
    connection: sa.Connection, tenant: TenantKey, document: LabelsFile, stored: _Stored
) -> Iterator[str]:
    """Sentences about what might let somebody see more."""
    new = {x.id: x for x in document.labels}
    before, after = _order(stored, new)
    if before != after:
        yield "the order of existing labels changes: " + " < ".join(new[x].name for x in after)
    for guid, label in new.items():
        if guid not in stored.labels and _label_used(connection, tenant, guid):
            yield f"{label.name!r} is on content that nobody may read while the label is unknown"
    for guid, label in stored.labels.items():
        moved = document.named(label.name)
        if moved is not None and moved.id != guid:
            yield f"the name {label.name!r} moves to another label, and files name labels by name"
    yield from _default_and_threshold(document, new, stored)


def _order(stored: _Stored, new: dict[LabelId, LabelEntry]) -> tuple[list[LabelId], list[LabelId]]:
    """Labels that stay, lowest first, as they are and as they would be."""
    both = [guid for guid in stored.labels if guid in new]
    before = sorted(both, key=lambda x: stored.labels[x].priority)
    return before, sorted(both, key=lambda x: new[x].priority)


def _default_and_threshold(
    document: LabelsFile, new: dict[LabelId, LabelEntry], stored: _Stored
) -> Iterator[str]:
    default, threshold = document.label_of("default"), document.label_of("external_mix_threshold")
    if stored.default is not None and default.id != stored.default:
        yield f"the default label becomes {default.name!r}"
    was_highest = stored.default is None or stored.default == _highest(stored.labels.values())
    if default.id != _highest(document.labels) and was_highest:
        yield f"content without a label would count as {default.name!r}, which is not the highest"
    unprotected = _no_longer_protected(stored, new, threshold)
    if unprotected:
        yield f"external content may be mixed with content labelled {', '.join(unprotected)}"


def _no_longer_protected(stored: _Stored, new: dict[LabelId, LabelEntry], threshold: LabelEntry) -> list[str]:
    """Labels at or above the threshold before that are below it now."""
    old = None if stored.threshold is None else stored.labels.get(LabelId(stored.threshold))
    if old is None:
        return []
    return [
        new[guid].name
        for guid, label in stored.labels.items()
        if guid in new and label.priority >= old.priority and new[guid].priority < threshold.priority
    ]


def _highest(labels: Iterable[LabelEntry]) -> LabelId:
    return max(labels, key=lambda x: x.priority).id


def _apply(
    connection: sa.Connection,
    tenant: TenantKey,
    document: LabelsFile,
    stored: _Stored,
    widening: tuple[str, ...],
) -> LabelsReport:
    new = {x.id: x for x in document.labels}
    added = [x for x in document.labels if x.id not in stored.labels]
    changed = [x for x in document.labels if x.id in stored.labels and x != stored.labels[x.id]]
    removed = [x for guid, x in stored.labels.items() if guid not in new]
    _write_labels(connection, tenant, added, changed, removed)
    version = _write_head(connection, tenant, document, stored, touched=bool(added or changed or removed))
    c = t.compartment.c
    gained = sorted(set(document.compartments) - stored.compartments)
    lost = sorted(stored.compartments - set(document.compartments))
    if gained:
        connection.execute(sa.insert(t.compartment), [{"tenant_id": tenant, "name": name} for name in gained])
    if lost:
        connection.execute(sa.delete(t.compartment).where(c.tenant_id == tenant, c.name.in_(lost)))
    return LabelsReport(
        tenant=document.tenant,
        version=version,
        added=tuple(x.name for x in added),
        changed=tuple(x.name for x in changed),
        removed=tuple(x.name for x in removed),
        compartments_added=tuple(gained),
        compartments_removed=tuple(lost),
        accepted=widening,
    )


def _write_labels(
    connection: sa.Connection,
    tenant: TenantKey,
    added: list[LabelEntry],
    changed: list[LabelEntry],
    removed: list[LabelEntry],
) -> None:
    x = t.label.c
    for label in removed:
        connection.execute(sa.delete(t.label).where(x.tenant_id == tenant, x.guid == label.id))
    for label in changed:
        # Names are unique; one that two labels swap is parked first.
        connection.execute(
            sa.update(t.label)
            .where(x.tenant_id == tenant, x.guid == label.id)
            .values(name=f"{label.id} (moving)")
        )
    for label in changed:
        connection.execute(
            sa.update(t.label).where(x.tenant_id == tenant, x.guid == label.id).values(_columns(label))
        )
    if added:
        connection.execute(
            sa.insert(t.label),
            [{"tenant_id": tenant, "guid": label.id, **_columns(label)} for label in added],
        )


def _columns(label: LabelEntry) -> dict[str, object]:
    return {"name": label.name, "priority": label.priority, "parent": label.parent}


def _write_head(
    connection: sa.Connection, tenant: TenantKey, document: LabelsFile, stored: _Stored, *, touched: bool
) -> int:
    """Write default, threshold and version; returns the version, which moves with every change."""
    default, threshold = document.label_of("default"), document.label_of("external_mix_threshold")
    head = {"default_label": default.id, "mix_threshold": threshold.id}
    if not touched and (head["default_label"], head["mix_threshold"]) == (stored.default, stored.threshold):
        return stored.version
    version = stored.version + 1
    if stored.default is None:
        connection.execute(sa.insert(t.taxonomy).values(tenant_id=tenant, version=version, **head))
    else:
        connection.execute(
            sa.update(t.taxonomy).where(t.taxonomy.c.tenant_id == tenant).values(version=version, **head)
        )
    return version
