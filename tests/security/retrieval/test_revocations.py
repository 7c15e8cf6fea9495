"""Revocations: at once, for exactly what they name, until somebody or a synchronisation ends them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import revocations as r
from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import NotFoundError, PolicyError
from secure_rag.model.decisions import Reason
from secure_rag.model.ids import Micros, PrincipalId, TenantKey
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.retrieval.why import why_withheld
from secure_rag_api.wiring import Installation
from tests.controls import control
from tests.support.filled_home import FilledHome
from tests.support.small_home import ANN, BEN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import NOW

OFFICER = PrincipalId("user:officer")
ASK = RetrievalRequest(REQUEST, k=50)
Cutting = Callable[..., str]


def _cut(
    filled: FilledHome,
    *,
    principal: str | None = None,
    source: str | None = None,
    document: str | None = None,
    now: int = NOW,
) -> str:
    with write(filled.stored.engine) as connection:
        return r.revoke(
            connection,
            filled.stored.tenants["acme"],
            principal=None if principal is None else PrincipalId(principal),
            source=source,
            document=document,
            by=OFFICER,
            reason="left the project",
            now=Micros(now),
        )


def _documents(opened: Installation, who: CallerIdentity) -> set[str]:
    return {x.document_id for x in opened.retrieval.retrieve(who, ASK).results}


def _opened(tmp_path: Path) -> AbstractContextManager[tuple[FilledHome, Installation]]:
    return small_home(tmp_path / "home")


@control("acl:revocation")
@pytest.mark.parametrize("principal", ["user:ann", "group:g", "app:a0", "everyone", None])
@pytest.mark.parametrize("source", ["wiki", None])
def test_a_revocation_holds_for_the_next_query_and_ends_when_lifted(
    tmp_path: Path, principal: str | None, source: str | None
) -> None:
    if principal is None and source is None:
        return
    with _opened(tmp_path) as (filled, opened):
        before = _documents(opened, ANN)
        assert before
        id_ = _cut(filled, principal=principal, source=source)
        assert _documents(opened, ANN) == set()
        with write(filled.stored.engine) as connection:
            r.lift(connection, filled.stored.tenants["acme"], id_, "user:other", Micros(NOW))
        assert _documents(opened, ANN) == before


@control("acl:revocation")
def test_it_takes_nothing_from_anybody_else(tmp_path: Path) -> None:
    with _opened(tmp_path) as (filled, opened):
        before = _documents(opened, ANN)
        for name in ("user:ben", "group:other"):
            _cut(filled, principal=name)
            _cut(filled, principal=name, source="wiki")
        assert _documents(opened, ANN) == before


@control("acl:revocation")
@pytest.mark.parametrize("principal", ["user:ann", "group:g", None])
def test_one_document_is_withheld_and_the_answer_is_refilled(tmp_path: Path, principal: str | None) -> None:
    with _opened(tmp_path) as (filled, opened):
        answer = opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=1))
        (first,) = answer.results
        before = _documents(opened, ANN)
        with opened.reader.connect() as connection:
            d = t.document.c
            native = connection.execute(
                sa.select(d.native_id).where(d.public_id == first.document_id)
            ).scalar_one()
        _cut(filled, principal=principal, document=f"wiki/{native}")
        (second,) = opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=1)).results
        assert second.document_id != first.document_id
        assert _documents(opened, ANN) == before - {first.document_id}
        with pytest.raises(NotFoundError):
            opened.retrieval.chunk(ANN, first.chunk_id)
        with opened.views.open() as view:
            subject = view.subject(filled.stored.tenants["acme"], ANN, "qa")
            assert why_withheld(view, opened.policy, subject, "wiki", native) is Reason.REVOKED


@control("acl:revocation")
def test_one_that_names_a_group_nobody_knows_for_certain_holds_for_all(tmp_path: Path) -> None:
    with _opened(tmp_path) as (filled, opened):
        assert _documents(opened, ANN)
        _cut(filled, principal="group:other", source="wiki")
        assert _documents(opened, ANN)
        with write(filled.stored.engine) as connection:
            p = t.principal.c
            connection.execute(sa.update(t.principal).where(p.name == "group:other").values(complete=0))
        assert _documents(opened, ANN) == set()


@control("acl:revocation")
def test_a_clock_that_is_set_back_does_not_bring_the_right_back(tmp_path: Path) -> None:
    with _opened(tmp_path) as (filled, opened):
        assert _documents(opened, ANN)
        _cut(filled, principal="user:ann", now=NOW + 200_000_000)
        assert _documents(opened, ANN) == set()


@control("acl:revocation-folded")
def test_a_sync_ends_what_it_made_needless_and_nothing_else(tmp_path: Path) -> None:
    with _opened(tmp_path) as (filled, opened):
        tenant = filled.stored.tenants["acme"]
        with opened.reader.connect() as connection:
            d, a = t.document.c, t.acl_class.c
            rows = connection.execute(
                sa.select(d.native_id, d.class_id).order_by(d.id).where(d.tenant_id == tenant)
            ).all()
            classes = sorted(connection.execute(sa.select(a.id)).scalars())
        hers = next(f"wiki/{x.native_id}" for x in rows if x.class_id == classes[0])
        kept = [
            _cut(filled, principal="user:ann", document=hers),
            _cut(filled, principal="group:g", document=hers),
            _cut(filled, document=hers),
            _cut(filled, principal="user:ann", source="wiki"),
            _cut(filled, principal="user:ben"),
        ]
        assert _fold(filled, tenant, NOW + 1) == 0
        with write(filled.stored.engine) as connection:
            _, native = hers.split("/")
            moved = sa.update(t.document).where(d.native_id == native)
            connection.execute(moved.values(class_id=classes[2], acl_as_of=NOW + 1))
        # What began before it was revoked has not seen it.
        assert _fold(filled, tenant, NOW) == 0
        assert _fold(filled, tenant, NOW + 1) == 1
        with opened.reader.connect() as connection:
            held = {x.id for x in r.revocations(connection, tenant, Micros(NOW + 5))}
            ended = [x for x in r.revocations(connection, tenant, Micros(NOW + 5), ended=True) if x.ended_by]
        assert held == set(kept[1:])
        assert [(x.id, x.ended_by) for x in ended] == [(kept[0], "sync")]
        with write(filled.stored.engine) as connection:
            p = t.principal.c
            connection.execute(sa.update(t.principal).where(p.name == "user:ben").values(state="disabled"))
        assert _fold(filled, tenant, NOW + 1) == 1


def _fold(filled: FilledHome, tenant: TenantKey, began: int) -> int:
    with write(filled.stored.engine) as connection:
        return r.fold(connection, tenant, Micros(began), Micros(NOW + 5))


@control("acl:revocation")
def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with _opened(tmp_path) as (filled, _):
        with pytest.raises(PolicyError, match="name a principal"):
            _cut(filled)
        with pytest.raises(PolicyError, match="either"):
            _cut(filled, source="wiki", document="wiki/doc0.txt")
        with pytest.raises(NotFoundError):
            _cut(filled, principal="user:nobody")
        with pytest.raises(NotFoundError):
            _cut(filled, source="hr")
        with pytest.raises(NotFoundError):
            _cut(filled, document="wiki/nothing")
        with write(filled.stored.engine) as connection, pytest.raises(NotFoundError):
            r.lift(connection, filled.stored.tenants["acme"], "r_none", "user:other", Micros(NOW))


@control("acl:revocation")
def test_ben_had_nothing_and_gets_nothing(tmp_path: Path) -> None:
    with _opened(tmp_path) as (filled, opened):
        before = _documents(opened, BEN)
        _cut(filled, principal="user:ann")
        assert _documents(opened, BEN) == before
