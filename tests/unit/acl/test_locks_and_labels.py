"""Locks, classes, labels and subjects: the values that decisions are made of."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from secure_rag.errors import PolicyError
from secure_rag.model import labels as labels_module
from secure_rag.model import locks as locks_module
from secure_rag.model import subject as subject_module
from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    Compartment,
    LabelId,
    Micros,
    PrincipalId,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Label, Taxonomy, Trust
from secure_rag.model.locks import (
    MAX_LOCK_ENTRIES,
    MAX_LOCKS,
    AclClass,
    Lock,
    canonical_locks,
    class_digest,
    lock_digest,
)
from secure_rag.model.subject import MAX_AGENT_HOPS, MAX_HOPS, CallerIdentity, Hop, Subject
from tests.controls import control
from tests.unit.acl.samples import CLASS, GROUP, HIGH, HOP, LOCK, LOW, ME, OTHER, ROOM, SUBJECT, TAXONOMY

MINUTE = 60_000_000
MIDDLE = LabelId("00000000-0000-4000-8000-000000000003")
UNKNOWN = LabelId("00000000-0000-4000-8000-00000000000f")


@pytest.mark.parametrize("kind", [Lock, AclClass, Label, Taxonomy, Hop, Subject, CallerIdentity])
def test_values_are_frozen_and_small(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # where dataclasses keep it
    assert "__slots__" in kind.__dict__
    assert kind.__module__ in (labels_module.__name__, locks_module.__name__, subject_module.__name__)


def test_limits_are_what_they_are() -> None:
    assert (MAX_LOCKS, MAX_LOCK_ENTRIES, MAX_AGENT_HOPS, MAX_HOPS) == (64, 200_000, 3, 4)


# ---- locks


@control("acl:allow-expiry")
def test_an_expiry_is_rounded_down_to_the_minute_and_the_last_one_counts() -> None:
    lock = Lock.of(
        [(ME, Micros(5 * MINUTE + 7)), (ME, Micros(3 * MINUTE)), (GROUP, NEVER), (GROUP, Micros(MINUTE))]
    )
    assert lock.allow == {(ME, 5 * MINUTE), (GROUP, NEVER)}
    assert (lock.deny, lock.unresolved_deny) == (frozenset(), False)
    assert Lock.of([], [OTHER], unresolved_deny=True) == Lock(frozenset(), frozenset({OTHER}), True)
    assert Lock.of([(ME, Micros(MINUTE))]).allow == {(ME, MINUTE)}
    # An end before 1970 is over; so is one that never was.
    assert Lock.of([(ME, Micros(30))]).allow == {(ME, 0)}
    assert Lock.of([(ME, Micros(-MINUTE))]).allow == {(ME, 0)}


def test_an_unresolved_deny_is_said_by_name() -> None:
    with pytest.raises(TypeError):
        Lock.of([], [], True)  # type: ignore[call-arg]  # what types rule out


def test_locks_are_made_from_the_class_and_from_a_lock() -> None:
    assert LOCK.of([]) == Lock(frozenset())
    assert LOCK.from_body(LOCK.body()) == LOCK


def test_a_lock_is_never_cut_off() -> None:
    half = MAX_LOCK_ENTRIES // 2
    allow = [(PrincipalKey(n), NEVER) for n in range(half)]
    deny = [PrincipalKey(n) for n in range(half)]
    assert len(Lock.of(allow, deny).allow) == half
    with pytest.raises(PolicyError, match="200000 entries"):
        Lock.of(allow, [*deny, PrincipalKey(half)])
    # One more allow entry makes it too many as well: both lists count.
    with pytest.raises(PolicyError):
        Lock.of([*allow, (PrincipalKey(half), NEVER)], deny)


def test_a_stored_lock_is_the_same_lock() -> None:
    lock = Lock.of([(ME, NEVER), (GROUP, Micros(MINUTE))], [OTHER], unresolved_deny=True)
    assert Lock.from_body(lock.body()) == lock
    assert lock.body() == '{"allow":[[11,null],[12,60000000]],"deny":[14],"unresolved_deny":true}'
    assert json.loads(Lock(frozenset({(ME, Micros(NEVER + 5))})).body())["allow"] == [[ME, None]]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"allow":[],"deny":[]}',
        '{"allow":[],"deny":[],"unresolved_deny":0}',
        '{"allow":[],"deny":[],"unresolved_deny":"false"}',
        '{"allow":[],"deny":[],"unresolved_deny":false,"more":1}',
        '{"allow":[[1]],"deny":[],"unresolved_deny":false}',
        '{"allow":[["1",null]],"deny":[],"unresolved_deny":false}',
        '{"allow":[[1,"2"]],"deny":[],"unresolved_deny":false}',
        '{"allow":[[1,true]],"deny":[],"unresolved_deny":false}',
        '{"allow":[],"deny":["1"],"unresolved_deny":false}',
        '{"allow":[],"deny":[1.0],"unresolved_deny":false}',
        '{"allow":5,"deny":[],"unresolved_deny":false}',
    ],
)
def test_a_damaged_lock_is_refused(body: str) -> None:
    with pytest.raises(PolicyError):
        Lock.from_body(body)


def test_digests_tell_locks_apart() -> None:
    locks = [
        LOCK,
        Lock(frozenset()),
        Lock(LOCK.allow, frozenset({OTHER})),
        Lock(LOCK.allow, unresolved_deny=True),
        Lock(frozenset({(GROUP, Micros(0))})),
    ]
    assert len({lock_digest(x) for x in locks}) == len(locks)
    assert len(lock_digest(LOCK)) == 32


# ---- classes


@control("acl:all-locks")
def test_a_class_has_a_lock_and_not_too_many() -> None:
    many = tuple(Lock(frozenset({(PrincipalKey(n), NEVER)})) for n in range(MAX_LOCKS + 1))
    assert len(replace(CLASS, locks=many[:MAX_LOCKS]).locks) == MAX_LOCKS
    with pytest.raises(PolicyError, match="more than 64 locks"):
        replace(CLASS, locks=many)
    with pytest.raises(PolicyError, match="at least one lock"):
        replace(CLASS, locks=())


def test_a_class_is_new_until_it_is_interned() -> None:
    assert AclClass(TenantKey(1), (LOCK,), LOW, frozenset(), Trust.INTERNAL, SourceKey(1)).key == 0


def test_class_digests_tell_all_parts_apart_but_not_order_and_key() -> None:
    other = Lock(frozenset({(OTHER, NEVER)}))
    parts = [
        CLASS,
        replace(CLASS, tenant=TenantKey(2)),
        replace(CLASS, locks=(other,)),
        replace(CLASS, locks=(LOCK, other)),
        replace(CLASS, label=HIGH),
        replace(CLASS, compartments=frozenset({ROOM})),
        replace(CLASS, trust=Trust.EXTERNAL),
        replace(CLASS, source=SourceKey(2)),
    ]
    assert len({class_digest(x) for x in parts}) == len(parts)
    assert class_digest(replace(CLASS, key=ClassKey(9))) == class_digest(CLASS)
    assert class_digest(replace(CLASS, locks=(other, LOCK))) == class_digest(
        replace(CLASS, locks=(LOCK, other, LOCK))
    )


def test_canonical_locks_are_sorted_and_distinct() -> None:
    other = Lock(frozenset({(OTHER, NEVER)}))
    third = Lock(frozenset({(ME, NEVER)}))
    canonical = canonical_locks([LOCK, other, LOCK, third])
    assert canonical == canonical_locks([third, other, LOCK])
    assert sorted(canonical, key=lock_digest) == list(canonical)
    assert set(canonical) == {LOCK, other, third}


# ---- labels


@control("acl:label-default", "acl:label-dominance")
def test_ranks_of_what_is_unknown() -> None:
    labels = (Label(LOW, "Low", 0), Label(HIGH, "High", 7))
    taxonomy = Taxonomy.of(labels, HIGH, LOW, 3)
    assert [taxonomy.rank_of_content(x) for x in (LOW, HIGH, UNKNOWN)] == [0, 7, 8]
    assert [taxonomy.rank_of_clearance(x) for x in (LOW, HIGH, UNKNOWN, None)] == [0, 7, -1, -1]
    assert taxonomy.highest([LOW]) == LOW
    assert taxonomy.highest([LOW, HIGH]) == HIGH
    assert taxonomy.highest([]) == HIGH
    assert taxonomy.highest([LOW, UNKNOWN]) == HIGH
    assert (taxonomy.name(LOW), taxonomy.name(UNKNOWN)) == ("Low", UNKNOWN)
    assert (taxonomy.default, taxonomy.mix_threshold, taxonomy.version) == (HIGH, LOW, 3)


def test_an_unknown_label_counts_as_the_default_unless_a_known_one_demands_more() -> None:
    taxonomy = Taxonomy.of(
        (Label(LOW, "Low", 0), Label(MIDDLE, "Middle", 1), Label(HIGH, "High", 2)), MIDDLE, HIGH, 1
    )
    assert taxonomy.highest([UNKNOWN]) == MIDDLE
    assert taxonomy.highest([UNKNOWN, LOW]) == MIDDLE
    assert taxonomy.highest([UNKNOWN, HIGH]) == HIGH
    assert taxonomy.highest([]) == MIDDLE


@pytest.mark.parametrize(
    ("labels", "default", "threshold", "said"),
    [
        ((), LOW, LOW, "at least one label"),
        ((Label(LOW, "a", 1), Label(HIGH, "b", 1)), LOW, LOW, "same priority"),
        ((Label(LOW, "a", 1),), HIGH, LOW, "default is not a label"),
        ((Label(LOW, "a", 1),), LOW, HIGH, "external_mix_threshold is not a label"),
        ((Label(LOW, "a", 1, HIGH),), LOW, LOW, "unknown parent"),
    ],
)
def test_a_taxonomy_that_makes_no_sense_is_refused(
    labels: tuple[Label, ...], default: LabelId, threshold: LabelId, said: str
) -> None:
    with pytest.raises(PolicyError, match=said):
        Taxonomy.of(labels, default, threshold, 1)


def test_a_parent_is_a_label() -> None:
    labels = (Label(LOW, "a", 1, HIGH), Label(HIGH, "b", 2, None))
    assert Taxonomy.of(labels, LOW, LOW, 1).labels[LOW].parent == HIGH


def test_a_taxonomy_may_have_hundreds_of_labels() -> None:
    labels = [Label(LabelId(f"{n:08x}-0000-4000-8000-000000000000"), str(n), n) for n in range(400)]
    assert len(TAXONOMY.of(labels, labels[0].id, labels[0].id, 1).labels) == 400


def test_trust_has_levels() -> None:
    assert [x.level for x in (Trust.EXTERNAL, Trust.PARTNER, Trust.INTERNAL, Trust.VERIFIED)] == [0, 1, 2, 3]


# ---- subjects


@control("acl:cache-by-content")
def test_the_digest_of_a_subject_covers_all_that_decides() -> None:
    more = Compartment("more")
    hops = [
        replace(HOP, principal=OTHER),
        replace(HOP, closure=frozenset({OTHER})),
        replace(HOP, actions=frozenset()),
        replace(HOP, ceilings=(LOW,)),
        replace(HOP, ceilings=(HIGH, LOW)),
        replace(HOP, compartments=frozenset({more})),
        replace(HOP, sources=frozenset()),
        replace(HOP, purposes=frozenset()),
        replace(HOP, expires=Micros(1)),
    ]
    relabelled = [replace(x, priority=x.priority + 5) for x in TAXONOMY.labels.values()]
    subjects = [
        SUBJECT,
        replace(SUBJECT, tenant=TenantKey(2)),
        replace(SUBJECT, closure=frozenset({ME})),
        replace(SUBJECT, clearance=LOW),
        replace(SUBJECT, clearance=None),
        replace(SUBJECT, compartments=frozenset({more})),
        replace(SUBJECT, purpose="audit"),
        replace(SUBJECT, everyone=OTHER),
        replace(SUBJECT, uncertain=frozenset({OTHER})),
        replace(SUBJECT, taxonomy=Taxonomy.of(TAXONOMY.labels.values(), HIGH, HIGH, 2)),
        replace(SUBJECT, taxonomy=Taxonomy.of(relabelled, HIGH, HIGH, 1)),
        replace(SUBJECT, hops=()),
        replace(SUBJECT, hops=(HOP, HOP)),
        *(replace(SUBJECT, hops=(hop,)) for hop in hops),
    ]
    digests = [x.content_digest() for x in subjects]
    assert len(set(digests)) == len(subjects)
    assert SUBJECT.content_digest() == replace(SUBJECT, principal=OTHER).content_digest()
    assert len(digests[0]) == 32


def test_the_order_of_a_chain_is_part_of_it() -> None:
    other = replace(HOP, principal=OTHER)
    forth, back = replace(SUBJECT, hops=(HOP, other)), replace(SUBJECT, hops=(other, HOP))
    assert forth.content_digest() != back.content_digest()


def test_a_subject_is_certain_of_everybody_unless_told() -> None:
    assert SUBJECT.uncertain == frozenset()
    assert CallerIdentity("acme", PrincipalId("app:chat"), PrincipalId("user:ann")).delegation is None
