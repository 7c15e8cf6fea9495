"""Compiled scopes: what is cached, for how long, and what drops it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from secure_rag.errors import PolicyError
from secure_rag.model.ids import NEVER, ClassKey, Micros, TenantKey
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import Subject
from secure_rag.ports import CompiledScope
from secure_rag_acl.compiler import CompiledClasses
from secure_rag_acl.policy import EXPECTED_ROWS
from secure_rag_acl.scopes import MAX_BYTES, MAX_ENTRIES, ScopeCache, ScopeCompiler
from tests.controls import control
from tests.support.decided import FrozenView
from tests.unit.acl.samples import CLASS, EVERYONE, GROUP, HIGH, LOW, NOW, OTHER, SUBJECT, TAXONOMY


class CountingView(FrozenView):
    """Counts how often classes are read."""

    def __init__(self, classes: Sequence[AclClass], now: int = NOW, generation: str = "g") -> None:
        super().__init__(classes, now, generation)
        self.read: list[int] = []

    def classes_after(self, tenant: TenantKey, key: ClassKey) -> list[AclClass]:
        found = super().classes_after(tenant, key)
        self.read.append(len(found))
        return found


def compiler(cache: ScopeCache | None = None) -> ScopeCompiler:
    return ScopeCompiler(EXPECTED_ROWS, "digest", cache)


def compiled(
    scopes: ScopeCompiler, view: FrozenView, subject: Subject = SUBJECT, action: str = "read"
) -> CompiledScope:
    return scopes.compile(view, subject, action)  # type: ignore[arg-type]  # the part of a view that compiling reads


def numbered(*locks: Lock) -> list[AclClass]:
    return [replace(CLASS, locks=(lock,), key=ClassKey(n)) for n, lock in enumerate(locks, 1)]


OPEN = CLASS.locks[0]
SHUT = Lock(frozenset({(OTHER, NEVER)}))


def test_a_scope_is_sorted_typed_and_cannot_be_written() -> None:
    scope = compiled(compiler(), FrozenView(numbered(OPEN, SHUT, OPEN), NOW))
    assert scope.classes.tolist() == [1, 3]
    assert scope.classes.dtype == np.int64
    assert scope.valid_until == NEVER
    with pytest.raises(ValueError, match="read-only"):
        scope.classes[0] = 7


@control("acl:cache-by-content")
def test_the_same_content_is_compiled_once() -> None:
    scopes, view = compiler(), CountingView(numbered(OPEN))
    first = compiled(scopes, view)
    assert compiled(scopes, view) is first
    assert compiled(scopes, view, replace(SUBJECT, closure=frozenset(SUBJECT.closure))) is first
    assert view.read == [1]


@control("acl:cache-by-content")
@pytest.mark.parametrize(
    "changed",
    [
        replace(SUBJECT, closure=SUBJECT.closure | {OTHER}),
        replace(SUBJECT, clearance=LOW),
        replace(SUBJECT, compartments=frozenset()),
        replace(SUBJECT, purpose="audit"),
        replace(SUBJECT, hops=SUBJECT.hops * 2),
        replace(SUBJECT, hops=(replace(SUBJECT.hops[0], expires=Micros(NOW + 1)),)),
        replace(SUBJECT, uncertain=frozenset({GROUP})),
        replace(SUBJECT, everyone=GROUP),
        replace(SUBJECT, taxonomy=replace(TAXONOMY, version=2)),
    ],
)
def test_other_content_is_compiled_anew(changed: Subject) -> None:
    scopes, view = compiler(), FrozenView(numbered(OPEN), NOW)
    assert compiled(scopes, view, changed) is not compiled(scopes, view)


@control("acl:cache-by-content")
def test_another_action_class_or_tenant_is_another_scope() -> None:
    scopes, classes = compiler(), numbered(OPEN)
    scope = compiled(scopes, FrozenView(classes, NOW))
    assert compiled(scopes, FrozenView(classes, NOW), action="write") is not scope
    more = [*classes, replace(CLASS, key=ClassKey(2))]
    assert compiled(scopes, FrozenView(more, NOW)).classes.tolist() == [1, 2]
    assert (
        compiled(scopes, FrozenView(classes, NOW), replace(SUBJECT, tenant=TenantKey(2))).classes.tolist()
        == []
    )


@control("acl:cache-by-content", "acl:allow-expiry")
def test_a_scope_ends_with_its_first_entry() -> None:
    ends = Micros(NOW + 60_000_000)
    scopes = compiler()
    classes = numbered(Lock(frozenset({(GROUP, ends)})), OPEN)
    first = compiled(scopes, FrozenView(classes, NOW))
    assert (first.classes.tolist(), first.valid_until) == ([1, 2], ends)
    assert compiled(scopes, FrozenView(classes, ends - 1)) is first
    assert compiled(scopes, FrozenView(classes, ends)).classes.tolist() == [2]
    again = compiler()
    compiled(again, FrozenView(classes, NOW))
    assert compiled(again, FrozenView(classes, ends + 1)).classes.tolist() == [2]


@control("acl:cache-by-content")
def test_a_clock_that_goes_back_is_answered_for_its_own_time() -> None:
    ends = Micros(NOW + 60_000_000)
    scopes, classes = compiler(), numbered(Lock(frozenset({(GROUP, ends)})))
    assert compiled(scopes, FrozenView(classes, ends)).classes.tolist() == []
    assert compiled(scopes, FrozenView(classes, ends - 1)).classes.tolist() == [1]


def test_new_classes_are_appended_and_old_views_do_not_see_them() -> None:
    scopes, classes = compiler(), numbered(OPEN, OPEN, OPEN)
    assert compiled(scopes, CountingView(classes[:1])).classes.tolist() == [1]
    newer = CountingView(classes)
    assert compiled(scopes, newer).classes.tolist() == [1, 2, 3]
    assert newer.read == [2]
    older = CountingView(classes[:2])
    assert compiled(scopes, older).classes.tolist() == [1, 2]
    assert older.read == []


@control("acl:restore-drops-index")
def test_another_generation_means_other_classes() -> None:
    """After a restore the same ids may stand for other classes; nothing of before may be used."""
    scopes = compiler()
    assert compiled(scopes, FrozenView(numbered(OPEN, OPEN), NOW, "before")).classes.tolist() == [1, 2]
    assert compiled(scopes, FrozenView(numbered(SHUT, OPEN), NOW, "after")).classes.tolist() == [2]
    assert compiled(scopes, FrozenView(numbered(OPEN, OPEN), NOW, "before")).classes.tolist() == [1, 2]


def test_an_index_is_built_once_per_generation() -> None:
    """Generations are read anew each time: equal, but not the same object."""
    scopes, classes = compiler(), numbered(OPEN, OPEN)
    views = [CountingView(classes, NOW, "".join(("g", "1"))) for _ in range(2)]
    compiled(scopes, views[0])
    compiled(scopes, views[1], replace(SUBJECT, purpose="audit"))
    assert [view.read for view in views] == [[2], []]


def test_the_cache_is_bounded_by_number_and_size() -> None:
    few = ScopeCache(max_entries=2)
    scopes, view = compiler(few), FrozenView(numbered(OPEN), NOW)
    people = [replace(SUBJECT, purpose=name) for name in ("a", "b", "c")]
    first = compiled(scopes, view, people[0])
    compiled(scopes, view, people[1])
    assert compiled(scopes, view, people[0]) is first  # used last, so it stays
    compiled(scopes, view, people[2])
    assert len(few) == 2
    assert compiled(scopes, view, people[0]) is first
    assert (MAX_ENTRIES, MAX_BYTES) == (2_048, 32 * 1_024 * 1_024)
    small = ScopeCache(max_bytes=15)
    scopes = compiler(small)
    compiled(scopes, FrozenView(numbered(OPEN), NOW))
    assert len(small) == 1
    compiled(scopes, FrozenView(numbered(OPEN, OPEN), NOW))
    assert len(small) == 0


@pytest.mark.parametrize("bad", ["tenant", "order", "twice"])
def test_an_index_takes_only_what_follows(bad: str) -> None:
    index = CompiledClasses(TenantKey(1), EXPECTED_ROWS)
    index.extend([replace(CLASS, key=ClassKey(5))])
    wrong = {
        "tenant": replace(CLASS, key=ClassKey(6), tenant=TenantKey(2)),
        "order": replace(CLASS, key=ClassKey(4)),
        "twice": replace(CLASS, key=ClassKey(5)),
    }[bad]
    with pytest.raises(PolicyError):
        index.extend([wrong])
    assert index.high_water == 5


def test_an_index_grows_past_its_first_capacity() -> None:
    index = CompiledClasses(TenantKey(1), EXPECTED_ROWS)
    index.extend(
        replace(CLASS, key=ClassKey(n), locks=(OPEN, SHUT) if n % 3 else (OPEN,)) for n in range(1, 1_001)
    )
    scope = index.allowed(SUBJECT, "read", NOW, ClassKey(1_000))
    assert scope.classes.tolist() == [n for n in range(1, 1_001) if n % 3 == 0]


def test_unknown_labels_and_new_taxonomies_are_ranked_when_compiled() -> None:
    index = CompiledClasses(TenantKey(1), EXPECTED_ROWS)
    index.extend([CLASS, replace(CLASS, key=ClassKey(2), label=HIGH)])
    low = replace(SUBJECT, clearance=LOW)
    assert index.allowed(low, "read", NOW, ClassKey(2)).classes.tolist() == [1]
    labels = [replace(x, priority=1 - x.priority) for x in TAXONOMY.labels.values()]
    turned = TAXONOMY.of(labels, HIGH, HIGH, 2)
    assert index.allowed(replace(low, taxonomy=turned), "read", NOW, ClassKey(2)).classes.tolist() == [2]


def test_threads_compile_and_extend_at_once() -> None:
    scopes, classes = compiler(ScopeCache(max_entries=4)), numbered(*[OPEN, SHUT] * 150)
    wrong: list[object] = []

    def work(offset: int) -> None:
        for number in range(60):
            size = 1 + (number * 37 + offset * 11) % len(classes)
            subject = replace(SUBJECT, purpose="qa" if number % 2 else "audit")
            scope = compiled(scopes, FrozenView(classes[:size], NOW), subject)
            expected = list(range(1, size + 1, 2)) if number % 2 else []
            if scope.classes.tolist() != expected:
                wrong.append((size, scope))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@control("acl:deny-everyone", "acl:unresolved-deny")
def test_a_deny_of_everyone_closes_even_when_everyone_is_in_doubt() -> None:
    index = CompiledClasses(TenantKey(1), EXPECTED_ROWS)
    index.extend([CLASS, replace(CLASS, key=ClassKey(2), locks=(Lock(OPEN.allow, frozenset({EVERYONE})),))])
    doubtful = replace(SUBJECT, uncertain=frozenset({EVERYONE}))
    assert index.allowed(doubtful, "read", NOW, ClassKey(2)).classes.tolist() == [1]


@control("acl:tenant-isolation")
@pytest.mark.parametrize(("mine", "other"), [(1, 2), (2, 1), (100_000, 100_001), (100_001, 100_000)])
def test_an_index_answers_its_own_tenant_only(mine: int, other: int) -> None:
    """Numbers of tenants are compared by value: large ones are other objects each time they are read."""
    index = CompiledClasses(TenantKey(int(str(mine))), EXPECTED_ROWS)
    index.extend([replace(CLASS, tenant=TenantKey(int(str(mine))))])
    own, foreign = (replace(SUBJECT, tenant=TenantKey(int(str(x)))) for x in (mine, other))
    assert index.allowed(own, "read", NOW, ClassKey(1)).classes.tolist() == [1]
    assert index.allowed(foreign, "read", NOW, ClassKey(1)).classes.tolist() == []
    with pytest.raises(PolicyError):
        index.extend([replace(CLASS, tenant=TenantKey(other), key=ClassKey(2))])


def test_an_empty_index_answers_nothing() -> None:
    index = CompiledClasses(TenantKey(1), EXPECTED_ROWS)
    assert index.high_water == 0
    scope = index.allowed(SUBJECT, "read", NOW, ClassKey(0))
    assert scope.classes.tolist() == []
    assert scope.classes.dtype == np.dtype(np.int64)
    index.extend([CLASS])
    assert index.allowed(SUBJECT, "read", NOW, ClassKey(0)).classes.tolist() == []


def test_a_cache_holds_exactly_as_much_as_it_may() -> None:
    (first,) = numbered(OPEN)
    cache = ScopeCache(max_bytes=8)
    scopes = compiler(cache)
    scope = compiled(scopes, FrozenView([first], NOW))
    assert scope.classes.nbytes == 8
    assert len(cache) == 1
    compiled(scopes, FrozenView(numbered(OPEN, OPEN), NOW))
    assert len(cache) == 0


class _HalfDamagedView(FrozenView):
    """Reads one class and then fails, as a damaged row does."""

    def classes_after(self, tenant: TenantKey, key: ClassKey) -> list[AclClass]:
        good, *_ = super().classes_after(tenant, key)
        return [good, replace(good, tenant=TenantKey(tenant + 1), key=ClassKey(good.key + 1))]


@control("acl:startup-invariants")
def test_an_index_that_could_not_grow_starts_anew() -> None:
    scopes, classes = compiler(), numbered(OPEN, SHUT, OPEN)
    with pytest.raises(PolicyError, match="does not belong"):
        compiled(scopes, _HalfDamagedView(classes, NOW))
    assert compiled(scopes, FrozenView(classes, NOW)).classes.tolist() == [1, 3]
