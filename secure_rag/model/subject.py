"""Who asks: a person (or an agent acting for itself) and everybody in between. A hop can only narrow."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from secure_rag.model.ids import Compartment, LabelId, Micros, PrincipalId, PrincipalKey, SourceKey, TenantKey
from secure_rag.model.labels import Taxonomy

MAX_AGENT_HOPS = 3
MAX_HOPS = 1 + MAX_AGENT_HOPS
"""The calling application and at most three agents."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One application or agent in the chain, with all that limits it.

    `ceilings` are highest labels: every one of them must dominate the content. `sources` is resolved: it never
    holds a wildcard. `expires` is the earliest end among its grant and delegation, exclusive.
    """

    principal: PrincipalKey
    closure: frozenset[PrincipalKey]
    actions: frozenset[str]
    ceilings: tuple[LabelId, ...]
    compartments: frozenset[Compartment]
    sources: frozenset[SourceKey]
    purposes: frozenset[str]
    expires: Micros


@dataclass(frozen=True, slots=True)
class Subject:
    """The asking person or agent as read in one view.

    `closure` holds the subject itself, its groups (nested) and `everyone` where it belongs. `uncertain` are the
    principals of the tenant that the directory does not know for certain: a deny naming one closes its lock.
    An unknown or inactive subject has an empty closure and therefore opens nothing.
    `revoked`, `revoked_sources` and `revoked_documents` (public ids) are the revocations that hold for the subject or
    for anybody in between: of everything, of whole sources, and of single documents.
    """

    tenant: TenantKey
    principal: PrincipalKey
    closure: frozenset[PrincipalKey]
    clearance: LabelId | None
    compartments: frozenset[Compartment]
    purpose: str
    hops: tuple[Hop, ...]
    taxonomy: Taxonomy
    everyone: PrincipalKey
    uncertain: frozenset[PrincipalKey] = frozenset()
    revoked: bool = False
    revoked_sources: frozenset[SourceKey] = frozenset()
    revoked_documents: frozenset[str] = frozenset()

    def content_digest(self) -> bytes:
        """Digest of all that a compiled scope depends on, apart from the classes and the clock.

        Revoked documents are not in it: a scope is of classes, and documents are compared one by one.
        """
        parts = [
            self.tenant,
            sorted(self.closure),
            self.clearance,
            sorted(self.compartments),
            self.purpose,
            self.everyone,
            sorted(self.uncertain),
            self.revoked,
            sorted(self.revoked_sources),
            [
                [
                    hop.principal,
                    sorted(hop.closure),
                    sorted(hop.actions),
                    list(hop.ceilings),
                    sorted(hop.compartments),
                    sorted(hop.sources),
                    sorted(hop.purposes),
                    hop.expires,
                ]
                for hop in self.hops
            ],
            self.taxonomy.version,
            sorted((x.id, x.priority) for x in self.taxonomy.labels.values()),
        ]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("utf-8")).digest()


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """What authentication vouches for: the caller and whom it asks for. Names only; rights are read later.

    Exactly one of `subject` and `delegation` is set.
    """

    tenant: str
    caller: PrincipalId
    subject: PrincipalId | None
    delegation: str | None = None
