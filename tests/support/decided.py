"""A random world as the product reads it from a real database, ready to be decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secure_rag.database.views import ReadView, Views
from secure_rag.model.ids import ClassKey, Micros, PrincipalId, TenantKey
from secure_rag.model.locks import AclClass
from secure_rag.model.subject import CallerIdentity, Subject
from tests.oracle import Call
from tests.worlds import NOW, Stored, World, random_world, store


@dataclass(frozen=True)
class Decided:
    """Subjects by call and classes by guard, in the order of the world."""

    world: World
    stored: Stored
    subjects: list[Subject]
    classes: list[AclClass]


class FrozenView:
    """What compiling reads of a view, at any instant."""

    def __init__(self, classes: Sequence[AclClass], now: int, generation: str = "g") -> None:
        self.now = Micros(now)
        self._classes = sorted(classes, key=lambda x: x.key)
        self._generation = generation

    def policy_version(self, tenant: TenantKey) -> tuple[str, int]:
        return self._generation, 0

    def class_high_water(self, tenant: TenantKey) -> ClassKey:
        return max((x.key for x in self._classes if x.tenant == tenant), default=ClassKey(0))

    def classes_after(self, tenant: TenantKey, key: ClassKey) -> list[AclClass]:
        return [x for x in self._classes if x.tenant == tenant and x.key > key]


def read_subject(view: ReadView, stored: Stored, call: Call) -> Subject:
    """The subject of a call as the product reads it."""
    subject = None if call.subject is None else PrincipalId(call.subject)
    identity = CallerIdentity(call.tenant, PrincipalId(call.caller), subject, call.delegation)
    return view.subject(stored.tenants[call.tenant], identity, call.purpose)


def read_classes(view: ReadView, stored: Stored) -> list[AclClass]:
    """The stored classes in the order of the world's guards."""
    keyed = {x.key: x for tenant in stored.tenants.values() for x in view.classes_after(tenant, ClassKey(0))}
    return [keyed[key] for key in stored.classes]


def decided_world(seed: int, folder: Path) -> Decided:
    """Make a world, write it, and read it back the way the product does."""
    world = random_world(seed)
    stored = store(world, folder / f"{seed}.db")
    with Views(stored.engine, lambda: Micros(NOW)).open() as view:
        subjects = [read_subject(view, stored, call) for call in world.calls]
        classes = read_classes(view, stored)
    stored.engine.dispose()
    return Decided(world, stored, subjects, classes)
