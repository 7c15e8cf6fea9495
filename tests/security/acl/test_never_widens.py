"""Knowing less never shows more: a mapping line, a group, a user or a page of a sync that goes missing.

Random companies and mappings; for every document the set of users who may read it, before and after. Each way of
losing knowledge must leave a subset. The last tests break the two rules that this rests on, and must see it widen.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.home import Home
from secure_rag.database.interning import intern_class, intern_principal
from secure_rag.database.views import Views
from secure_rag.model.ids import ClassKey, LabelId, Micros, PrincipalId, SourceKey
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock, canonical_locks
from secure_rag.model.permissions import MappedPermissions
from secure_rag.model.subject import CallerIdentity
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import DirectoryFile
from secure_rag_acl.labels import import_labels, parse_labels
from secure_rag_acl.mappings import parse_mapping
from tests.controls import control
from tests.unit.acl.homes import GUIDS, LABELS
from tests.worlds import Dice

WORLDS = 12
USERS, GROUPS, DOCUMENTS = 10, 9, 14
Readers = dict[str, frozenset[str]]
Entry = dict[str, object]


@dataclass(frozen=True)
class Company:
    """A directory file and a mapping file, as plain data."""

    directory: dict[str, object]
    mapping: dict[str, object]

    @property
    def groups(self) -> list[Entry]:
        found = self.directory["groups"]
        assert isinstance(found, list)
        return found

    @property
    def users(self) -> list[Entry]:
        found = self.directory["users"]
        assert isinstance(found, list)
        return found

    def without_line(self, number: int) -> Company:
        lines = self.mapping["principals"]
        assert isinstance(lines, list)
        kept = [line for index, line in enumerate(lines) if index != number]
        return replace(self, mapping={**self.mapping, "principals": kept})

    def with_directory(self, **changes: object) -> Company:
        return replace(self, directory={**self.directory, **changes})


@dataclass
class Seen:
    """What the cases amounted to, so that an empty run does not pass."""

    counts: Counter[str] = field(default_factory=Counter[str])

    def compare(self, before: Readers, after: Readers) -> int:
        """Count, and say how many (document, user) pairs were gained."""
        gained = 0
        for document, readers in before.items():
            now = after[document]
            self.counts["allowed before"] += len(readers)
            self.counts["lost"] += len(readers - now)
            self.counts["kept"] += len(readers & now)
            gained += len(now - readers)
        self.counts["cases"] += 1
        return gained


def random_company(seed: int) -> Company:
    """Mostly denies that matter: documents open to a broad list but closed to a group, often a nested one."""
    dice = Dice(seed)
    users = [f"user:u{n}" for n in range(USERS)]
    groups = [f"group:g{n}" for n in range(GROUPS)]
    members: dict[str, list[str]] = {name: dice.some(users, 1, 4) for name in groups}
    for number, name in enumerate(groups):
        members[name] += dice.some(groups[number + 1 :], 0, 2)
    principals = [{"native": f"Native {name}", "principal": name} for name in groups]
    principals += [{"native": f"Native {name}", "principal": name} for name in users[:4]]
    rules = [_rule(dice, number, groups, users) for number in range(DOCUMENTS)]
    directory: dict[str, object] = {
        "tenant": "acme",
        "complete": True,
        "defaults": {"clearance": {"member": "Public", "guest": "Public"}},
        "users": [{"id": name, "kind": "guest" if dice.chance(0.2) else "member"} for name in users],
        "groups": [{"id": name, "members": members[name]} for name in groups],
        "applications": [{"id": "app:chat", "grant": _GRANT}],
        "agents": [],
    }
    return Company(directory, {"source": "wiki", "principals": principals, "rules": rules})


_GRANT = {
    "actions": ["read"],
    "label": "Secret",
    "compartments": [],
    "sources": ["*"],
    "purposes": ["qa"],
    "expires": "2099-01-01",
}


def _rule(dice: Dice, number: int, groups: Sequence[str], users: Sequence[str]) -> Entry:
    def named(names: Sequence[str]) -> list[str]:
        return [name if dice.chance(0.3) or name > "user:u3" else f"Native {name}" for name in names]

    def lock() -> Entry:
        allow = named(dice.some(groups, 2, 5) + dice.some(users, 0, 2))
        allow += ["everyone"] if dice.chance(0.5) else []
        deny = named(dice.some(groups, 1, 2) if dice.chance(0.7) else dice.some(users, 1, 2))
        return {"allow": allow, "deny": deny if dice.chance(0.75) else []}

    if dice.chance(0.3):
        return {"path": f"d{number}/**", "locks": [lock(), lock()]}
    return {"path": f"d{number}/**", **lock()}


class Sandbox:
    """A control database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        home = Home(folder)
        home.create()
        self.engine = open_engine(home.control)
        self.now = 1_000_000
        import_labels(self.engine, parse_labels(LABELS.encode(), "l.yaml"), actor="user:me", now=Micros(1))
        with write(self.engine) as connection:
            tenant = connection.execute(sa.select(t.tenant.c.id)).scalar_one()
            values = {
                "name": "wiki",
                "kind": "filesystem",
                "trust": "internal",
                "max_acl_age": 1,
                "manifest": "{}",
            }
            connection.execute(sa.insert(t.source).values(tenant_id=tenant, **values))

    def copy(self, folder: Path) -> Sandbox:
        """The same database again, to lose something in."""
        self.engine.dispose()
        shutil.copytree(self.folder, folder)
        twin = object.__new__(Sandbox)
        twin.folder, twin.engine, twin.now = folder, open_engine(Home(folder).control), self.now
        return twin

    def load(self, company: Company, forget: Sequence[str] = ()) -> None:
        self.now += 1_000_000
        document = DirectoryFile.model_validate(company.directory)
        import_directory(self.engine, document, actor="user:me", now=Micros(self.now), forget=forget)

    def readers(
        self, company: Company, change: Callable[[MappedPermissions], MappedPermissions] | None = None
    ) -> Readers:
        """Who may read each document under a mapping, as compiled."""
        mapper = parse_mapping(json.dumps(company.mapping).encode(), "m.yaml", "wiki")
        classes = {}
        with write(self.engine) as connection:
            for number in range(DOCUMENTS):
                mapped = mapper.map(f"d{number}/x.md", None, None)
                classes[f"d{number}"] = _intern(connection, mapped if change is None else change(mapped))
        may: dict[str, set[str]] = {name: set() for name in classes}
        engine = CasbinEngine()
        with Views(self.engine, lambda: Micros(self.now)).open() as view:
            tenant = view.tenant_key("acme")
            assert tenant is not None
            for number in range(USERS):
                name = PrincipalId(f"user:u{number}")
                subject = view.subject(tenant, CallerIdentity("acme", PrincipalId("app:chat"), name), "qa")
                open_to = set(engine.compile(view, subject, "read").classes.tolist())
                for document, key in classes.items():
                    if key in open_to:
                        may[document].add(name)
        return {document: frozenset(names) for document, names in may.items()}

    def close(self) -> None:
        self.engine.dispose()


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
    cls = AclClass(tenant, canonical_locks(locks), label, frozenset(), trust, SourceKey(source))
    return intern_class(connection, cls)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Company, Sandbox, Readers]]:
    made = []
    for seed in range(WORLDS):
        company = random_company(seed)
        sandbox = Sandbox(tmp_path_factory.mktemp("world") / "home")
        sandbox.load(company)
        made.append((company, sandbox, sandbox.readers(company)))
    return made


def losses(company: Company, seed: int) -> dict[str, Company]:
    """Every kind of import that knows less than the one before."""
    dice = Dice(1_000 + seed)
    victim = dice.pick([str(group["id"]) for group in company.groups])
    others = [group for group in company.groups if group["id"] != victim]
    unnamed = [{**group, "members": _but(group, victim)} for group in others]
    page = [group for group in company.groups if dice.chance(0.5)]
    thin = [
        {**group, "members": [x for x in _but(group, "") if dice.chance(0.6)]} for group in company.groups
    ]
    lost_user = dice.pick([str(user["id"]) for user in company.users])
    return {
        "a group, still named by others": company.with_directory(groups=others),
        "a group and every mention of it": company.with_directory(groups=unnamed),
        "two groups and every mention": company.with_directory(groups=unnamed[1:]),
        "a user": company.with_directory(users=[user for user in company.users if user["id"] != lost_user]),
        "nothing, but incomplete": company.with_directory(complete=False),
        "a page of groups": company.with_directory(complete=False, groups=page),
        "a page of users": company.with_directory(complete=False, users=company.users[::2]),
        "members here and there": company.with_directory(complete=False, groups=thin),
    }


def _but(group: Mapping[str, object], name: str) -> list[object]:
    members = group["members"]
    assert isinstance(members, list)
    return [member for member in members if member != name]


@control("acl:never-widens", "acl:directory-tombstones", "acl:directory-incomplete")
@pytest.mark.parametrize("loss", sorted(losses(random_company(0), 0)))
def test_an_import_that_knows_less_shows_no_more(
    loss: str, worlds: list[tuple[Company, Sandbox, Readers]], tmp_path: Path
) -> None:
    seen = Seen()
    for seed, (company, sandbox, before) in enumerate(worlds):
        twin = sandbox.copy(tmp_path / str(seed))
        smaller = losses(company, seed)[loss]
        twin.load(smaller)
        after = twin.readers(company)
        assert seen.compare(before, after) == 0, seed
        # And again on top of it: what was lost once does not come back by losing more.
        twin.load(losses(smaller, seed + 500)[loss])
        assert seen.compare(after, twin.readers(company)) == 0, seed
        twin.close()
    assert seen.counts["allowed before"] >= 200
    assert seen.counts["lost"] > 0
    assert seen.counts["kept"] > 0


@control("acl:never-widens", "acl:directory-incomplete")
@pytest.mark.parametrize(
    "loss", ["nothing, but incomplete", "a page of groups", "a page of users", "members here and there"]
)
def test_a_first_import_that_knows_less_shows_no_more(
    loss: str, worlds: list[tuple[Company, Sandbox, Readers]], tmp_path: Path
) -> None:
    seen = Seen()
    for seed, (company, _, before) in enumerate(worlds):
        fresh = Sandbox(tmp_path / str(seed))
        fresh.load(losses(company, seed)[loss])
        assert seen.compare(before, fresh.readers(company)) == 0, seed
        fresh.close()
    assert seen.counts["lost"] > 0
    assert seen.counts["kept"] > 0


@control("acl:never-widens", "acl:mapping-unmapped")
def test_a_mapping_that_knows_less_shows_no_more(worlds: list[tuple[Company, Sandbox, Readers]]) -> None:
    seen = Seen()
    for company, sandbox, before in worlds:
        for number in range(GROUPS + 4):
            assert seen.compare(before, sandbox.readers(company.without_line(number))) == 0
    assert seen.counts["cases"] == WORLDS * (GROUPS + 4)
    assert seen.counts["lost"] >= 0.02 * seen.counts["allowed before"]
    assert seen.counts["kept"] >= 0.5 * seen.counts["allowed before"]


def test_dropping_an_unmapped_deny_would_widen(worlds: list[tuple[Company, Sandbox, Readers]]) -> None:
    """The naive rule "what is not mapped does not count", which the property must notice."""

    def naive(mapped: MappedPermissions) -> MappedPermissions:
        return replace(mapped, locks=tuple(replace(lock, unresolved_deny=False) for lock in mapped.locks))

    seen = Seen()
    gained = sum(
        seen.compare(before, sandbox.readers(company.without_line(number), naive))
        for company, sandbox, before in worlds
        for number in range(GROUPS)
    )
    assert gained >= 0.01 * seen.counts["allowed before"]


def test_ending_the_links_of_a_tombstone_would_widen(
    worlds: list[tuple[Company, Sandbox, Readers]], tmp_path: Path
) -> None:
    """`forget` does knowingly what an import must never do by itself."""
    seen, gained = Seen(), 0
    for seed, (company, sandbox, before) in enumerate(worlds):
        twin = sandbox.copy(tmp_path / str(seed))
        smaller = losses(company, seed)["a group and every mention of it"]
        kept = {str(group["id"]) for group in smaller.groups}
        (gone,) = [str(group["id"]) for group in company.groups if group["id"] not in kept]
        twin.load(smaller)
        twin.load(smaller, forget=(gone,))
        gained += seen.compare(before, twin.readers(company))
        twin.close()
    assert gained > 0
