"""Subject state as one view sees it: closure, clearance, grants, delegation. Statements only; rules are elsewhere."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import EVERYONE, Compartment, LabelId, Micros, PrincipalKey, SourceKey, TenantKey
from secure_rag.model.labels import Label, Taxonomy
from secure_rag.model.subject import MAX_AGENT_HOPS, CallerIdentity, Hop, Subject

_UNKNOWN = PrincipalKey(0)
_WILDCARD = "*"


@functools.cache
def closure_statement() -> sa.Select[int]:
    """A principal and every group it is in, nested, at one instant. UNION (not ALL) ends cycles."""
    m = t.membership.c
    start = sa.select(sa.cast(sa.bindparam("who"), t.Int).label("id")).cte("up", recursive=True)
    live = sa.and_(
        m.tenant_id == sa.bindparam("tenant"),
        m.valid_from <= sa.bindparam("now"),
        sa.bindparam("now") < m.valid_to,
    )
    group = t.principal.alias("grp")
    up = start.union(
        sa.select(m.group_id)
        .join(start, sa.and_(m.member_id == start.c.id, live))
        # A deleted or unknown group grants nothing, and nothing is reached through it.
        .join(group, sa.and_(group.c.id == m.group_id, group.c.state == "active"))
    )
    return sa.select(up.c.id)


@functools.cache
def uncertain_statement() -> sa.Select[int]:
    """Principals that the directory does not know for certain, and every group above one of them."""
    p, m = t.principal.c, t.membership.c
    # Literal, in the words of the partial index: with parameters SQLite would not see that the index answers it.
    doubtful = sa.text("(principal.complete = 0 OR principal.state IN ('deleted', 'unknown'))")
    start = (
        sa.select(p.id.label("id"))
        .where(p.tenant_id == sa.bindparam("tenant"), doubtful)
        .cte("doubt", recursive=True)
    )
    live = sa.and_(m.valid_from <= sa.bindparam("now"), sa.bindparam("now") < m.valid_to)
    # A user or agent that is doubtful makes itself uncertain, not the groups it is in: those are known.
    group = t.principal.alias("grp")
    doubt = start.union(
        sa.select(m.group_id)
        .join(start, sa.and_(m.member_id == start.c.id, live))
        .join(group, sa.and_(group.c.id == m.member_id, group.c.kind == "group"))
    )
    return sa.select(doubt.c.id)


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

    def tenant_key(self, name: str) -> TenantKey | None:
        """Row id of a tenant."""
        found = self._connection.execute(sa.select(t.tenant.c.id).where(t.tenant.c.name == name)).scalar()
        return None if found is None else TenantKey(found)

    def directory_known(self, tenant: TenantKey) -> bool:
        """Whether the directory was imported since the database was made or restored."""
        found = self._connection.execute(
            sa.select(t.tenant.c.directory_as_of).where(t.tenant.c.id == tenant)
        ).scalar()
        return bool(found)

    def principal(self, tenant: TenantKey, name: str) -> PrincipalRow | None:
        """The directory's row of a principal."""
        p = t.principal.c
        row = self._connection.execute(
            sa.select(p.id, p.name, p.kind, p.state).where(p.tenant_id == tenant, p.name == name)
        ).one_or_none()
        return None if row is None else PrincipalRow(PrincipalKey(row.id), row.name, row.kind, row.state)

    def taxonomy(self, tenant: TenantKey) -> Taxonomy:
        """Labels of a tenant.

        Raises:
            PolicyError: the tenant has no valid taxonomy.
        """
        head = self._connection.execute(
            sa.select(t.taxonomy).where(t.taxonomy.c.tenant_id == tenant)
        ).one_or_none()
        rows = self._connection.execute(sa.select(t.label).where(t.label.c.tenant_id == tenant)).all()
        labels = [
            Label(LabelId(x.guid), x.name, x.priority, None if x.parent is None else LabelId(x.parent))
            for x in rows
        ]
        if head is None:
            return Taxonomy.of(labels, LabelId(""), LabelId(""), 0)
        return Taxonomy.of(labels, LabelId(head.default_label), LabelId(head.mix_threshold), head.version)

    def closure(self, tenant: TenantKey, who: PrincipalKey) -> frozenset[PrincipalKey]:
        """The principal and its groups, nested."""
        found = self._connection.execute(
            closure_statement(), {"who": who, "tenant": tenant, "now": self._now}
        )
        return frozenset(PrincipalKey(x) for x in found.scalars())

    def uncertain(self, tenant: TenantKey) -> frozenset[PrincipalKey]:
        """Principals whose mention in a deny closes the lock."""
        found = self._connection.execute(uncertain_statement(), {"tenant": tenant, "now": self._now})
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
        return Subject(
            tenant=tenant,
            principal=who.key if who else _UNKNOWN,
            closure=closure,
            clearance=self._clearance(who.key) if who else None,
            compartments=self._compartments(who.key) if who else frozenset(),
            purpose=purpose,
            hops=hops,
            taxonomy=self.taxonomy(tenant),
            everyone=everyone_key,
            uncertain=self.uncertain(tenant),
        )

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
        return self._by_key(tenant, PrincipalKey(root.subject_id)), tuple(hops)

    def _chain(self, tenant: TenantKey, public_id: str) -> list[sa.Row[tuple[int, ...]]]:
        d = t.delegation.c
        chain: list[sa.Row[tuple[int, ...]]] = []
        found = self._connection.execute(
            sa.select(t.delegation).where(d.tenant_id == tenant, d.public_id == public_id)
        ).one_or_none()
        while found is not None and len(chain) <= MAX_AGENT_HOPS:
            chain.append(found)
            if found.parent_id is None:
                return list(reversed(chain))
            found = self._connection.execute(
                sa.select(t.delegation).where(d.tenant_id == tenant, d.id == found.parent_id)
            ).one_or_none()
        return []

    def _granted(self, tenant: TenantKey, who: PrincipalRow) -> Hop:
        """The hop of an application or agent. Without a grant, or with contradictory ones, it allows nothing."""
        g = t.grant.c
        rows = self._connection.execute(
            sa.select(t.grant).where(
                g.tenant_id == tenant,
                g.principal_id == who.key,
                g.valid_from <= self._now,
                self._now < g.valid_to,
            )
        ).all()
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
            sources=self._sources(tenant, _names(row.sources)),
            purposes=_names(row.purposes),
            expires=Micros(row.valid_to),
        )

    def _narrowed(self, tenant: TenantKey, hop: Hop, link: sa.Row[tuple[int, ...]]) -> Hop:
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
            else hop.sources & self._sources(tenant, _names(link.sources)),
            purposes=hop.purposes if link.purposes is None else hop.purposes & _names(link.purposes),
            expires=min(hop.expires, Micros(link.valid_to)),
        )

    # ---- small reads

    def _by_key(self, tenant: TenantKey, key: PrincipalKey) -> PrincipalRow | None:
        p = t.principal.c
        row = self._connection.execute(
            sa.select(p.id, p.name, p.kind, p.state).where(p.tenant_id == tenant, p.id == key)
        ).one_or_none()
        return None if row is None else PrincipalRow(PrincipalKey(row.id), row.name, row.kind, row.state)

    def _clearance(self, who: PrincipalKey) -> LabelId | None:
        c = t.clearance.c
        rows = self._connection.execute(
            sa.select(c.label).where(c.principal_id == who, c.valid_from <= self._now, self._now < c.valid_to)
        ).scalars()
        found = list(rows)
        return LabelId(found[0]) if len(found) == 1 else None

    def _compartments(self, who: PrincipalKey) -> frozenset[Compartment]:
        c = t.compartment_member.c
        rows = self._connection.execute(
            sa.select(c.compartment).where(
                c.principal_id == who, c.valid_from <= self._now, self._now < c.valid_to
            )
        ).scalars()
        return frozenset(Compartment(x) for x in rows)

    def _sources(self, tenant: TenantKey, names: frozenset[str]) -> frozenset[SourceKey]:
        s = t.source.c
        statement = sa.select(s.id).where(s.tenant_id == tenant)
        if _WILDCARD not in names:
            statement = statement.where(s.name.in_(sorted(names)))
        return frozenset(SourceKey(x) for x in self._connection.execute(statement).scalars())


def _names(stored: str) -> frozenset[str]:
    return frozenset(str(x) for x in json.loads(stored))
