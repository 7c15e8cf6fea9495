"""Extremes that must work: 50,000 principals on one document, 5,000 groups on one user; and one changed group.

Through the database, as a query meets them. Times are medians.
"""

from __future__ import annotations

import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.interning import intern_class
from secure_rag.database.views import Views
from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    LabelId,
    Micros,
    PrincipalId,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.authorize import READ
from secure_rag_acl.casbin_engine import CasbinEngine

PEOPLE: Final = 50_000
GROUPS: Final = 5_000
CLASSES: Final = 10_000
REPEATS: Final = 7
_NOW: Final = Micros(1_800_000_000_000_000)
_TENANT: Final = TenantKey(1)
_LABEL: Final = LabelId("00000001-0000-4000-8000-000000000000")
_ADA: Final = CallerIdentity("acme", PrincipalId("app:chat"), PrincipalId("user:p0"))


def run() -> dict[str, float]:
    """Milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(Path(folder) / "control.db")
        try:
            people, groups = _fill(engine)
            return _measure(engine, people, groups)
        finally:
            engine.dispose()


def _fill(engine: sa.Engine) -> tuple[list[int], list[int]]:
    grant = {"actions": '["read"]', "compartments": "[]", "sources": '["*"]', "purposes": '["qa"]'}
    with write(engine) as connection:
        t.meta.create_all(connection)
        connection.execute(sa.insert(t.tenant).values(name="acme", directory_as_of=1))
        connection.execute(
            sa.insert(t.policy_version).values(tenant_id=_TENANT, generation=secrets.token_hex(8), n=0)
        )
        connection.execute(
            sa.insert(t.taxonomy).values(
                tenant_id=_TENANT, default_label=_LABEL, mix_threshold=_LABEL, version=1
            )
        )
        connection.execute(
            sa.insert(t.label).values(tenant_id=_TENANT, guid=_LABEL, name="Internal", priority=1)
        )
        source = {
            "name": "hr",
            "kind": "filesystem",
            "trust": "internal",
            "max_acl_age": NEVER,
            "manifest": "",
        }
        connection.execute(sa.insert(t.source).values(tenant_id=_TENANT, **source))
        people = _principals(connection, "member", [f"user:p{n}" for n in range(PEOPLE)])
        groups = _principals(connection, "group", [f"group:g{n}" for n in range(GROUPS)])
        (app,) = _principals(connection, "app", ["app:chat"])
        connection.execute(
            sa.insert(t.grant).values(
                tenant_id=_TENANT, principal_id=app, label=_LABEL, valid_from=0, valid_to=NEVER, **grant
            )
        )
        connection.execute(
            sa.insert(t.clearance).values(
                tenant_id=_TENANT, principal_id=people[0], label=_LABEL, valid_from=0
            )
        )
        links = [
            {"tenant_id": _TENANT, "member_id": people[0], "group_id": x, "valid_from": 0} for x in groups
        ]
        connection.execute(sa.insert(t.membership), links)
        for number in range(CLASSES):
            intern_class(connection, _class(groups[number % GROUPS], people[number % PEOPLE]))
    return people, groups


def _principals(connection: sa.Connection, kind: str, names: Sequence[str]) -> list[int]:
    rows = [{"tenant_id": _TENANT, "name": x, "kind": kind, "state": "active"} for x in names]
    connection.execute(sa.insert(t.principal), rows)
    p = t.principal.c
    return list(connection.execute(sa.select(p.id).where(p.kind == kind).order_by(p.id)).scalars())


def _class(*allowed: int) -> AclClass:
    lock = Lock(frozenset((PrincipalKey(x), NEVER) for x in allowed))
    return AclClass(_TENANT, (lock,), _LABEL, frozenset(), Trust.INTERNAL, SourceKey(1))


def _measure(engine: sa.Engine, people: list[int], groups: list[int]) -> dict[str, float]:
    policy, views = CasbinEngine(), Views(engine, lambda: _NOW)
    wide = _class(*people)

    def intern() -> ClassKey:
        with write(engine) as connection:
            return intern_class(connection, wide)

    def ask() -> int:
        with views.open() as view:
            return len(policy.compile(view, view.subject(_TENANT, _ADA, "qa"), READ).classes)

    def decide() -> bool:
        with views.open() as view:
            subject = view.subject(_TENANT, _ADA, "qa")
            return policy.decide(subject, READ, view.classes(_TENANT, [key])[key], view.now).allowed

    def leave(group: int) -> None:
        m = t.membership.c
        with write(engine) as connection:
            connection.execute(sa.update(t.membership).where(m.group_id == group).values(valid_to=_NOW))

    started = time.perf_counter()
    key = intern()
    first = (time.perf_counter() - started) * 1_000
    readable = ask()
    figures = {
        "wide_intern_50k_principals_ms": first,
        "wide_intern_again_ms": _median(intern),
        "wide_decide_50k_principals_ms": _median(decide),
        "wide_subject_5k_groups_warm_ms": _median(ask),
    }
    changed = []
    for group in groups[:REPEATS]:
        leave(group)
        started = time.perf_counter()
        left = ask()
        changed.append((time.perf_counter() - started) * 1_000)
        if left >= readable:
            raise RuntimeError("leaving a group took nothing away")
        readable = left
    return figures | {"wide_recompile_after_group_change_ms": statistics.median(changed)}


def _median(measured: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        measured()
        times.append((time.perf_counter() - started) * 1_000)
    return statistics.median(times)


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:44} {value:.4g}")
