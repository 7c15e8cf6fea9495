"""Compiling and deciding: 10,000 classes with one to eight locks, closures of 20 and 500 principals.

Cold: the subject's scope is not cached. Warm: it is. First: the index itself has to be built too. The view is in
memory, so that the figures are those of the policy code; `benchmarks.end_to_end` measures with the database.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from secure_rag.model.ids import NEVER, ClassKey, LabelId, Micros, PrincipalKey, SourceKey, TenantKey
from secure_rag.model.labels import Label, Taxonomy, Trust
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import Hop, Subject
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.policy import packaged_policy
from secure_rag_acl.scopes import ScopeCompiler

CLASSES: Final = 10_000
LOCKS: Final = 4_000
PRINCIPALS: Final = 5_500
REPEATS: Final = 15
_NOW: Final = Micros(1_800_000_000_000_000)
_TENANT: Final = TenantKey(1)
_LABELS: Final = tuple(LabelId(f"0000000{n}-0000-4000-8000-000000000000") for n in range(1, 6))
_EVERYONE: Final = PrincipalKey(PRINCIPALS + 1)


@dataclass
class _View:
    """What compiling reads of a view."""

    classes: Sequence[AclClass]
    now: Micros = _NOW

    def policy_version(self, _tenant: TenantKey) -> tuple[str, int]:
        return "g", 0

    def class_high_water(self, _tenant: TenantKey) -> ClassKey:
        return self.classes[-1].key

    def classes_after(self, _tenant: TenantKey, key: ClassKey) -> list[AclClass]:
        return [x for x in self.classes if x.key > key]


def run() -> dict[str, float]:
    """Every figure of the policy code; times are medians."""
    classes, subjects = _world()
    figures = {}
    for size, subject in subjects.items():
        figures |= {f"policy_{name}_{size}": value for name, value in _compile(classes, subject).items()}
    figures |= _index(classes, subjects[20])
    figures |= _decide(classes, subjects[20])
    return figures


def _world() -> tuple[list[AclClass], dict[int, Subject]]:
    rng = np.random.default_rng(11)
    locks = [_lock(rng) for _ in range(LOCKS)]
    classes = [
        AclClass(
            _TENANT,
            tuple(locks[int(i)] for i in rng.choice(LOCKS, int(rng.integers(1, 9)), replace=False)),
            _LABELS[int(rng.integers(5))],
            frozenset(),
            Trust.INTERNAL,
            SourceKey(int(rng.integers(1, 7))),
            ClassKey(n),
        )
        for n in range(1, CLASSES + 1)
    ]
    return classes, {size: _subject(rng, size) for size in (20, 500)}


def _lock(rng: np.random.Generator) -> Lock:
    """Half of the locks hold everyone; a tenth has a deny, a twentieth an entry that ends."""
    allow = {(PrincipalKey(int(x)), NEVER) for x in rng.integers(1, PRINCIPALS, int(rng.integers(1, 20)))}
    if rng.random() < 0.5:
        allow.add((_EVERYONE, NEVER))
    if rng.random() < 0.05:
        allow.add((PrincipalKey(int(rng.integers(1, 20))), Micros(_NOW + 3_600_000_000)))
    deny = {PrincipalKey(int(x)) for x in rng.integers(1, PRINCIPALS, 2)} if rng.random() < 0.1 else set()
    return Lock(frozenset(allow), frozenset(deny))


def _subject(rng: np.random.Generator, size: int) -> Subject:
    closure = frozenset(PrincipalKey(int(x)) for x in rng.choice(PRINCIPALS, size - 1, replace=False))
    hop = Hop(
        principal=PrincipalKey(PRINCIPALS + 2),
        closure=frozenset({PrincipalKey(PRINCIPALS + 2)}),
        actions=frozenset({"read"}),
        ceilings=(_LABELS[4],),
        compartments=frozenset(),
        sources=frozenset(SourceKey(x) for x in range(1, 7)),
        purposes=frozenset({"qa"}),
        expires=NEVER,
    )
    labels = [Label(guid, f"label {n}", n) for n, guid in enumerate(_LABELS)]
    return Subject(
        tenant=_TENANT,
        principal=min(closure),
        closure=closure | {_EVERYONE},
        clearance=_LABELS[3],
        compartments=frozenset(),
        purpose="qa",
        hops=(hop,),
        taxonomy=Taxonomy.of(labels, _LABELS[4], _LABELS[3], 1),
        everyone=_EVERYONE,
    )


def _compile(classes: list[AclClass], subject: Subject) -> dict[str, float]:
    policy, view = packaged_policy(), _View(classes)
    scopes = ScopeCompiler(policy.rows, policy.digest)
    first = scopes.compile(view, subject, "read")  # type: ignore[arg-type]  # the part of a view that compiling reads
    # Another entry nobody has in the closure: the same work, another content.
    others = iter(
        replace(subject, closure=subject.closure | {PrincipalKey(10**6 + n)}) for n in range(REPEATS)
    )
    cold = _median(lambda: scopes.compile(view, next(others), "read"))  # type: ignore[arg-type]  # as above
    warm = _median(lambda: scopes.compile(view, subject, "read"))  # type: ignore[arg-type]  # as above
    return {
        "compile_cold_ms": cold * 1e3,
        "compile_warm_ms": warm * 1e3,
        "allowed_share": len(first.classes) / CLASSES,
    }


def _index(classes: list[AclClass], subject: Subject) -> dict[str, float]:
    policy = packaged_policy()

    def build() -> None:
        fresh = ScopeCompiler(policy.rows, policy.digest)
        fresh.compile(_View(classes), subject, "read")  # type: ignore[arg-type]  # as above

    grown = ScopeCompiler(policy.rows, policy.digest)
    sizes = iter(range(CLASSES - 100 * REPEATS, CLASSES + 1, 100))
    grown.compile(_View(classes[: next(sizes)]), subject, "read")  # type: ignore[arg-type]  # as above

    def append() -> None:
        grown.compile(_View(classes[: next(sizes)]), subject, "read")  # type: ignore[arg-type]  # as above

    return {
        "policy_compile_first_ms": _median(build, 5) * 1e3,
        "policy_append_100_classes_ms": _median(append) * 1e3,
    }


def _decide(classes: list[AclClass], subject: Subject) -> dict[str, float]:
    engine = CasbinEngine()
    verdicts = {x.key: engine.decide(subject, "read", x, _NOW).allowed for x in classes}
    compiled = set(engine.compile(_View(classes), subject, "read").classes.tolist())  # type: ignore[arg-type]  # as above
    open_, shut = ([x for x in classes if verdicts[x.key] is verdict][:10] for verdict in (True, False))

    def ten(chosen: list[AclClass]) -> Callable[[], object]:
        return lambda: [engine.decide(subject, "read", x, _NOW) for x in chosen]

    return {
        "policy_decide_allow_us": _median(ten(open_), 200) * 1e6 / len(open_),
        "policy_decide_deny_us": _median(ten(shut), 200) * 1e6 / len(shut),
        "policy_decide_k10_ms": _median(ten(open_), 200) * 1e3,
        "policy_paths_differ": float(len(compiled ^ {key for key, allowed in verdicts.items() if allowed})),
    }


def _median(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU seconds of one call: the machine may be shared."""
    gc.collect()
    times: list[float] = []
    for _ in range(repeats):
        start = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - start) / 1e9)
    return statistics.median(times)


if __name__ == "__main__":
    print(json.dumps({name: round(value, 4) for name, value in run().items()}))
