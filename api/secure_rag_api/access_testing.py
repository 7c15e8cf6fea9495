"""Access tests against what is stored, as a gate before a plan takes effect, and against mappings that lack a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.delegations import Limits, create_delegation, revoke_delegation
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.database.views import ReadView
from secure_rag.errors import ConfigError
from secure_rag.model.decisions import Answer, Reason
from secure_rag.model.ids import ClassKey, Micros, PrincipalId, PrincipalKey, TenantKey
from secure_rag.model.locks import AclClass
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.retrieval.authorize import READ
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_acl.access_tests import AccessTest, Failure, matching, of_tenant, parse_access_tests
from secure_rag_acl.policy_files import TESTS, newest

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_SHOWN: Final = 3
_K: Final = 20
_MINUTE: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class Results:
    """How tests ended. `idle`: tests that prove nothing, since what they name is not there."""

    run: int
    failures: tuple[Failure, ...]
    idle: tuple[Failure, ...] = ()


@dataclass
class AccessTester:
    """Decides tests in one view. `classes` holds the class of every document by `source/native id`."""

    opened: Installation
    view: ReadView
    tenant: TenantKey
    tenant_name: str
    classes: Mapping[str, AclClass]
    doubtful: frozenset[PrincipalKey] = frozenset()
    """Keys of principals that the database does not have."""
    _subjects: dict[tuple[object, ...], Subject] = field(default_factory=dict[tuple[object, ...], Subject])
    _reasons: dict[tuple[object, ...], Reason] = field(default_factory=dict[tuple[object, ...], Reason])

    def run(self, tests: Sequence[AccessTest]) -> Results:
        """Decide what each test says about rights."""
        failures: list[Failure] = []
        idle: list[Failure] = []
        for test in tests:
            failures += self._unknown(test) or self._rights(test)
            idle += [Failure(test.id, "names no document", (x,)) for x in test.unseen if not self._named(x)]
        return Results(len(tests), tuple(failures), tuple(idle))

    def caller(self, test: AccessTest) -> CallerIdentity:
        """Who asks for whom, without the agent in between.

        Raises:
            ConfigError: the tenant has not exactly one application, and the test names none.
        """
        return CallerIdentity(self.tenant_name, test.app or self._application(test), test.subject)

    def with_classes(
        self, changed: Mapping[str, AclClass], doubtful: frozenset[PrincipalKey]
    ) -> AccessTester:
        """The same view with other classes of some documents."""
        return AccessTester(
            self.opened, self.view, self.tenant, self.tenant_name, {**self.classes, **changed}, doubtful
        )

    # ---- rights

    def _unknown(self, test: AccessTest) -> list[Failure]:
        """Nobody sees anything as somebody who is not there: such a test would hold whatever the mappings say."""
        found: list[Failure] = []
        for name in (test.subject, test.agent, test.app):
            row = None if name is None else self.view.principal(self.tenant, name)
            if name is not None and (row is None or not row.active):
                found.append(Failure(test.id, f"the directory does not have {name} as active"))
        return found

    def _rights(self, test: AccessTest) -> Iterator[Failure]:
        for pattern in test.seen:
            named = self._named(pattern)
            if not named:
                yield Failure(test.id, "must be seen, and is no document", (pattern,))
            closed = [x for x in named if not self._may(test, x)]
            if closed:
                why = f"{test.subject} must see it and may not ({self._reason(test, closed[0])})"
                yield Failure(test.id, why, tuple(closed[:_SHOWN]))
        for pattern in test.unseen:
            opened = [x for x in self._named(pattern) if self._may(test, x)]
            if opened:
                yield Failure(test.id, f"{test.subject} must not see it and may", tuple(opened[:_SHOWN]))

    def _named(self, pattern: str) -> list[str]:
        return matching(pattern, self.classes)

    def _may(self, test: AccessTest, document: str) -> bool:
        return self._reason(test, document) is Reason.ALLOWED

    def _reason(self, test: AccessTest, document: str) -> Reason:
        subject, cls = self._subject(test), self.classes[document]
        key = (self._key(test), cls)
        if key not in self._reasons:
            decided = self.opened.policy.decide(subject, READ, cls, self.view.now)
            # An allow is one whatever its reason says, and the other way round.
            self._reasons[key] = Reason.ALLOWED if decided.allowed else decided.reason
        return self._reasons[key]

    def _subject(self, test: AccessTest) -> Subject:
        key = self._key(test)
        if key not in self._subjects:
            subject = self.view.subject(self.tenant, self.caller(test), test.purpose)
            if test.agent is not None:
                subject = self._through(subject, test.agent, test.purpose)
            uncertain = subject.uncertain | self.doubtful
            self._subjects[key] = replace(subject, uncertain=uncertain)
        return self._subjects[key]

    def _through(self, subject: Subject, agent: PrincipalId, purpose: str) -> Subject:
        """The same person with an agent as last hop: what a delegation without limits of its own would give."""
        itself = self.view.subject(self.tenant, CallerIdentity(self.tenant_name, agent, agent), purpose)
        return replace(
            subject,
            hops=(*subject.hops, *itself.hops),
            revoked=subject.revoked or itself.revoked,
            revoked_sources=subject.revoked_sources | itself.revoked_sources,
        )

    @staticmethod
    def _key(test: AccessTest) -> tuple[object, ...]:
        return test.subject, test.agent, test.app, test.purpose

    def _application(self, test: AccessTest) -> PrincipalId:
        p = t.principal.c
        names = self.view._connection.execute(
            sa.select(p.name).where(p.tenant_id == self.tenant, p.kind == "app", p.state == "active").limit(2)
        ).scalars()
        found = [PrincipalId(x) for x in names]
        if len(found) != 1:
            raise ConfigError(f"access test {test.id!r}: name the application with `app:`")
        return found[0]


def tester(opened: Installation, view: ReadView, tenant: TenantKey, tenant_name: str) -> AccessTester:
    """A tester of what is stored."""
    keys = documents_of(view._connection, tenant)
    classes = view.classes(tenant, set(keys.values()))
    return AccessTester(opened, view, tenant, tenant_name, {name: classes[key] for name, key in keys.items()})


def documents_of(connection: sa.Connection, tenant: TenantKey) -> dict[str, ClassKey]:
    """Class of every document of a tenant by `source/native id`."""
    d, s = t.document.c, t.source.c
    rows = connection.execute(
        sa.select(s.name, d.native_id, d.class_id)
        .join(t.source, s.id == d.source_id)
        .where(d.tenant_id == tenant, d.class_id.is_not(None), d.state != int(DocumentState.DELETED))
        .order_by(s.name, d.native_id)
    ).all()
    return {f"{source}/{native_id}": ClassKey(key) for source, native_id, key in rows}


def stored_tests(connection: sa.Connection, tenant: TenantKey, tenant_name: str) -> list[AccessTest]:
    """Tests that somebody stored for a tenant or a source of it.

    Raises:
        ConfigError: a stored file does not fit any more.
    """
    found: list[AccessTest] = []
    for file in newest(connection, tenant, TESTS):
        name = f"{file.scope} v{file.n}"
        found += of_tenant(parse_access_tests(file.bundle.text.encode("utf-8"), name), tenant_name)
    return found


def stored_failures(
    opened: Installation, connection: sa.Connection, tenant: TenantKey, tenant_name: str, now: Micros
) -> list[str]:
    """Stored tests that do not hold in a transaction: the gate of a plan. They are asked about rights alone.

    Raises:
        ConfigError: a stored file does not fit any more.
    """
    tests = stored_tests(connection, tenant, tenant_name)
    if not tests:
        return []
    found = tester(opened, ReadView(connection, now), tenant, tenant_name).run(tests)
    return [str(x) for x in found.failures]


def ask_queries(opened: Installation, asking: AccessTester, tests: Sequence[AccessTest]) -> list[Failure]:
    """Ask the queries of tests, and look at the answers.

    Raises:
        UnavailableError: it could not be answered.
    """
    names = {public: name for name, public in _public_ids(asking)}
    failures: list[Failure] = []
    for test in tests:
        if test.query is not None:
            answer = _asked(opened, asking, test)
            got = [names.get(x.document_id, x.document_id) for x in answer.results]
            failures += [
                Failure(test.id, "must be in the answer and is not", (x,))
                for x in test.seen
                if not matching(x, got)
            ]
            failures += [
                Failure(test.id, "is in the answer and must not be", tuple(hits[:_SHOWN]))
                for x in test.unseen
                if (hits := matching(x, got))
            ]
    return failures


def _asked(opened: Installation, asking: AccessTester, test: AccessTest) -> Answer:
    caller = asking.caller(test)
    request = RetrievalRequest(query=test.query or "", k=_K, purpose=test.purpose)
    if test.agent is None:
        return opened.retrieval.retrieve(caller, request)
    now = opened.clock.now()
    with write(opened.engine) as connection:
        made = create_delegation(
            connection,
            asking.tenant,
            creator=caller.caller,
            agent=test.agent,
            subject=test.subject,
            parent=None,
            limits=Limits(),
            now=now,
            expires=Micros(now + _MINUTE),
        )
        body = {"creator": caller.caller, "agent": test.agent, "subject": test.subject, "test": test.id}
        opened.audit.record(asking.tenant_name, "delegation_created", made, body)
    try:
        through = CallerIdentity(asking.tenant_name, test.agent, None, made)
        return opened.retrieval.retrieve(through, request)
    finally:
        with write(opened.engine) as connection:
            revoke_delegation(connection, asking.tenant, made, opened.clock.now())


def _public_ids(asking: AccessTester) -> list[tuple[str, str]]:
    d, s = t.document.c, t.source.c
    rows = asking.view._connection.execute(
        sa.select(s.name, d.native_id, d.public_id)
        .join(t.source, s.id == d.source_id)
        .where(d.tenant_id == asking.tenant)
    ).all()
    return [(f"{source}/{native_id}", str(public)) for source, native_id, public in rows]


def sources_of(connection: sa.Connection, tenant: TenantKey) -> dict[str, tuple[int, Path]]:
    """Key and manifest of every source by name."""
    s = t.source.c
    rows = connection.execute(sa.select(s.name, s.id, s.manifest).where(s.tenant_id == tenant)).all()
    return {str(name): (int(key), Path(manifest)) for name, key, manifest in rows}
