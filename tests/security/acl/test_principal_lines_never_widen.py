"""A mapping of a source with permissions of its own that loses a line shows no more, and a recycled address nothing.

Random companies with aliases, mappings of all five kinds of lines and documents with native locks; who may read is
decided by the policy engine over real rows. The last tests break the rules that this rests on, and must see it widen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.interning import intern_class, intern_principal
from secure_rag.database.views import Views
from secure_rag.errors import ConfigError
from secure_rag.model.ids import ClassKey, LabelId, Micros, PrincipalId, SourceKey
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock, canonical_locks
from secure_rag.model.permissions import MappedPermissions
from secure_rag.model.subject import CallerIdentity
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import DirectoryFile
from secure_rag_acl.formats.native import NativeEntry, NativeLock, NativePermissions, NativePrincipal
from secure_rag_acl.formats.resolve import Resolver
from secure_rag_acl.known_names import KnownNames, read_known_names
from secure_rag_acl.mappings import parse_additions
from secure_rag_acl.principals import PrincipalMapping, Resolution, Why
from tests.controls import control
from tests.security.acl.test_never_widens import Sandbox
from tests.unit.acl.homes import GUIDS
from tests.worlds import Dice

WORLDS, USERS, GROUPS, DOCUMENTS = 14, 8, 6, 12
Readers = dict[int, frozenset[str]]
Line = dict[str, object]


def guid(number: int) -> str:
    return f"0a000000-0000-4000-8000-0000000000{number:02d}"


def sid(number: int) -> str:
    return f"S-1-5-21-1-2-3-{1_000 + number}"


@dataclass(frozen=True)
class World:
    """A directory, the lines of a mapping, and what the source says of each document."""

    directory: Line
    lines: tuple[Line, ...]
    documents: tuple[NativePermissions, ...]

    def without(self, number: int) -> World:
        return replace(self, lines=self.lines[:number] + self.lines[number + 1 :])


def random_world(seed: int) -> World:
    dice = Dice(seed)
    users = [
        {
            "id": f"user:u{n}",
            "kind": "member",
            "mail": f"u{n}@acme.example",
            "sid": sid(n),
            "object_id": guid(n),
        }
        for n in range(USERS)
    ]
    groups = [
        {
            "id": f"group:g{n}",
            "members": [f"user:u{x}" for x in range(USERS) if dice.chance(0.4)],
            "sid": sid(50 + n),
        }
        for n in range(GROUPS)
    ]
    directory: Line = {
        "tenant": "acme",
        "complete": True,
        "defaults": {"clearance": {"member": "Public"}},
        "users": users,
        "groups": groups,
        "applications": [{"id": "app:chat", "grant": _GRANT}],
        "agents": [],
    }
    lines: list[Line] = [
        {"sid_table": True},
        {"object_ids": True},
        {"mail_domain": "acme.example", "merge": True},
        {"pattern": "p-user:([a-z0-9]+)", "principal": "user:{1}", "merge": True},
        {"pattern": "p-group:([a-z0-9]+)", "principal": "group:{1}", "merge": True},
        {"native": "all", "principal": "everyone", "merge": True},
    ]
    for n in range(GROUPS):
        # Every third one names another group than the directory does.
        lines.append({"native": f"sid:{sid(50 + n)}", "principal": f"group:g{n // 3 * 3}", "merge": True})
        lines.append({"native": f"x-group:g{n}", "principal": f"group:g{n}", "merge": True})
    kept = [x for x in lines if dice.chance(0.8)]
    return World(directory, tuple(kept), tuple(_document(dice) for _ in range(DOCUMENTS)))


_GRANT = {
    "actions": ["read"],
    "label": "Secret",
    "compartments": [],
    "sources": ["*"],
    "purposes": ["qa"],
    "expires": "2099-01-01",
}


def _document(dice: Dice) -> NativePermissions:
    def names(low: int, high: int) -> tuple[NativeEntry, ...]:
        return tuple(
            NativeEntry(_name(dice), "an entry", "dump:1") for _ in range(dice.number(low, high + 1))
        )

    def lock() -> NativeLock:
        everyone = (NativeEntry(NativePrincipal("all", broad=True), "all", "dump:2"),)
        return NativeLock(
            "file",
            names(1, 4) + (everyone if dice.chance(0.5) else ()),
            names(1, 2) if dice.chance(0.7) else (),
        )

    return NativePermissions(tuple(lock() for _ in range(1 + dice.chance(0.3))))


def _name(dice: Dice) -> NativePrincipal:
    user, group = dice.number(0, USERS), dice.number(0, GROUPS)
    # Now and then the source has the address of one person under the identifier of another.
    other = user if dice.chance(0.9) else dice.number(0, USERS)
    choices = {
        "sid": NativePrincipal(f"sid:{sid(user)}"),
        "group sid": NativePrincipal(f"sid:{sid(50 + group)}"),
        "object": NativePrincipal(
            f"o-user:{guid(user)}", object_id=guid(user), mail=f"u{other}@acme.example"
        ),
        "mail": NativePrincipal(f"m-user:u{user}@acme.example", mail=f"u{user}@acme.example"),
        "user": NativePrincipal(f"p-user:u{user}", mail=f"u{other}@acme.example"),
        "group": NativePrincipal(f"p-group:g{group}"),
        "exact": NativePrincipal(f"x-group:g{group}"),
    }
    return choices[dice.pick(sorted(choices))]


class Company(Sandbox):
    """A control database of its own with the directory of a world."""

    def import_(self, directory: Line) -> None:
        self.now += 1_000_000
        document = DirectoryFile.model_validate(directory)
        import_directory(self.engine, document, actor="user:me", now=Micros(self.now))

    def known(self) -> KnownNames:
        with self.engine.connect() as connection:
            tenant = connection.execute(sa.select(t.tenant.c.id)).scalar_one()
            return read_known_names(connection, tenant, Micros(self.now))

    def principals(self, world: World) -> PrincipalMapping:
        text = json.dumps({"source": "wiki", "principals": list(world.lines)})
        return parse_additions(text.encode(), "m.yaml", "wiki", known=self.known())[0]

    def who_reads(self, world: World, principals: PrincipalMapping | None = None) -> Readers:
        """Who may read each document, as decided by the engine and as compiled."""
        resolver = Resolver(principals or self.principals(world))
        with write(self.engine) as connection:
            keys = [_intern(connection, resolver.resolve(x)) for x in world.documents]
        engine = CasbinEngine()
        found: dict[int, set[str]] = {number: set() for number in range(DOCUMENTS)}
        with Views(self.engine, lambda: Micros(self.now)).open() as view:
            tenant = view.tenant_key("acme")
            assert tenant is not None
            classes = view.classes(tenant, keys)
            for number in range(USERS):
                name = PrincipalId(f"user:u{number}")
                subject = view.subject(tenant, CallerIdentity("acme", PrincipalId("app:chat"), name), "qa")
                compiled = set(engine.compile(view, subject, "read").classes.tolist())
                for document, key in enumerate(keys):
                    allowed = engine.decide(subject, "read", classes[key], view.now).allowed
                    assert allowed == (key in compiled)
                    if allowed:
                        found[document].add(name)
        return {document: frozenset(names) for document, names in found.items()}

    def ambiguous(self, world: World) -> set[int]:
        """Documents that a contradiction between two lines closes."""
        principals = self.principals(world)
        return {
            number
            for number, document in enumerate(world.documents)
            for lock in document.locks
            for entry in (*lock.allow, *lock.deny)
            if principals.look_up(entry.principal).why is Why.AMBIGUOUS
        }


def _intern(connection: sa.Connection, mapped: MappedPermissions) -> ClassKey:
    tenant = connection.execute(sa.select(t.tenant.c.id)).scalar_one()
    source = connection.execute(sa.select(t.source.c.id)).scalar_one()
    locks = [
        Lock.of(
            [(intern_principal(connection, tenant, name), end) for name, end in lock.allow],
            [intern_principal(connection, tenant, name) for name in lock.deny],
            unresolved_deny=lock.unresolved_deny,
        )
        for lock in mapped.locks
    ]
    label, trust = LabelId(GUIDS[0]), Trust.INTERNAL
    return intern_class(
        connection, AclClass(tenant, canonical_locks(locks), label, frozenset(), trust, SourceKey(source))
    )


@dataclass
class Seen:
    """What the cases amounted to, so that an empty run does not pass."""

    counts: Counter[str] = field(default_factory=Counter[str])

    def compare(
        self, before: Readers, after: Readers, without: set[int] | frozenset[int] = frozenset()
    ) -> int:
        """Pairs of document and reader that were gained, those of some documents counted apart."""
        gained = 0
        self.counts["cases"] += 1
        for document, readers in before.items():
            now = after[document]
            self.counts["allowed before"] += len(readers)
            self.counts["lost"] += len(readers - now)
            self.counts["kept"] += len(readers & now)
            self.counts["pairs"] += USERS
            if document in without:
                self.counts["gained by an end of a contradiction"] += len(now - readers)
            else:
                gained += len(now - readers)
        return gained


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[World, Company, Readers]]:
    made = []
    for seed in range(WORLDS):
        world = random_world(seed)
        company = Company(tmp_path_factory.mktemp("names") / "home")
        company.import_(world.directory)
        made.append((world, company, company.who_reads(world)))
    return made


@control("acl:never-widens", "acl:names-ambiguous")
def test_a_mapping_that_loses_a_line_shows_no_more(worlds: list[tuple[World, Company, Readers]]) -> None:
    """Except where the line contradicted another: what the contradiction closed is then what the other line says."""
    seen = Seen()
    for world, company, before in worlds:
        contradicted = company.ambiguous(world)
        seen.counts["ambiguous documents"] += len(contradicted)
        for number in range(len(world.lines)):
            after = company.who_reads(world.without(number))
            assert seen.compare(before, after, contradicted) == 0, (number, world.lines[number])
    assert seen.counts["cases"] >= 100
    assert seen.counts["allowed before"] >= 0.1 * seen.counts["pairs"]
    assert seen.counts["lost"] >= 0.02 * seen.counts["allowed before"]
    assert seen.counts["kept"] >= 0.5 * seen.counts["allowed before"]
    assert 0 < seen.counts["ambiguous documents"] < 0.5 * DOCUMENTS * WORLDS


@control("acl:never-widens", "acl:names-recycled")
def test_a_directory_in_which_names_change_hands_shows_no_more_to_who_gets_them(
    worlds: list[tuple[World, Company, Readers]], tmp_path: Path
) -> None:
    """Two people swap address and identifiers: neither becomes the other."""
    seen = Seen()
    for seed, (world, company, before) in enumerate(worlds):
        users = world.directory["users"]
        assert isinstance(users, list)
        names = ("mail", "sid", "object_id")
        parted = [{k: v for k, v in x.items() if k not in names} for x in users[:2]]
        swapped = [
            {**parted[0], **{k: users[1][k] for k in names}},
            {**parted[1], **{k: users[0][k] for k in names}},
        ]
        twin = Company.__new__(Company)
        base = company.copy(tmp_path / str(seed))
        twin.folder, twin.engine, twin.now = base.folder, base.engine, base.now
        twin.import_({**world.directory, "users": [*parted, *users[2:]]})
        twin.import_({**world.directory, "users": [*swapped, *users[2:]]})
        assert seen.compare(before, twin.who_reads(world), company.ambiguous(world)) == 0
        twin.close()
    assert seen.counts["lost"] > 0
    assert seen.counts["kept"] > 0


def broken(
    principals: PrincipalMapping, change: Callable[[NativePrincipal, Resolution], Resolution]
) -> PrincipalMapping:
    """The mapping with one rule of it undone."""

    class Broken(PrincipalMapping):
        def look_up(self, native: NativePrincipal) -> Resolution:
            return change(native, PrincipalMapping.look_up(self, native))

    return Broken(principals.source, principals.names, principals.covers)


def test_a_choice_between_two_lines_would_widen(worlds: list[tuple[World, Company, Readers]]) -> None:
    """The naive rule "the first line wins", which the property must notice."""

    def first(_: NativePrincipal, right: Resolution) -> Resolution:
        return Resolution(right.candidates[0]) if right.why is Why.AMBIGUOUS else right

    seen = Seen()
    gained = 0
    for world, company, before in worlds:
        naive = broken(company.principals(world), first)
        gained += seen.compare(before, company.who_reads(world, naive))
    assert gained > 0


def test_inheriting_a_recycled_name_would_widen(
    worlds: list[tuple[World, Company, Readers]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The naive rule "whose it is now", which the property must notice."""

    def newest(self: Company) -> KnownNames:
        a, p = t.alias.c, t.principal.c
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.select(a.alias, p.name)
                .join(t.principal, p.id == a.principal_id)
                .where(a.valid_to > self.now)
            ).all()
        return KnownNames({x.alias.lower(): PrincipalId(x.name) for x in rows})

    monkeypatch.setattr(Company, "known", newest)
    with pytest.raises(AssertionError):
        test_a_directory_in_which_names_change_hands_shows_no_more_to_who_gets_them(worlds, tmp_path)


def test_every_world_is_a_mapping_that_loads(worlds: list[tuple[World, Company, Readers]]) -> None:
    kinds: Counter[str] = Counter()
    for world, company, _ in worlds:
        for line in world.lines:
            kinds[next(iter(line))] += 1
        strict = replace(world, lines=tuple(_without_merge(x) for x in world.lines))
        if sum("merge" in x for x in world.lines) > 3:
            with pytest.raises(ConfigError, match="merge: true"):
                company.principals(strict)
    assert set(kinds) == {"sid_table", "object_ids", "mail_domain", "pattern", "native"}


def _without_merge(line: Mapping[str, object]) -> Line:
    return {key: value for key, value in line.items() if key != "merge"}
