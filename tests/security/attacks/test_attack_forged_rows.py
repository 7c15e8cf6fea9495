"""Rows that the database accepts and no import would write: none of them widens, and none of them hangs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.delegations import Limits, create_delegation, revoke_delegation
from secure_rag.database.engine import write
from secure_rag.errors import AuthenticationError, PolicyError
from secure_rag.model.ids import NEVER, Micros, PrincipalId, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_api.wiring import Installation
from tests.controls import control
from tests.support.filled_home import FilledHome
from tests.support.small_home import ANN, BEN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import LABELS, NOW

ASK = RetrievalRequest(REQUEST, k=50)
AGENT = principal_id("agent:x")
World = tuple[FilledHome, Installation, dict[str, int]]


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Generator[World]:
    """A small home with two agents and a second tenant."""
    with small_home(tmp_path / "home", documents=30) as (filled, opened):
        keys: dict[str, int] = dict(filled.stored.tenants)
        keys |= {name: key for (_, name), key in filled.stored.principals.items()}
        with write(opened.engine) as connection:
            keys["globex"] = insert(connection, t.tenant, name="globex", directory_as_of=1)
            connection.execute(
                sa.insert(t.policy_version).values(tenant_id=keys["globex"], generation="g", n=0)
            )
            for name in ("agent:x", "agent:y"):
                keys[name] = insert(
                    connection, t.principal, tenant_id=keys["acme"], name=name, kind="agent", state="active"
                )
                grant = {"actions": '["read"]', "label": LABELS[4], "compartments": "[]"}
                grant |= {"sources": '["*"]', "purposes": '["qa"]'}
                insert(
                    connection,
                    t.grant,
                    tenant_id=keys["acme"],
                    principal_id=keys[name],
                    valid_from=0,
                    **grant,
                )
        yield filled, opened, keys


def insert(connection: sa.Connection, table: sa.Table, **values: object) -> int:
    return int(connection.execute(sa.insert(table).values(**values).returning(table.c.id)).scalar_one())


def delegate(world: World, **changes: object) -> int:
    _, opened, keys = world
    row: dict[str, object] = {
        "tenant_id": keys["acme"],
        "public_id": "g_forged_1",
        "subject_id": keys["user:ann"],
    }
    row |= {"created_by": keys["app:a0"], "agent_id": keys["agent:x"], "actions": '["read"]', "valid_from": 0}
    with write(opened.engine) as connection:
        return insert(connection, t.delegation, **(row | changes))


def found(opened: Installation, agent: PrincipalId = AGENT, delegation: str = "g_forged_1") -> int:
    return len(opened.retrieval.retrieve(CallerIdentity("acme", agent, None, delegation), ASK).results)


def test_the_honest_row_works(world: World) -> None:
    delegate(world)
    assert found(world[1]) > 0


@control("retrieval:delegation-bound", "acl:empty-subject")
@pytest.mark.parametrize("subject", ["group:g", "everyone", "app:a0", "agent:y"])
def test_a_chain_for_something_that_is_no_person_gives_nothing(world: World, subject: str) -> None:
    _, opened, keys = world
    delegate(world, subject_id=keys[subject])
    with write(opened.engine) as connection:
        connection.execute(sa.delete(t.clearance).where(t.clearance.c.principal_id == keys[subject]))
        clearance = {"principal_id": keys[subject], "label": LABELS[4], "valid_from": 0}
        insert(connection, t.clearance, tenant_id=keys["acme"], **clearance)
        if subject == "agent:y":
            member = {"member_id": keys[subject], "group_id": keys["group:g"], "valid_from": 0}
            insert(connection, t.membership, tenant_id=keys["acme"], **member)
    assert found(opened) == 0


@control("retrieval:delegation-bound")
@pytest.mark.parametrize(
    "changes",
    [{"created_by": "agent:y"}, {"created_by": "user:ann"}, {"valid_from": NOW + 1}, {"valid_to": NOW}],
)
def test_a_root_of_the_wrong_maker_or_moment_is_refused(world: World, changes: dict[str, object]) -> None:
    keys = world[2]
    delegate(world, **{name: keys.get(str(value), value) for name, value in changes.items()})
    with pytest.raises(AuthenticationError):
        found(world[1])


@control("retrieval:delegation-bound")
def test_chains_that_bite_their_tail_or_cross_tenants_end(world: World) -> None:
    _, opened, keys = world
    ring = delegate(world, public_id="g_ring____")
    with write(opened.engine) as connection:
        connection.execute(sa.update(t.delegation).where(t.delegation.c.id == ring).values(parent_id=ring))
    foreign = delegate(world, public_id="g_foreign_", tenant_id=keys["globex"])
    delegate(world, public_id="g_across__", parent_id=foreign, created_by=keys["agent:x"])
    for name in ("g_ring____", "g_across__"):
        with pytest.raises(AuthenticationError):
            found(opened, delegation=name)
    with write(opened.engine) as connection:
        tenant = world[0].stored.tenants["acme"]
        with pytest.raises(PolicyError):
            create_delegation(
                connection, tenant, creator=AGENT, agent=principal_id("agent:y"), subject=None, parent="g_ring____",
                limits=Limits(), now=Micros(NOW), expires=NEVER,
            )  # fmt: skip
        assert revoke_delegation(connection, tenant, "g_ring____", Micros(NOW)) == 1


@control("acl:allow-list")
def test_nobody_is_a_member_of_a_person_or_of_everyone(world: World) -> None:
    filled, opened, keys = world
    with write(opened.engine) as connection:
        for group in ("user:ann", "everyone"):
            member = {"member_id": keys["user:ben"], "group_id": keys[group], "valid_from": 0}
            insert(connection, t.membership, tenant_id=keys["acme"], **member)
    with opened.views.open() as view:
        tenant = filled.stored.tenants["acme"]
        assert view.closure(tenant, filled.stored.principals["acme", "user:ben"]) == {keys["user:ben"]}
    assert not opened.retrieval.retrieve(BEN, ASK).results


@control("acl:tenant-isolation", "acl:label-dominance")
def test_a_clearance_of_another_tenant_counts_for_nothing(world: World) -> None:
    _, opened, keys = world
    assert opened.retrieval.retrieve(ANN, ASK).results
    with write(opened.engine) as connection:
        connection.execute(sa.update(t.clearance).values(tenant_id=keys["globex"]))
    assert not opened.retrieval.retrieve(ANN, ASK).results
