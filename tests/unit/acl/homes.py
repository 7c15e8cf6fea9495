"""A control database with a taxonomy, and short ways to import a directory into it and to look at the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine
from secure_rag.database.home import Home
from secure_rag.database.views import Views
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag_acl.directory import DirectoryReport, import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.labels import import_labels, parse_labels

GUIDS = tuple(f"0000000{n}-0000-4000-8000-000000000000" for n in range(1, 5))
LABELS = f"""\
tenant: acme
labels:
  - {{id: {GUIDS[0]}, name: Public, priority: 0}}
  - {{id: {GUIDS[1]}, name: Internal, priority: 1}}
  - {{id: {GUIDS[2]}, name: Secret, priority: 2}}
compartments: [heron, board]
default: Secret
external_mix_threshold: Internal
"""
START = 1_000_000_000_000


@dataclass
class Place:
    """One home; the clock moves by a second with every import."""

    engine: sa.Engine
    now: int = START
    reports: list[DirectoryReport] = field(default_factory=list[DirectoryReport])

    def load(self, text: str, forget: tuple[str, ...] = ()) -> DirectoryReport:
        self.now += 1_000_000
        report = import_directory(
            self.engine,
            parse_directory(text.encode(), "d.yaml"),
            actor="user:me",
            now=Micros(self.now),
            forget=forget,
        )
        self.reports.append(report)
        return report

    def version(self) -> tuple[str, int]:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(t.policy_version.c.generation, t.policy_version.c.n)).one()
        return row.generation, row.n

    def subject(self, name: str, app: str = "app:chat", *, later: int = 0) -> Subject:
        with Views(self.engine, lambda: Micros(self.now + later)).open() as view:
            tenant = view.tenant_key("acme")
            assert tenant is not None
            return view.subject(tenant, CallerIdentity("acme", PrincipalId(app), PrincipalId(name)), "qa")

    def groups(self, name: str, *, later: int = 0) -> set[str]:
        return self.named(self.subject(name, later=later).closure)

    def uncertain(self) -> set[str]:
        return self.named(self.subject("user:nobody").uncertain)

    def named(self, keys: frozenset[int]) -> set[str]:
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(t.principal.c.name).where(t.principal.c.id.in_(sorted(keys))))
            return set(rows.scalars())

    def principal(self, name: str) -> tuple[str, str, int]:
        p = t.principal.c
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(p.kind, p.state, p.complete).where(p.name == name)).one()
        return row.kind, row.state, row.complete

    def links(self) -> set[tuple[str, str]]:
        """Memberships that hold now, (member, group)."""
        member, group, m = t.principal.alias(), t.principal.alias(), t.membership.c
        statement = (
            sa.select(member.c.name, group.c.name.label("grp"))
            .select_from(t.membership)
            .join(member, member.c.id == m.member_id)
            .join(group, group.c.id == m.group_id)
            .where(m.valid_from <= self.now, m.valid_to > self.now)
        )
        with self.engine.connect() as connection:
            return {(row.name, row.grp) for row in connection.execute(statement)}


def new_place(folder: Path, labels: str | None = LABELS) -> Place:
    home = Home(folder / "home")
    home.create()
    engine = open_engine(home.control)
    if labels is not None:
        import_labels(engine, parse_labels(labels.encode(), "l.yaml"), actor="user:me", now=Micros(START))
    return Place(engine)


GRANT = "{actions: [read], label: Secret, compartments: [heron], sources: ['*'], purposes: [qa], expires: 2099-01-01}"


def directory(
    users: str = "", groups: str = "", *, complete: str = "true", rest: str = "", apps: str = "app:chat"
) -> str:
    """A directory file with one application; `users` and `groups` are lines of YAML flow mappings."""
    lines = ["tenant: acme", f"complete: {complete}", "defaults: {clearance: {member: Internal}}"]
    lines += ["users:" if users.strip() else "users: []", users]
    lines += ["groups:" if groups.strip() else "groups: []", groups]
    lines += [f"applications: [{{id: {apps}, grant: {GRANT}}}]", "agents: []", rest]
    return "\n".join(line for line in lines if line) + "\n"
