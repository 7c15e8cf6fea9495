"""Whole explanations: paths, origins, the past from the history, and pages of lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_rag.database.document_facts import document_facts
from secure_rag.database.documents import Permission, put_permission
from secure_rag.database.engine import write
from secure_rag.database.interning import intern_class
from secure_rag.database.revocations import lift, revoke
from secure_rag.database.views import Views
from secure_rag.errors import InvalidRequestError
from secure_rag.model.decisions import Reason
from secure_rag.model.ids import NEVER, Compartment, LabelId, Micros, PrincipalId
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock, canonical_locks
from secure_rag.model.permissions import Origin, canonical_origins, origins_from_json, origins_to_json
from secure_rag.model.subject import CallerIdentity
from secure_rag_acl.access_lists import ReadersPage, readers_page
from secure_rag_acl.access_pages import after, cursor
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.explain_account import Account, Control, SourceEntry
from secure_rag_acl.explain_document import Question, explain_document
from secure_rag_acl.explain_sight import FULL, UNNAMED, Sight
from tests.controls import control
from tests.unit.acl.homes import GUIDS, directory, new_place
from tests.unit.acl.test_explain import Corpus

NAME = "wiki/plans/a.md"
USERS = """\
  - {id: user:ann, kind: member, clearance: Internal, compartments: [heron]}
  - {id: user:gus, kind: member, clearance: Internal, compartments: [heron]}
"""
NESTED = """\
  - {id: group:hr, members: [group:team-7]}
  - {id: group:team-7, members: [user:ann]}
  - {id: group:layoffs, members: [user:gus]}
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    place = new_place(tmp_path)
    place.load(directory(USERS, NESTED))
    found = Corpus(place)
    _guard(found, "hr.yaml:12")
    yield found
    place.engine.dispose()


def _guard(corpus: Corpus, place: str, *, label: str = GUIDS[1]) -> None:
    lock = Lock.of([(corpus.who("group:hr"), NEVER)], [corpus.who("group:layoffs")])
    cls = AclClass(
        corpus.tenant,
        canonical_locks([lock]),
        LabelId(label),
        frozenset({Compartment("heron")}),
        Trust.INTERNAL,
        corpus.source,
    )
    origins = [
        Origin(0, "allow", "HR Team", place, "group:hr"),
        Origin(0, "deny", "Leavers", place, "group:layoffs"),
    ]
    stored = origins_to_json(canonical_origins([lock], origins))
    with write(corpus.place.engine) as connection:
        permission = Permission(intern_class(connection, cls), place.encode(), stored, "[]", corpus.now)
        put_permission(connection, corpus.key, permission, corpus.now)


def _ask(corpus: Corpus, who: str, *, at: int | None = None, sight: Sight = FULL) -> Account:
    identity = CallerIdentity("acme", PrincipalId("app:chat"), PrincipalId(who))
    asked = Question(identity, "qa", None if at is None else Micros(at), frozenset({who, "app:chat"}))
    with Views(corpus.place.engine, lambda: corpus.now).open() as view:
        facts = document_facts(view, corpus.tenant, NAME)
        assert facts is not None
        return explain_document(view, CasbinEngine(), corpus.tenant, facts, asked, sight)


@control("acl:explain-agrees")
def test_a_lock_opens_through_an_entry_with_its_path_and_origin(corpus: Corpus) -> None:
    (lock,) = _ask(corpus, "user:ann").locks
    (entry,) = lock.opens_through
    assert entry.path == ("user:ann", "group:team-7", "group:hr")
    assert entry.origins == (SourceEntry("HR Team", "hr.yaml:12"),)
    (lock,) = _ask(corpus, "user:gus").locks
    (entry,) = lock.closed_by
    assert entry.path == ("user:gus", "group:layoffs")
    assert entry.origins == (SourceEntry("Leavers", "hr.yaml:12"),)


@control("acl:explain-repairs")
def test_a_repair_names_the_line_of_the_source(corpus: Corpus) -> None:
    denied = _ask(corpus, "user:gus")
    assert (denied.reason, denied.failing) == (Reason.DENIED, Control.DENIES)
    assert [x.says for x in denied.repairs] == [
        "lock 1: remove the deny of group:layoffs at hr.yaml:12, or take user:gus out of it"
    ]
    corpus.place.load(directory(USERS, NESTED.replace("[user:gus]", "[]")))
    missing = _ask(corpus, "user:gus")
    assert missing.reason is Reason.NOT_ON_LIST
    assert [x.says for x in missing.repairs] == [
        "lock 1: add user:gus to the allow list at hr.yaml:12, or to group:hr"
    ]
    _guard(corpus, "hr.yaml:13", label=GUIDS[2])
    low = _ask(corpus, "user:ann")
    assert [x.says for x in low.repairs] == ["give user:ann clearance Secret, or the document a lower label"]


@control("acl:explain-own-sources")
def test_groups_in_between_are_named_only_to_who_may_expand(corpus: Corpus) -> None:
    account = _ask(corpus, "user:ann", sight=Sight(act_as=False, expand=False))
    (entry,) = account.locks[0].opens_through
    assert entry.path == ("user:ann", UNNAMED, "group:hr")
    assert account.hops[0].ceilings is None
    assert "Internal" in next(x.says for x in account.steps if x.control is Control.LABEL)
    assert "clearance Internal" not in str(account)
    assert "team-7" not in str(account)


@control("acl:explain-past")
def test_the_past_is_told_from_the_history(corpus: Corpus) -> None:
    begun = corpus.now
    corpus.place.load(directory(USERS.replace("Internal", "Public"), NESTED))
    lowered = corpus.now
    corpus.place.load(directory(USERS, NESTED.replace("[user:ann]", "[]")))
    left = corpus.now
    corpus.place.load(directory(USERS.replace("[heron]", "[]"), NESTED))
    outside = corpus.now
    corpus.place.load(directory(USERS, NESTED))
    _guard(corpus, "hr.yaml:99", label=GUIDS[2])
    expected = {begun: Reason.ALLOWED, lowered: Reason.LABEL, left: Reason.NOT_ON_LIST}
    expected |= {outside: Reason.COMPARTMENT}
    for at, reason in expected.items():
        account = _ask(corpus, "user:ann", at=at)
        assert (account.reason, account.past) == (reason, True), at
        assert account.no_history[-1].startswith("entries of the source")
        assert "hr.yaml:99" not in str(account)
    assert _ask(corpus, "user:ann").reason is Reason.LABEL
    assert _ask(corpus, "user:ann").no_history == ()
    assert _ask(corpus, "user:ann", at=begun - 10**9).reason is Reason.NOT_INDEXED


@control("acl:explain-past")
def test_a_revocation_of_the_past_is_in_the_explanation_of_its_time_only(corpus: Corpus) -> None:
    at = corpus.now
    with write(corpus.place.engine) as connection:
        made = revoke(
            connection, corpus.tenant, principal=PrincipalId("user:ann"), source=None, document=NAME,
            by=PrincipalId("user:officer"), reason="", now=at,
        )  # fmt: skip
    corpus.place.now += 1_000_000
    with write(corpus.place.engine) as connection:
        lift(connection, corpus.tenant, made, "user:other", corpus.now)
    assert _ask(corpus, "user:ann").allowed
    then = _ask(corpus, "user:ann", at=at)
    assert (then.reason, then.failing) == (Reason.REVOKED, Control.DOCUMENT_REVOCATIONS)
    assert then.repairs[0].values == (made,)


@control("acl:access-lists-exact")
def test_pages_join_to_the_whole_list_in_order(corpus: Corpus) -> None:
    people = [f"user:p{n:02}" for n in range(25)]
    users = "\n".join(
        f"  - {{id: {x}, kind: member, clearance: Internal, compartments: [heron]}}" for x in people
    )
    corpus.place.load(
        directory(
            users,
            f"  - {{id: group:hr, members: [{', '.join(people)}]}}\n  - {{id: group:layoffs, members: []}}",
        )
    )
    whole = _page(corpus, 500, None)
    assert ([x.principal for x in whole.readers], whole.total, whole.next) == (people, 25, None)
    found, at, pages = list[str](), None, 0
    while pages == 0 or at is not None:
        page = _page(corpus, 10, at)
        found += [x.principal for x in page.readers]
        at, pages = page.next, pages + 1
        assert page.total == 25
    assert (found, pages) == (people, 3)


def _page(corpus: Corpus, limit: int, at: str | None) -> ReadersPage:
    with Views(corpus.place.engine, lambda: corpus.now).open() as view:
        facts = document_facts(view, corpus.tenant, NAME)
        assert facts is not None
        return readers_page(
            view, CasbinEngine(), corpus.tenant, "acme", facts,
            expanded=True, purpose="qa", limit=limit, cursor=at,
        )  # fmt: skip


@pytest.mark.parametrize(
    "given", ["", "???", "e30=", cursor(("a",)), "W10", "[" * 300, cursor(("a", "b", "c"))]
)
def test_a_cursor_of_something_else_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequestError):
        after(given, 2)
    assert after(None, 2) == ()
    assert after(cursor(("a", "b")), 2) == ("a", "b")


def test_origins_keep_whom_they_mean_and_read_what_was_stored_before() -> None:
    origins = (
        Origin(0, "allow", "HR Team", "hr.yaml:12", "group:hr"),
        Origin(0, "deny", "Nobody", "hr.yaml:13"),
    )
    read = origins_from_json(origins_to_json(origins))
    assert [x.principal for x in read] == ["group:hr", ""]
    assert origins_from_json('[[0,"allow","HR Team","hr.yaml:12"]]')[0].principal == ""
