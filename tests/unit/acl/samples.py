"""A subject that may read a class, for tests that change one thing."""

from __future__ import annotations

from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    Compartment,
    LabelId,
    Micros,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Label, Taxonomy, Trust
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import Hop, Subject

LOW = LabelId("00000000-0000-4000-8000-000000000001")
HIGH = LabelId("00000000-0000-4000-8000-000000000002")
ME, GROUP, APP, OTHER, EVERYONE = (PrincipalKey(x) for x in range(11, 16))
ROOM = Compartment("room")
NOW = Micros(10 * 60_000_000)
TAXONOMY = Taxonomy.of((Label(LOW, "Low", 0), Label(HIGH, "High", 1)), HIGH, HIGH, 1)
HOP = Hop(
    principal=APP,
    closure=frozenset({APP}),
    actions=frozenset({"read"}),
    ceilings=(HIGH,),
    compartments=frozenset({ROOM}),
    sources=frozenset({SourceKey(1)}),
    purposes=frozenset({"qa"}),
    expires=NEVER,
)
SUBJECT = Subject(
    tenant=TenantKey(1),
    principal=ME,
    closure=frozenset({ME, GROUP}),
    clearance=HIGH,
    compartments=frozenset({ROOM}),
    purpose="qa",
    hops=(HOP,),
    taxonomy=TAXONOMY,
    everyone=EVERYONE,
)
LOCK = Lock(frozenset({(GROUP, NEVER)}))
CLASS = AclClass(TenantKey(1), (LOCK,), LOW, frozenset(), Trust.INTERNAL, SourceKey(1), ClassKey(1))
