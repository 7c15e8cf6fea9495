"""Runs scenarios against an opened installation through the same query flow that serves HTTP."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.delegations import Limits, create_delegation
from secure_rag.database.engine import write
from secure_rag.errors import SecureRagError
from secure_rag.model.decisions import Answer, Notice, Reason
from secure_rag.model.ids import Micros, PrincipalId, principal_id
from secure_rag.model.labels import Trust
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.retrieval.why import why_withheld
from secure_rag_api.demo.changes import Undo, apply_change
from secure_rag_api.demo.scenarios import Scenario, Step

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView
    from secure_rag_api.wiring import Installation

_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came back for one step, and what is wrong with it."""

    step: Step
    returned: tuple[str, ...]
    held_back: dict[str, Reason]
    notices: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """A scenario passes when every step did."""

    scenario: Scenario
    steps: tuple[StepResult, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not any(step.failures for step in self.steps)


def run_scenario(opened: Installation, scenario: Scenario) -> ScenarioResult:
    """Run every step in order; changes of the world are undone afterwards, whatever happens."""
    with _undoing(opened) as undos:
        return ScenarioResult(
            scenario, tuple(_step(opened, scenario, step, undos) for step in scenario.steps)
        )


@contextmanager
def _undoing(opened: Installation) -> Generator[list[Undo]]:
    undos: list[Undo] = []
    try:
        yield undos
    finally:
        with write(opened.engine) as connection:
            for undo in reversed(undos):
                undo(connection, opened.clock.now())


def _step(opened: Installation, scenario: Scenario, step: Step, undos: list[Undo]) -> StepResult:
    with write(opened.engine) as connection:
        undos += [apply_change(connection, step.tenant, change, opened.clock.now()) for change in step.before]
    caller = _caller(opened, step)
    request = RetrievalRequest(
        query=step.query,
        k=step.k,
        purpose=step.purpose,
        context_id=None if step.context is None else f"{scenario.id}:{step.context}",
    )
    try:
        answer = opened.retrieval.retrieve(caller, request)
    except SecureRagError as error:
        return StepResult(step, (), {}, (), (f"no answer: {error}",))
    paths = _paths(opened, answer)
    returned = tuple(dict.fromkeys(paths))
    held_back = _held_back(opened, step, caller, returned, answer)
    failures = (*_failures(step, answer, returned, held_back), *_flag_failures(step, answer, paths))
    return StepResult(step, returned, held_back, tuple(x.value for x in answer.notices), failures)


def _failures(
    step: Step, answer: Answer, returned: tuple[str, ...], held_back: dict[str, Reason]
) -> Iterator[str]:
    yield from (f"missing: {path}" for path in step.must_return if path not in returned)
    yield from (f"LEAKED: {path}" for path in step.must_not_return if path in returned)
    if step.empty and answer.results:
        yield f"not empty: {', '.join(returned)}"
    yield from (f"no notice {notice.value}" for notice in step.notices if notice not in answer.notices)
    # What was only less near than others proves nothing: it would come back for another question.
    by_chance = [x for x in step.must_not_return if held_back.get(x) is Reason.ALLOWED]
    yield from (f"nothing held it back: {path}" for path in by_chance)
    for path, reason in step.why.items():
        found = held_back.get(path)
        if found is not reason:
            yield f"{path}: held back for {'nothing' if found is None else found.value}, expected {reason.value}"


def _flag_failures(step: Step, answer: Answer, paths: list[str]) -> Iterator[str]:
    for path, flags in step.flags.items():
        found = {
            flag
            for x, result in zip(paths, answer.results, strict=True)
            if x == path
            for flag in result.flags
        }
        yield from (f"{path}: not flagged {flag}" for flag in flags if flag not in found)


def _held_back(
    opened: Installation, step: Step, caller: CallerIdentity, returned: tuple[str, ...], answer: Answer
) -> dict[str, Reason]:
    """Why each document that the scenario names is not in the answer, as an auditor sees it.

    `ALLOWED` means that nothing held it back: others were nearer, or it was a copy of one of them.
    """
    named = [
        x for x in dict.fromkeys((*step.must_not_return, *step.why, *step.must_return)) if x not in returned
    ]
    with opened.views.open() as view:
        tenant = opened.tenant_key(step.tenant, view)
        subject = view.subject(tenant, caller, step.purpose)
        found = {path: why_withheld(view, opened.policy, subject, *path.split("/", 1)) for path in named}
        apart = [
            path
            for path, reason in found.items()
            if reason is Reason.ALLOWED and _kept_apart(view, subject, path, answer)
        ]
    return found | dict.fromkeys(apart, Reason.MIXED_TRUST)


def _kept_apart(view: ReadView, subject: Subject, path: str, answer: Answer) -> bool:
    """Whether a document is of the side that the answer says was left out."""
    status = view.document_status(subject.tenant, *path.split("/", 1))
    if status is None or status.class_key is None:
        return False
    cls = view.classes(subject.tenant, [status.class_key])[status.class_key]
    taxonomy = subject.taxonomy
    confidential = taxonomy.rank_of_content(cls.label) >= taxonomy.rank_of_content(taxonomy.mix_threshold)
    return (cls.trust is Trust.EXTERNAL and Notice.EXTERNAL_WITHHELD in answer.notices) or (
        confidential and Notice.CONFIDENTIAL_WITHHELD in answer.notices
    )


def _caller(opened: Installation, step: Step) -> CallerIdentity:
    app, subject = principal_id(step.app), principal_id(step.asked_as)
    if not step.through:
        return CallerIdentity(step.tenant, app, subject)
    parent: str | None = None
    creator: PrincipalId = app
    now = opened.clock.now()
    tenant = opened.tenant_key(step.tenant)
    for name in step.through:
        agent = principal_id(name)
        with write(opened.engine) as connection:
            parent = create_delegation(
                connection,
                tenant,
                creator=creator,
                agent=agent,
                subject=subject if parent is None else None,
                parent=parent,
                limits=Limits(),
                now=now,
                expires=Micros(now + _HOUR),
            )
        creator = agent
    return CallerIdentity(step.tenant, creator, None, parent)


def _paths(opened: Installation, answer: Answer) -> list[str]:
    """`SOURCE/path` of each result; callers never see native ids, the operator of the demo may."""
    d = t.document.c
    ids = [result.document_id for result in answer.results]
    with opened.reader.connect() as connection:
        rows = connection.execute(
            sa.select(d.public_id, d.native_id, t.source.c.name)
            .join(t.source, t.source.c.id == d.source_id)
            .where(d.public_id.in_(ids))
        ).all()
    names = {row.public_id: f"{row.name}/{row.native_id}" for row in rows}
    return [names[x] for x in ids]
