"""Conversations: which side of the trust boundary a context is on, bound to application and subject."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Protocol

from secure_rag.detection.trust_mixing import ContextSide
from secure_rag.model.ids import Micros
from secure_rag.model.subject import Subject


class Ledger(Protocol):
    """Remembers sides; see `secure_rag.database.contexts.ContextLedger`."""

    def side(self, digest: bytes, now: Micros) -> str | None:
        """Side of a context, None when new or expired."""
        ...

    def claim(self, digest: bytes, expected: str | None, side: str, now: Micros, expires: Micros) -> bool:
        """Compare and set."""
        ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """One context as it was when the request came; `digest` is None without a context id."""

    digest: bytes | None
    side: ContextSide | None


@dataclass(frozen=True, slots=True)
class Conversations:
    """Enters and claims contexts. `ttl` in microseconds."""

    ledger: Ledger
    key: bytes
    ttl: int

    def enter(self, subject: Subject, context_id: str | None, now: Micros) -> Conversation:
        """Read the side of a context.

        The digest binds it to tenant, application (hop 0) and subject: nobody can taint or read another's.
        """
        if context_id is None:
            return Conversation(None, None)
        application = subject.hops[0].principal if subject.hops else 0
        parts = f"{subject.tenant}\0{application}\0{subject.principal}\0{context_id}"
        digest = hmac.digest(self.key, parts.encode("utf-8", "surrogatepass"), hashlib.sha256)
        side = self.ledger.side(digest, now)
        return Conversation(digest, None if side is None else ContextSide(side))

    def claim(self, conversation: Conversation, side: ContextSide | None, now: Micros) -> bool:
        """Record the side before the answer leaves; false when another answer changed it meanwhile."""
        if conversation.digest is None or side is None:
            return True
        expires = Micros(now + self.ttl)
        return self.ledger.claim(conversation.digest, conversation.side, side.value, now, expires)
