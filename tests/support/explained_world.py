"""A random world whose guards each guard a document, and repairs carried out in its database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.document_facts import document_facts
from secure_rag.database.engine import write
from secure_rag.database.interning import intern_class
from secure_rag.database.tables import DocumentState
from secure_rag.database.views import ReadView
from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    Compartment,
    LabelId,
    Micros,
    PrincipalId,
    PrincipalKey,
    TenantKey,
)
from secure_rag.model.locks import AclClass, Lock, canonical_locks
from secure_rag.model.permissions import Origin, origins_to_json
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag_acl.explain_account import Account, Fix, Repair
from secure_rag_acl.explain_document import Question
from tests.oracle import Call, Guard
from tests.worlds import NOW, ROOMS, Dice, Stored, World, store

AGE = 1_000_000
STALE, REVOKED, HELD, FAILED = "stale", "revoked", "held", "failed"
PLAIN = ""


@dataclass(frozen=True)
class Papers:
    """A stored world; `states[n]` is what befell the document of guard n."""

    world: World
    stored: Stored
    states: list[str]

    def name(self, number: int) -> str:
        return f"{self.world.guards[number].source}/d{number}"


class CachedView(ReadView):
    """One snapshot, in which a subject is read once."""

    def __init__(self, connection: sa.Connection, now: Micros) -> None:
        super().__init__(connection, now)
        self._subjects: dict[object, Subject] = {}

    def subject(self, tenant: TenantKey, identity: CallerIdentity, purpose: str) -> Subject:
        key = (tenant, identity, purpose)
        if key not in self._subjects:
            self._subjects[key] = super().subject(tenant, identity, purpose)
        return self._subjects[key]


def stored_papers(world: World, path: Path, seed: int, *, troubled: float = 0.2) -> Papers:
    """Write a world with a document for each guard, some of them in trouble of their own."""
    stored, dice = store(world, path), Dice(seed + 1000)
    states: list[str] = []
    with write(stored.engine) as connection:
        for number, (guard, key) in enumerate(zip(world.guards, stored.classes, strict=True)):
            trouble = dice.pick((STALE, REVOKED, HELD, FAILED)) if dice.chance(troubled) else PLAIN
            states.append(trouble)
            document = _insert_document(connection, stored, guard, key, number, trouble)
            if trouble == REVOKED:
                people = [x for x, who in world.companies[guard.tenant].who.items() if who.kind == "member"]
                connection.execute(
                    sa.insert(t.revocation).values(
                        tenant_id=stored.tenants[guard.tenant],
                        public_id=f"r_{number}",
                        principal_id=stored.principals[guard.tenant, dice.pick(people)]
                        if dice.chance(0.3)
                        else None,
                        document_id=document,
                        revoked_by="user:officer",
                        reason="",
                        valid_from=0,
                        valid_to=NEVER,
                    )
                )
        connection.execute(sa.update(t.source).values(max_acl_age=AGE))
    return Papers(world, stored, states)


def _insert_document(
    connection: sa.Connection, stored: Stored, guard: Guard, key: ClassKey, number: int, trouble: str
) -> int:
    locks = ReadView(connection, Micros(NOW)).classes(stored.tenants[guard.tenant], [key]).popitem()[1].locks
    names = {stored.principals[guard.tenant, x]: x for _, x in _of(stored, guard.tenant)}
    origins = [
        Origin(n, effect, f"native of {names[who]}", f"{guard.source}.yaml:{10 * n + 1}", names[who])
        for n, lock in enumerate(locks)
        for effect, keys in (("allow", [x for x, _ in lock.allow]), ("deny", lock.deny))
        for who in sorted(keys)
    ]
    origins += [
        Origin(n, "deny", f"Nobody {n}", f"{guard.source}.yaml:{10 * n + 2}")
        for n, lock in enumerate(locks)
        if lock.unresolved_deny
    ]
    state = {HELD: DocumentState.QUARANTINED, FAILED: DocumentState.WITHHELD}.get(trouble, DocumentState.LIVE)
    as_of = NOW - AGE - 1 if trouble == STALE else NOW
    row = connection.execute(
        sa.insert(t.document)
        .values(
            tenant_id=stored.tenants[guard.tenant],
            source_id=stored.sources[guard.tenant, guard.source],
            native_id=f"d{number}",
            public_id=f"d_{guard.tenant}_{number}",
            class_id=key,
            state=int(state),
            version=1,
            title=f"Title {number}",
            mime="text/plain",
            contributor="",
            content_sha256="",
            pipeline_id="",
            origins=origins_to_json(origins),
            modified_at=0,
            acl_as_of=as_of,
            first_chunk=number + 1,
            n_chunks=0,
            seq=number + 1,
        )
        .returning(t.document.c.id)
    )
    document = int(row.scalar_one())
    connection.execute(sa.insert(t.document_class).values(document_id=document, class_id=key, valid_from=0))
    return document


def _of(stored: Stored, tenant: str) -> list[tuple[str, str]]:
    return [x for x in stored.principals if x[0] == tenant]


def question(call: Call, at: int | None = None) -> Question:
    """A call as a question of somebody who may be told everything."""
    subject = None if call.subject is None else PrincipalId(call.subject)
    identity = CallerIdentity(call.tenant, PrincipalId(call.caller), subject, call.delegation)
    return Question(identity, call.purpose, None if at is None else Micros(at))


class Workshop:
    """Carries repairs out, as somebody would who reads them. Returns the call as it is made afterwards."""

    def __init__(self, connection: sa.Connection, papers: Papers, call: Call, number: int) -> None:
        self._connection, self._papers, self._number = connection, papers, number
        self.call = call
        self._tenant = papers.stored.tenants[call.tenant]
        self._view = ReadView(connection, Micros(NOW))

    def repair(self, account: Account, *, join: bool) -> None:
        """Do all that an explanation names; `join` prefers joining a group to a line of the list."""
        for repair in account.repairs:
            _WORK[repair.fix](self, repair, join)

    def _key(self, name: str | None) -> PrincipalKey:
        row = self._view.principal(self._tenant, name or "")
        assert row is not None, name
        return row.key

    def _set(self, table: sa.Table, where: sa.ColumnElement[bool], **values: object) -> None:
        self._connection.execute(sa.update(table).where(where).values(**values))

    def register(self, repair: Repair, _: bool) -> None:
        kind = "service" if str(repair.principal).startswith("service:") else "member"
        self._connection.execute(
            sa.insert(t.principal).values(
                tenant_id=self._tenant, name=repair.principal, kind=kind, state="active"
            )
        )

    def activate(self, repair: Repair, _: bool) -> None:
        self._set(t.principal, t.principal.c.id == self._key(repair.principal), state="active")

    def ask_as(self, _: Repair, __: bool) -> None:
        self.call = replace(self.call, subject=self._somebody())

    def ask_through(self, _: Repair, __: bool) -> None:
        if self.call.delegation is not None:
            handover = self._papers.world.companies[self.call.tenant].handovers[self.call.delegation]
            self.call = replace(self.call, caller=handover.agent)
            self._set(t.principal, t.principal.c.id == self._key(handover.agent), state="active")
        else:
            self._set(t.principal, t.principal.c.id == self._key("app:a0"), state="active")
            self.call = replace(self.call, caller="app:a0")

    def delegate(self, _: Repair, __: bool) -> None:
        company, caller = self._papers.world.companies[self.call.tenant], self.call.caller
        subject = self.call.subject
        if self.call.delegation is not None:
            chain = [company.handovers[self.call.delegation]]
            while chain[0].parent is not None:
                chain.insert(0, company.handovers[chain[0].parent])
            subject = chain[0].subject
        if subject is None or company.who[subject].kind not in ("member", "guest", "service"):
            subject = self._somebody()
        if company.who[caller].kind != "agent":
            caller = "agent:g0"
            self._set(t.principal, t.principal.c.id == self._key(caller), state="active")
        self._connection.execute(
            sa.insert(t.delegation).values(
                tenant_id=self._tenant,
                public_id="fresh",
                subject_id=self._key(subject),
                created_by=self._key("app:a0"),
                agent_id=self._key(caller),
                actions='["read"]',
                valid_from=0,
                valid_to=NEVER,
            )
        )
        self.call = replace(self.call, caller=caller, subject=None, delegation="fresh")

    def _somebody(self) -> str:
        who = self._papers.world.companies[self.call.tenant].who.values()
        return next(x.name for x in who if x.kind == "member" and x.state == "active")

    def lift(self, repair: Repair, _: bool) -> None:
        self._set(t.revocation, t.revocation.c.public_id.in_(repair.values), valid_to=NOW)

    def clear(self, repair: Repair, _: bool) -> None:
        key = self._key(repair.principal)
        taxonomy = self._view.taxonomy(self._tenant)
        label = next(x.id for x in taxonomy.labels.values() if x.name == repair.values[0])
        self._connection.execute(sa.delete(t.clearance).where(t.clearance.c.principal_id == key))
        self._connection.execute(
            sa.insert(t.clearance).values(tenant_id=self._tenant, principal_id=key, label=label, valid_from=0)
        )

    def admit(self, repair: Repair, _: bool) -> None:
        for room in repair.values:
            values = {"tenant_id": self._tenant, "principal_id": self._key(repair.principal), "valid_from": 0}
            self._connection.execute(sa.insert(t.compartment_member).values(compartment=room, **values))

    def widen(self, repair: Repair, _: bool) -> None:
        key = self._key(repair.principal)
        top = max(self._view.taxonomy(self._tenant).labels.values(), key=lambda x: x.priority).id
        limits = {
            "actions": ["read"],
            "compartments": sorted(ROOMS),
            "sources": ["*"],
            "purposes": [self.call.purpose],
        }
        row: dict[str, Any] = {name: json.dumps(value) for name, value in limits.items()}
        self._connection.execute(sa.delete(t.grant).where(t.grant.c.principal_id == key))
        self._connection.execute(
            sa.insert(t.grant).values(
                tenant_id=self._tenant, principal_id=key, label=top, valid_from=0, valid_to=NEVER, **row
            )
        )
        self._set(t.delegation, t.delegation.c.agent_id == key, **{**row, "label": top})

    def relabel(self, repair: Repair, _: bool) -> None:
        taxonomy = self._view.taxonomy(self._tenant)
        label = next(x.id for x in taxonomy.labels.values() if x.name == repair.values[0])
        self._guard(lambda cls: replace(cls, label=LabelId(label)))

    def resolve(self, repair: Repair, _: bool) -> None:
        self._lock(repair, lambda lock: replace(lock, unresolved_deny=False))

    def undeny(self, repair: Repair, _: bool) -> None:
        key = self._key(repair.principal)
        self._lock(repair, lambda lock: replace(lock, deny=lock.deny - {key}))

    def allow(self, repair: Repair, join: bool) -> None:
        key = self._key(repair.principal)
        if join and repair.groups:
            group = self._key(repair.groups[0])
            values = {"tenant_id": self._tenant, "member_id": key, "group_id": group, "valid_from": 0}
            self._connection.execute(sa.insert(t.membership).values(**values))
        else:
            self._lock(repair, lambda lock: replace(lock, allow=lock.allow | {(key, NEVER)}))

    def state(self, _: Repair, __: bool) -> None:
        self._set(t.document, self._mine(), state=int(DocumentState.LIVE))

    def confirm(self, _: Repair, __: bool) -> None:
        self._set(t.document, self._mine(), acl_as_of=NOW)

    def _mine(self) -> sa.ColumnElement[bool]:
        return t.document.c.native_id == f"d{self._number}"

    def _lock(self, repair: Repair, change: Callable[[Lock], Lock]) -> None:
        assert repair.lock is not None
        number = repair.lock - 1
        self._guard(
            lambda cls: replace(
                cls, locks=tuple(change(x) if n == number else x for n, x in enumerate(cls.locks))
            )
        )

    def _guard(self, change: Callable[[AclClass], AclClass]) -> None:
        """Re-point the document to a changed class, its locks in the same order, so that numbers go on meaning them."""
        facts = document_facts(self._view, self._tenant, self._papers.name(self._number))
        assert facts is not None
        assert facts.class_key is not None
        changed = change(self._view.classes(self._tenant, [facts.class_key])[facts.class_key])
        kept = replace(changed, compartments=frozenset(Compartment(x) for x in changed.compartments))
        key = ClassKey(intern_class(self._connection, kept))
        stored = list(self._view.classes(self._tenant, [key])[key].locks)
        if stored != list(changed.locks) and len(stored) == len(changed.locks):
            assert canonical_locks(changed.locks) == tuple(stored)
            self._reorder(key, changed)
        self._set(t.document, self._mine(), class_id=key)

    def _reorder(self, key: ClassKey, cls: AclClass) -> None:
        row = self._connection.execute(sa.select(t.acl_class).where(t.acl_class.c.id == key)).one()
        stored = dict(
            zip(self._view.classes(self._tenant, [key])[key].locks, json.loads(row.locks), strict=True)
        )
        order = json.dumps([stored[lock] for lock in cls.locks])
        # Rolled back with everything else: only a test may write a class.
        self._connection.exec_driver_sql("DROP TRIGGER IF EXISTS keep_class_update")
        self._set(t.acl_class, t.acl_class.c.id == key, locks=order)


_WORK: dict[Fix, Callable[[Workshop, Repair, bool], None]] = {
    Fix.REGISTER: Workshop.register,
    Fix.ACTIVATE: Workshop.activate,
    Fix.ASK_AS: Workshop.ask_as,
    Fix.ASK_THROUGH: Workshop.ask_through,
    Fix.DELEGATE: Workshop.delegate,
    Fix.LIFT_REVOCATION: Workshop.lift,
    Fix.SET_CLEARANCE: Workshop.clear,
    Fix.SET_LABEL: Workshop.relabel,
    Fix.ADD_TO_COMPARTMENTS: Workshop.admit,
    Fix.WIDEN_GRANT: Workshop.widen,
    Fix.RESOLVE_DENY: Workshop.resolve,
    Fix.REMOVE_DENY: Workshop.undeny,
    Fix.ALLOW: Workshop.allow,
    Fix.RUN_INGEST: Workshop.state,
    Fix.RELEASE: Workshop.state,
    Fix.CONFIRM_PERMISSIONS: Workshop.confirm,
}
