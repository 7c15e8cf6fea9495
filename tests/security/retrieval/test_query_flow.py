"""The query flow under faults: nothing leaves unless it was decided and recorded."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from secure_rag.audit.events import PATHS_DISAGREE
from secure_rag.audit.reading import AuditEvent, tail
from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.home import Home
from secure_rag.errors import (
    AuthenticationError,
    NotFoundError,
    StaleSourceError,
    StoreError,
    UnavailableError,
)
from secure_rag.model.decisions import Decision, Filter
from secure_rag.model.ids import ChunkKey, ClassKey, Micros, SourceKey, TenantKey, principal_id
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.ports import AccessScope, AuditSink, CompiledScope, Hit, PolicyEngine, VectorStore
from secure_rag.retrieval.authorize import is_stale
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.retrieval.scope import trusted_part, within
from secure_rag.retrieval.service import MAX_CANDIDATES, REFILL_ROUNDS
from secure_rag_api.diagnosis import diagnose
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.small_home import ANN, BEN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import LABELS, NOW

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView
    from secure_rag.ports import ClassIds, Vector
    from secure_rag_api.wiring import Installation
    from tests.support.filled_home import FilledHome

ROOT = Path(__file__).resolve().parents[3]
ASK = RetrievalRequest(REQUEST, k=5)
SKEW = 300_000_000


class BrokenAudit:
    """An audit log that cannot write."""

    def record(self, tenant: str, kind: str, event_id: str, body: Mapping[str, object]) -> None:
        raise UnavailableError("disk full")


@dataclass(frozen=True)
class NoAlarms:
    """An audit log that fails for alarms only."""

    inner: AuditSink

    def record(self, tenant: str, kind: str, event_id: str, body: Mapping[str, object]) -> None:
        if kind == PATHS_DISAGREE:
            raise UnavailableError("disk full")
        self.inner.record(tenant, kind, event_id, body)


@dataclass
class ScriptedStore:
    """Gives the same hits for every search, best first, and counts."""

    hits: Sequence[Hit]
    depths: list[int] = field(default_factory=list[int])

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        self.depths.append(k)
        return self.hits[:k]

    def ready(self) -> bool:
        return True


@control("retrieval:audit-before-answer")
def test_an_answer_whose_event_cannot_be_written_does_not_leave(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened):
        assert opened.retrieval.retrieve(ANN, ASK).results
        service = replace(opened.retrieval, recorder=replace(opened.retrieval.recorder, audit=BrokenAudit()))
        with pytest.raises(UnavailableError):
            service.retrieve(ANN, ASK)
        with pytest.raises(UnavailableError):
            service.retrieve(BEN, ASK)
        chunk = opened.retrieval.retrieve(ANN, ASK).results[0].chunk_id
        with pytest.raises(UnavailableError):
            service.chunk(ANN, chunk)


@control("retrieval:bounded-refill")
def test_a_store_full_of_stale_hits_costs_bounded_work_and_leaks_nothing(tmp_path: Path) -> None:
    with small_home(tmp_path / "home", documents=900) as (_, opened):
        with opened.reader.connect() as connection:
            c, d, a = t.chunk.c, t.document.c, t.acl_class.c
            third = sa.select(a.id).order_by(a.id).offset(2).limit(1).scalar_subquery()
            rows = connection.execute(
                sa.select(c.id).join(t.document, d.id == c.document_id).where(d.class_id == third)
            ).scalars()
            stale = [Hit(ChunkKey(key), 0.9) for key in rows]
        assert len(stale) > 200
        store = ScriptedStore(stale * 3)
        answer = replace(opened.retrieval, store=store).retrieve(ANN, ASK)
    assert not answer.results
    assert not answer.complete
    assert 1 < len(store.depths) <= REFILL_ROUNDS
    assert max(store.depths) <= MAX_CANDIDATES


class FailingStore:
    """A store that fails."""

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        raise StoreError("no connection")

    def ready(self) -> bool:
        return False


@control("acl:error-denies")
def test_a_failing_store_returns_nothing(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened), pytest.raises(StoreError):
        replace(opened.retrieval, store=FailingStore()).retrieve(ANN, ASK)


@dataclass(frozen=True)
class WrongCompiler:
    """A compiled path that is wrong, over the real authority."""

    inner: PolicyEngine
    change: Callable[[ReadView, Subject, ClassIds], ClassIds]

    @property
    def model_digest(self) -> str:
        return self.inner.model_digest

    def compile(self, view: ReadView, subject: Subject, action: str) -> CompiledScope:
        right = self.inner.compile(view, subject, action).classes
        return CompiledScope(self.change(view, subject, right), Micros(NOW + 1))

    def decide(self, subject: Subject, action: str, cls: AclClass, now: Micros) -> Decision:
        return self.inner.decide(subject, action, cls, now)


@dataclass(frozen=True)
class UnscopedStore:
    """A store that searches more than it was told to, as one that lags behind does."""

    inner: VectorStore
    classes: ClassIds

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        return self.inner.search(replace(scope, classes=self.classes), vector, k)

    def ready(self) -> bool:
        return True


def too_wide(view: ReadView, subject: Subject, right: ClassIds) -> ClassIds:
    return every_class(view, subject)


def every_class(view: ReadView, subject: Subject) -> ClassIds:
    return view.class_keys(subject.tenant, [SourceKey(1)], None)


def denied_to_ann(opened: Installation) -> list[list[object]]:
    """Class and reason of everything that Ann may not read, as an alarm lists them."""
    with opened.views.open() as view:
        tenant = opened.tenant_key("acme", view)
        subject = view.subject(tenant, ANN, "qa")
        classes = view.classes(tenant, (ClassKey(int(x)) for x in every_class(view, subject)))
        verdicts = {key: opened.policy.decide(subject, "read", cls, view.now) for key, cls in classes.items()}
    return [[int(key), x.reason.value] for key, x in sorted(verdicts.items()) if not x.allowed]


def alarms(home: FilledHome) -> tuple[AuditEvent, ...]:
    return tail(Home(home.root).audit, 1000, kind=PATHS_DISAGREE)


@control("acl:paths-agree", "acl:disagreement-recorded")
def test_a_compiled_path_that_is_too_wide_leaks_nothing_and_raises_an_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = RetrievalRequest(REQUEST, k=50)
    with small_home(tmp_path / "home") as (home, opened):
        honest = {x.chunk_id for x in opened.retrieval.retrieve(ANN, ask).results}
        assert not alarms(home)
        assert not any("alarm" in x for x in diagnose(opened).problems)
        service = replace(opened.retrieval, engine=WrongCompiler(opened.policy, too_wide))
        answer = service.retrieve(ANN, ask)
        assert {x.chunk_id for x in answer.results} == honest
        recorded = alarms(home)
        denied = denied_to_ann(opened)
        assert any(f"alarm {PATHS_DISAGREE}" in x for x in diagnose(opened).problems)
        last = tail(Home(home.root).audit, 1)[0]
    assert "paths_disagree" in capsys.readouterr().out
    assert recorded
    for event in recorded:
        assert event.body["decision"] == answer.decision_id
        assert event.body["subject"] == ANN.subject
        assert event.body["classes"] == denied
    assert (last.kind, last.event_id) == ("retrieve", answer.decision_id), "the alarm comes before the answer"


@control("acl:disagreement-recorded")
def test_a_compiled_path_that_is_too_narrow_raises_an_alarm_and_its_chunks_are_dropped(
    tmp_path: Path,
) -> None:
    ask = RetrievalRequest(REQUEST, k=50)

    def without_first(view: ReadView, subject: Subject, right: ClassIds) -> ClassIds:
        return right[1:]

    with small_home(tmp_path / "home") as (home, opened):
        with opened.views.open() as view:
            subject = view.subject(opened.tenant_key("acme", view), ANN, "qa")
            right, wide = opened.policy.compile(view, subject, "read").classes, every_class(view, subject)
        assert len(right) > 1
        store = UnscopedStore(opened.store, wide)
        honest = replace(opened.retrieval, store=store).retrieve(ANN, ask)
        assert not alarms(home), "a store that lags behind is no disagreement"
        engine = WrongCompiler(opened.policy, without_first)
        answer = replace(opened.retrieval, store=store, engine=engine).retrieve(ANN, ask)
        assert {x.chunk_id for x in answer.results} < {x.chunk_id for x in honest.results}
        assert [x.body["classes"] for x in alarms(home)] == [[[int(right[0]), "allowed"]]]


def test_what_the_filter_of_a_caller_excludes_is_no_disagreement(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (home, opened):
        with opened.views.open() as view:
            wide = every_class(view, view.subject(opened.tenant_key("acme", view), ANN, "qa"))
        service = replace(opened.retrieval, store=UnscopedStore(opened.store, wide))
        everything = {x.chunk_id for x in service.retrieve(ANN, replace(ASK, k=50)).results}
        narrowed = replace(ASK, k=50, filter=Filter(label_max=LABELS[0]))
        assert {x.chunk_id for x in service.retrieve(ANN, narrowed).results} < everything
        assert not alarms(home)


@control("acl:disagreement-recorded", "retrieval:audit-before-answer")
def test_an_alarm_that_cannot_be_written_stops_the_answer(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened):
        audit = NoAlarms(opened.audit)
        recorder = replace(opened.retrieval.recorder, audit=audit)
        assert replace(opened.retrieval, recorder=recorder).retrieve(ANN, ASK).results
        engine = WrongCompiler(opened.policy, too_wide)
        with pytest.raises(UnavailableError):
            replace(opened.retrieval, recorder=recorder, engine=engine).retrieve(ANN, replace(ASK, k=50))


@control("retrieval:stale-permissions")
def test_permissions_confirmed_too_long_ago_are_withheld(tmp_path: Path) -> None:
    clock = FixedClock()
    with small_home(tmp_path / "home", clock=clock) as (_, opened):
        assert opened.retrieval.retrieve(ANN, ASK).results
        with write(opened.engine) as connection:
            connection.execute(sa.update(t.source).values(max_acl_age=1_000_000))
        clock.at = NOW + 1_000_000
        assert opened.retrieval.retrieve(ANN, ASK).results, "as old as they may be"
        clock.at = NOW + 1_000_001
        assert not opened.retrieval.retrieve(ANN, ASK).results
        clock.at = NOW - 400_000_000
        assert not opened.retrieval.retrieve(ANN, ASK).results, (
            "a confirmation from the future is not believed"
        )


def test_permissions_that_were_never_confirmed_are_older_than_any_caller_accepts(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened):
        with write(opened.engine) as connection:
            connection.execute(sa.update(t.source).values(acl_as_of=1))
            connection.execute(sa.update(t.document).values(acl_as_of=1))
        with pytest.raises(StaleSourceError):
            opened.retrieval.retrieve(ANN, replace(ASK, max_staleness_s=86_400))


@control("retrieval:stale-permissions")
@pytest.mark.parametrize(
    ("confirmed", "stale"),
    [
        (NOW, False),
        (NOW - 10, False),
        (NOW - 11, True),
        (NOW + SKEW, False),
        (NOW + SKEW + 1, True),
        (0, True),
    ],
)
def test_permissions_are_believed_up_to_their_age_and_five_minutes_ahead(confirmed: int, stale: bool) -> None:
    assert is_stale(Micros(confirmed), Micros(10), Micros(NOW)) is stale


def test_a_caller_can_ask_for_fresher_permissions(tmp_path: Path) -> None:
    clock = FixedClock()
    with small_home(tmp_path / "home", clock=clock) as (_, opened):
        with write(opened.engine) as connection:
            connection.execute(sa.update(t.source).values(acl_as_of=NOW))
        clock.at = NOW + 60_000_000
        assert opened.retrieval.retrieve(ANN, replace(ASK, max_staleness_s=61)).results
        with pytest.raises(StaleSourceError):
            opened.retrieval.retrieve(ANN, replace(ASK, max_staleness_s=59))
        assert opened.retrieval.retrieve(ANN, replace(ASK, max_staleness_s=60)).results
        clock.at += 1
        with pytest.raises(StaleSourceError):
            opened.retrieval.retrieve(ANN, replace(ASK, max_staleness_s=60))
        # Ben may read nothing of that source: its age is none of his business.
        assert not opened.retrieval.retrieve(BEN, replace(ASK, max_staleness_s=59)).results


@control("retrieval:filter-narrows")
def test_an_empty_scope_covers_nothing(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (filled, opened), opened.views.open() as view:
        tenant = filled.stored.tenants["acme"]
        rows = list(view.chunk_rows(tenant, [ChunkKey(1), ChunkKey(2)]).values())
        assert len(rows) == 2
        assert within(AccessScope(tenant, np.empty(0, np.int64)), rows) == ()


class TrustsAsked:
    """What narrowing to trusted sources reads of a view."""

    trusts: frozenset[Trust] = frozenset()

    def class_keys(self, tenant: int, sources: None, labels: None, trusts: frozenset[Trust]) -> ClassIds:
        self.trusts = trusts
        return np.array([2, 3], np.int64)


@control("retrieval:filter-narrows")
def test_the_trusted_part_is_of_sources_inside_the_company() -> None:
    view = TrustsAsked()
    scope = AccessScope(TenantKey(1), np.array([1, 2], np.int64))
    assert trusted_part(view, scope).classes.tolist() == [2]  # type: ignore[arg-type]  # a part of a view
    assert view.trusts == {Trust.VERIFIED, Trust.INTERNAL}


@control("retrieval:filter-narrows")
@pytest.mark.parametrize(("after", "covered"), [(NOW - 1, True), (NOW, False), (NOW + 1, False)])
def test_a_store_that_lags_does_not_bypass_the_filter_by_date(
    tmp_path: Path, after: int, covered: bool
) -> None:
    with small_home(tmp_path / "home") as (filled, opened), opened.views.open() as view:
        tenant = filled.stored.tenants["acme"]
        rows = list(view.chunk_rows(tenant, [ChunkKey(1), ChunkKey(2)]).values())
        assert {x.modified_at for x in rows} == {NOW}
        classes = np.array(sorted({x.class_key for x in rows}), np.int64)
        found = within(AccessScope(tenant, classes, Micros(after)), rows)
        assert found == (tuple(rows) if covered else ())


@control("retrieval:filter-narrows")
def test_a_filter_only_ever_narrows(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened):
        everything = {
            x.chunk_id for x in opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=50)).results
        }
        filters = [
            Filter(frozenset({"wiki"})),
            Filter(frozenset({"wiki", "no-such-source"})),
            Filter(frozenset({"no-such-source"})),
            Filter(label_max="label 0"),
            Filter(label_max="label 40"),
            Filter(label_max="no such label"),
            Filter(modified_after=Micros(NOW - 1)),
            Filter(modified_after=Micros(NOW + 1)),
        ]
        sizes: list[int] = []
        for chosen in filters:
            answer = opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=50, filter=chosen))
            assert {x.chunk_id for x in answer.results} <= everything
            sizes.append(len(answer.results))
    full = len(everything)
    assert [sizes[0], sizes[1], sizes[2], sizes[4], sizes[5], sizes[6], sizes[7]] == [
        full,
        full,
        0,
        full,
        0,
        full,
        0,
    ]
    assert 0 < sizes[3] < full


@control("retrieval:filter-narrows")
def test_a_label_is_named_or_given_by_its_identifier_and_nothing_else(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened):

        def found(label_max: str) -> int:
            chosen = Filter(label_max=label_max)
            return len(opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=50, filter=chosen)).results)

        assert 0 < found("label 0") == found(LABELS[0]) == found(LABELS[0].upper())
        # Neither a beginning of a name nor one that sorts beside it.
        for unknown in ("label", "label 00", "LABEL 0", "", "~", LABELS[0][:-1]):
            assert found(unknown) == 0, unknown


def test_a_chunk_by_id_is_authorized_like_a_query(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (filled, opened):
        seen = {
            x.chunk_id: x.text
            for x in opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=50)).results
        }
        fetched = 0
        for chunk_id in (*filled.chunk_ids, "c_" + "0" * 32, "", "x"):
            if chunk_id in seen:
                answer = opened.retrieval.chunk(ANN, chunk_id)
                assert [x.text for x in answer.results] == [seen[chunk_id]]
                fetched += 1
            else:
                with pytest.raises(NotFoundError, match="no such chunk"):
                    opened.retrieval.chunk(ANN, chunk_id)
            with pytest.raises(NotFoundError, match="no such chunk"):
                opened.retrieval.chunk(BEN, chunk_id)
        assert 0 < fetched == len(seen)


def test_an_explanation_is_about_the_returned_chunks_only(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened):
        answer = opened.retrieval.retrieve(ANN, replace(ASK, explain=True))
        assert answer.results
        for result in answer.results:
            assert result.explanation is not None
            assert "group:g" in str(result.explanation)
            assert "group:other" not in str(result.explanation)
        plain = opened.retrieval.retrieve(ANN, ASK)
        assert all(result.explanation is None for result in plain.results)


@control("acl:empty-subject")
def test_unknown_denied_and_empty_answers_are_the_same(tmp_path: Path) -> None:
    strangers = ("user:nobody", "user:ben", "service:none", "group:g", "everyone", "app:a0")
    with small_home(tmp_path / "home") as (_, opened):
        answers = [
            opened.retrieval.retrieve(CallerIdentity("acme", principal_id("app:a0"), principal_id(who)), ASK)
            for who in strangers
        ]
        answers.append(
            opened.retrieval.retrieve(CallerIdentity("acme", principal_id("app:none"), ANN.subject), ASK)
        )
    shapes = {replace(answer, decision_id="", policy_version="") for answer in answers}
    assert len(shapes) == 1
    assert not shapes.pop().results


@control("retrieval:delegation-bound")
def test_who_is_not_the_last_hop_may_not_use_a_delegation(tmp_path: Path) -> None:
    with small_home(tmp_path / "home") as (_, opened):
        for delegation in ("g_unknown", ""):
            with pytest.raises(AuthenticationError):
                opened.retrieval.retrieve(
                    CallerIdentity("acme", principal_id("app:a0"), None, delegation), ASK
                )
        with pytest.raises(AuthenticationError):
            opened.retrieval.retrieve(CallerIdentity("acme", principal_id("agent:x"), ANN.subject), ASK)
        with pytest.raises(AuthenticationError):
            opened.retrieval.retrieve(CallerIdentity("no-tenant", principal_id("app:a0"), ANN.subject), ASK)


@control("retrieval:text-through-one-door")
def test_only_the_named_modules_read_the_text_of_chunks() -> None:
    """Retrieval reads text through `chunk_rows`, reviewers through `maintenance_text`; nobody else reads it."""
    text_readers: set[str] = set()
    row_readers: set[str] = set()
    for package in ("secure_rag", "acl", "ingestion", "api"):
        for path in (ROOT / package).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and node.attr in ("chunk_rows", "CHUNK_ROWS"):
                    row_readers.add(name)
                if (
                    isinstance(node, ast.Attribute)
                    and node.attr == "text"
                    and re.search(r"\bt\.chunk\b", source)
                ):
                    text_readers.add(name)
            if "FROM chunk" in source or "JOIN chunk" in source:
                text_readers.add(name)
    assert row_readers == {"secure_rag/retrieval/authorize.py", "secure_rag/database/views.py"}
    assert text_readers == {
        "secure_rag/database/statements.py",  # CHUNK_ROWS
        "secure_rag/database/views.py",  # chunk_rows, which runs it
        "secure_rag/database/documents.py",  # writes it
        "secure_rag/database/quarantine.py",  # maintenance_text
    }
