"""Subject state as one view sees it: closure, clearance, grants, delegation. Reads only; rules are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from secure_rag.database import statements as q
from secure_rag.errors import PolicyError
from secure_rag.model.ids import EVERYONE, Compartment, LabelId, Micros, PrincipalKey, SourceKey, TenantKey
from secure_rag.model.labels import Label, Taxonomy
from secure_rag.model.subject import MAX_AGENT_HOPS, CallerIdentity, Hop, Subject

DELEGATING_KINDS: Final = ("member", "guest", "service")
"""Who can be acted for through a delegation."""

_UNKNOWN = PrincipalKey(0)
_WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class PrincipalRow:
    """A principal as the directory has it."""

    key: PrincipalKey
    name: str
    kind: str
    state: str

    @property
    def active(self) -> bool:
        """Whether it may act at all."""
        return self.state == "active"


class SubjectReader:
    """Reads subjects inside one snapshot."""

    def __init__(self, connection: sa.Connection, now: Micros) -> None:
        self._connection = connection
        self._now = now
        # One snapshot gives one answer: what was read once in it needs not be read again.
        self._taxonomies: dict[TenantKey, Taxonomy] = {}
        self._sources: dict[TenantKey, dict[SourceKey, tuple[str, Micros, Micros]]] = {}

    def _run(self, statement: sa.Executable, **parameters: object) -> sa.Result[Any]:
        return self._connection.execute(statement, parameters)

    def tenant_key(self, name: str) -> TenantKey | None:
        """Row id of a tenant."""
        found = self._run(q.TENANT, name=name).scalar()
        return None if found is None else TenantKey(found)

    def directory_known(self, tenant: TenantKey) -> bool:
        """Whether the directory was imported since the database was made or restored."""
        return bool(self._run(q.DIRECTORY_AS_OF, tenant=tenant).scalar())

    def principal(self, tenant: TenantKey, name: str) -> PrincipalRow | None:
        """The directory's row of a principal."""
        return _principal(self._run(q.PRINCIPAL_BY_NAME, tenant=tenant, name=name).one_or_none())

    def taxonomy(self, tenant: TenantKey) -> Taxonomy:
        """Labels of a tenant.

        Raises:
            PolicyError: the tenant has no valid taxonomy.
        """
        if tenant not in self._taxonomies:
            head = self._run(q.TAXONOMY, tenant=tenant).one_or_none()
            labels = [
                Label(LabelId(x.guid), x.name, x.priority, None if x.parent is None else LabelId(x.parent))
                for x in self._run(q.LABELS, tenant=tenant).all()
            ]
            if head is None:
                raise PolicyError("the tenant has no label taxonomy; import its labels")
            self._taxonomies[tenant] = Taxonomy.of(
                labels, LabelId(head.default_label), LabelId(head.mix_threshold), head.version
            )
        return self._taxonomies[tenant]

    def source_ages(self, tenant: TenantKey) -> dict[SourceKey, tuple[str, Micros, Micros]]:
        """Name, `acl_as_of` and `max_acl_age` of every source."""
        if tenant not in self._sources:
            self._sources[tenant] = {
                SourceKey(r.id): (r.name, Micros(r.acl_as_of), Micros(r.max_acl_age))
                for r in self._run(q.SOURCES, tenant=tenant).all()
            }
        return self._sources[tenant]

    def closure(self, tenant: TenantKey, who: PrincipalKey) -> frozenset[PrincipalKey]:
        """The principal and its groups, nested."""
        found = self._run(q.CLOSURE, who=who, tenant=tenant, now=self._now)
        return frozenset(PrincipalKey(x) for x in found.scalars())

    def uncertain(self, tenant: TenantKey) -> frozenset[PrincipalKey]:
        """Principals whose mention in a deny closes the lock."""
        found = self._run(q.UNCERTAIN, tenant=tenant, now=self._now)
        return frozenset(PrincipalKey(x) for x in found.scalars())

    def subject(self, tenant: TenantKey, identity: CallerIdentity, purpose: str) -> Subject:
        """The subject of a call with everything that limits it. Who is unknown or inactive gets an empty closure.

        Raises:
            PolicyError: the tenant has no valid taxonomy.
        """
        everyone = self.principal(tenant, EVERYONE)
        everyone_key = everyone.key if everyone else _UNKNOWN
        who, hops = self._who_and_hops(tenant, identity)
        closure: frozenset[PrincipalKey] = frozenset()
        if who is not None and who.active and self.directory_known(tenant):
            closure = self.closure(tenant, who.key)
            if who.kind == "member" and everyone is not None:
                closure |= {everyone_key}
        uncertain = self.uncertain(tenant)
        revoked = self._revocations(
            tenant, closure.union(*(hop.closure for hop in hops)), everyone_key, uncertain
        )
        return Subject(
            tenant=tenant,
            principal=who.key if who else _UNKNOWN,
            closure=closure,
            clearance=self._clearance(tenant, who.key) if who else None,
            compartments=self._compartments(tenant, who.key) if who else frozenset(),
            purpose=purpose,
            hops=hops,
            taxonomy=self.taxonomy(tenant),
            everyone=everyone_key,
            uncertain=uncertain,
            revoked=(None, None) in revoked,
            revoked_sources=frozenset(SourceKey(x) for x, _ in revoked if x is not None),
            revoked_documents=frozenset(x for _, x in revoked if x is not None),
        )

    def _revocations(
        self,
        tenant: TenantKey,
        involved: frozenset[PrincipalKey],
        everyone: PrincipalKey,
        uncertain: frozenset[PrincipalKey],
    ) -> set[tuple[int | None, str | None]]:
        """What is revoked for somebody involved, as (source, document); both None is everything.

        As with a deny: one that names everyone, or somebody whom the directory does not know for certain, is for all.
        """
        hit = involved.union(uncertain, {everyone})
        return {
            (row.source_id, row.document)
            for row in self._run(q.REVOCATIONS, tenant=tenant, now=self._now).all()
            if row.principal_id is None or row.principal_id in hit
        }

    # ---- the management plane

    def cut_off(self, tenant: TenantKey, who: PrincipalKey) -> bool:
        """Whether a revocation of this very principal is of everything.

        One of a group or of everyone is not about managing: somebody must be able to lift it.
        """
        rows = self._run(q.REVOCATIONS, tenant=tenant, now=self._now).all()
        return any((x.principal_id, x.source_id, x.document) == (who, None, None) for x in rows)

    def roles_were_assigned(self, tenant: TenantKey) -> bool:
        """Whether anybody was ever given a role; an assignment that ended counts."""
        return self._run(q.ROLES_EVER, tenant=tenant).first() is not None

    def role_assignments(
        self, tenant: TenantKey, principals: Collection[PrincipalKey]
    ) -> list[tuple[str, SourceKey | None]]:
        """Roles that these principals hold now, each with the source it is limited to, or None."""
        rows = self._run(q.ROLES, tenant=tenant, now=self._now).all()
        return [
            (str(row.role), None if row.source_id is None else SourceKey(row.source_id))
            for row in rows
            if row.principal_id in principals
        ]

    # ---- the chain

    def _who_and_hops(
        self, tenant: TenantKey, identity: CallerIdentity
    ) -> tuple[PrincipalRow | None, tuple[Hop, ...]]:
        caller = self.principal(tenant, identity.caller)
        if caller is None or not caller.active or caller.kind not in ("app", "agent"):
            return None, ()
        if identity.delegation is not None:
            return self._delegated(tenant, caller, identity.delegation)
        who = self.principal(tenant, identity.subject or "")
        if who is None or who.kind in ("app", "group", "everyone"):
            return None, ()
        if caller.kind == "agent" and caller.key != who.key:
            # An agent acts for somebody else only through a delegation that was made for it.
            return None, ()
        if who.kind == "agent" and who.key != caller.key:
            return who, (self._granted(tenant, caller), self._granted(tenant, who))
        return who, (self._granted(tenant, caller),)

    def _delegated(
        self, tenant: TenantKey, caller: PrincipalRow, public_id: str
    ) -> tuple[PrincipalRow | None, tuple[Hop, ...]]:
        chain = self._chain(tenant, public_id)
        if not chain or chain[-1].agent_id != caller.key or len(chain) > MAX_AGENT_HOPS:
            return None, ()
        root = chain[0]
        maker = self._by_key(tenant, PrincipalKey(root.created_by))
        if maker is None or maker.kind != "app":
            return None, ()
        hops = [self._granted(tenant, maker)]
        creator = root.created_by
        for link in chain:
            agent = self._by_key(tenant, PrincipalKey(link.agent_id))
            intact = link.created_by == creator and link.subject_id == root.subject_id
            live = link.valid_from <= self._now < link.valid_to
            if agent is None or agent.kind != "agent" or not intact or not live:
                return None, ()
            hops.append(self._narrowed(tenant, self._granted(tenant, agent), link))
            creator = link.agent_id
        who = self._by_key(tenant, PrincipalKey(root.subject_id))
        return (who if who is not None and who.kind in DELEGATING_KINDS else None), tuple(hops)

    def _chain(self, tenant: TenantKey, public_id: str) -> list[sa.Row[Any]]:
        chain: list[sa.Row[Any]] = []
        found = self._run(q.DELEGATION_BY_ID, tenant=tenant, name=public_id).one_or_none()
        while found is not None and len(chain) <= MAX_AGENT_HOPS:
            chain.append(found)
            if found.parent_id is None:
                return list(reversed(chain))
            found = self._run(q.DELEGATION_BY_KEY, tenant=tenant, key=found.parent_id).one_or_none()
        return []

    def _granted(self, tenant: TenantKey, who: PrincipalRow) -> Hop:
        """The hop of an application or agent. Without a grant, or with contradictory ones, it allows nothing."""
        rows = self._run(q.GRANT, tenant=tenant, who=who.key, now=self._now).all()
        closure = self.closure(tenant, who.key)
        if len(rows) != 1 or not who.active:
            nothing: frozenset[str] = frozenset()
            return Hop(who.key, closure, nothing, (), frozenset(), frozenset(), nothing, Micros(0))
        row = rows[0]
        return Hop(
            principal=who.key,
            closure=closure,
            actions=_names(row.actions),
            ceilings=(LabelId(row.label),),
            compartments=frozenset(Compartment(x) for x in _names(row.compartments)),
            sources=self._named_sources(tenant, _names(row.sources)),
            purposes=_names(row.purposes),
            expires=Micros(row.valid_to),
        )

    def _narrowed(self, tenant: TenantKey, hop: Hop, link: sa.Row[Any]) -> Hop:
        """The agent's own grant and this delegation's limits, intersected; an absent limit is no widening."""
        return Hop(
            principal=hop.principal,
            closure=hop.closure,
            actions=hop.actions & _names(link.actions),
            ceilings=hop.ceilings if link.label is None else (*hop.ceilings, LabelId(link.label)),
            compartments=hop.compartments
            if link.compartments is None
            else hop.compartments & frozenset(Compartment(x) for x in _names(link.compartments)),
            sources=hop.sources
            if link.sources is None
            else hop.sources & self._named_sources(tenant, _names(link.sources)),
            purposes=hop.purposes if link.purposes is None else hop.purposes & _names(link.purposes),
            expires=min(hop.expires, Micros(link.valid_to)),
        )

    # ---- small reads

    def _by_key(self, tenant: TenantKey, key: PrincipalKey) -> PrincipalRow | None:
        return _principal(self._run(q.PRINCIPAL_BY_KEY, tenant=tenant, key=key).one_or_none())

    def _clearance(self, tenant: TenantKey, who: PrincipalKey) -> LabelId | None:
        found = list(self._run(q.CLEARANCE, tenant=tenant, who=who, now=self._now).scalars())
        return LabelId(found[0]) if len(found) == 1 else None

    def _compartments(self, tenant: TenantKey, who: PrincipalKey) -> frozenset[Compartment]:
        found = self._run(q.COMPARTMENTS, tenant=tenant, who=who, now=self._now).scalars()
        return frozenset(Compartment(x) for x in found)

    def _named_sources(self, tenant: TenantKey, names: frozenset[str]) -> frozenset[SourceKey]:
        every = self.source_ages(tenant)
        return frozenset(key for key, (name, _, _) in every.items() if _WILDCARD in names or name in names)


def _principal(row: sa.Row[Any] | None) -> PrincipalRow | None:
    return None if row is None else PrincipalRow(PrincipalKey(row.id), row.name, row.kind, row.state)


def _names(stored: str) -> frozenset[str]:
    return frozenset(str(x) for x in json.loads(stored))
