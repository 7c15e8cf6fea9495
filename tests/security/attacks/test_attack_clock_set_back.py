"""What was taken away stays away when the clock of the host is set back."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.delegations import Limits, create_delegation, revoke_delegation
from secure_rag.database.engine import write
from secure_rag.errors import AuthenticationError, UnavailableError
from secure_rag.model.ids import NEVER, Micros, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.small_home import ANN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import LABELS, MINUTE, NOW

ASK = RetrievalRequest(REQUEST, k=5)


@control("retrieval:revocation-next-query")
def test_a_membership_that_ended_does_not_come_back(tmp_path: Path) -> None:
    clock = FixedClock(NOW + 60 * MINUTE)
    with small_home(tmp_path / "home", clock=clock) as (_, opened):
        assert opened.retrieval.retrieve(ANN, ASK).results
        # As an import does: rows end now, and so does what was known of the directory before.
        with write(opened.engine) as connection:
            connection.execute(sa.update(t.membership).values(valid_to=clock.at))
            connection.execute(sa.update(t.tenant).values(directory_as_of=clock.at))
        assert not opened.retrieval.retrieve(ANN, ASK).results
        clock.at -= 2 * MINUTE
        assert not opened.retrieval.retrieve(ANN, ASK).results
        clock.at -= 50 * MINUTE
        with pytest.raises(UnavailableError, match="clock"):
            opened.retrieval.retrieve(ANN, ASK)
        clock.at += 53 * MINUTE
        assert not opened.retrieval.retrieve(ANN, ASK).results


@control("retrieval:delegation-bound")
def test_a_delegation_that_was_revoked_does_not_come_back(tmp_path: Path) -> None:
    clock = FixedClock(NOW + 60 * MINUTE)
    with small_home(tmp_path / "home", clock=clock) as (filled, opened):
        tenant = filled.stored.tenants["acme"]
        agent = principal_id("agent:x")
        with write(opened.engine) as connection:
            key = connection.execute(
                sa.insert(t.principal)
                .values(tenant_id=tenant, name=agent, kind="agent", state="active")
                .returning(t.principal.c.id)
            ).scalar_one()
            row = {"actions": '["read"]', "label": LABELS[4], "compartments": "[]"}
            row |= {"sources": '["*"]', "purposes": '["qa"]'}
            connection.execute(
                sa.insert(t.grant).values(tenant_id=tenant, principal_id=key, valid_from=0, **row)
            )
            delegation = create_delegation(
                connection, tenant, creator=ANN.caller, agent=agent, subject=ANN.subject, parent=None,
                limits=Limits(), now=Micros(NOW), expires=NEVER,
            )  # fmt: skip
        caller = CallerIdentity("acme", agent, None, delegation)
        assert opened.retrieval.retrieve(caller, ASK).results
        with write(opened.engine) as connection:
            assert revoke_delegation(connection, tenant, delegation, Micros(clock.at)) == 1
        for back in (0, 2 * MINUTE):
            clock.at -= back
            with pytest.raises(AuthenticationError):
                opened.retrieval.retrieve(caller, ASK)
