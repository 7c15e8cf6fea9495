"""The packaged policy: model text, rows and the digest of both that every audit event records."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from importlib import resources
from typing import Final

from secure_rag.errors import PolicyError
from secure_rag_acl.functions import DENIED, LOCK_ROWS, OPEN

ALLOW: Final = "allow"
DENY: Final = "deny"
_EFFECTS: Final = frozenset({ALLOW, DENY})
_ARITY: Final = 4


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One row: for an action, what a check of the locks leads to.

    Raises:
        PolicyError: an effect or a check that Casbin would silently ignore or that no function knows.
    """

    action: str
    check: str
    effect: str

    def __post_init__(self) -> None:
        # Casbin ignores a misspelt deny without a word, which would open what the row was to close.
        if self.effect not in _EFFECTS:
            raise PolicyError(
                f"a policy row has the effect {self.effect!r}; only allow and deny mean something"
            )
        if self.check not in LOCK_ROWS:
            raise PolicyError(f"a policy row names an unknown check: {self.check!r}")
        if not self.action:
            raise PolicyError("a policy row names no action")

    @property
    def id(self) -> str:
        """Identifier that decisions and audit events carry."""
        return f"{self.action}/{self.check}/{self.effect}"


EXPECTED_ROWS: Final = (PolicyRow("read", OPEN, ALLOW), PolicyRow("read", DENIED, DENY))


@dataclass(frozen=True, slots=True)
class Policy:
    """Model and rows as packaged."""

    model: str
    rows: tuple[PolicyRow, ...]
    digest: str


def packaged_policy() -> Policy:
    """The policy that this package ships.

    Raises:
        PolicyError: a file is missing or malformed.
    """
    folder = resources.files("secure_rag_acl") / "data"
    try:
        model = (folder / "retrieval.conf").read_bytes()
        rows = (folder / "retrieval_policy.csv").read_bytes()
    except OSError as error:
        raise PolicyError("the packaged policy cannot be read") from error
    digest = hashlib.sha256(hashlib.sha256(model).digest() + hashlib.sha256(rows).digest()).hexdigest()
    return Policy(model.decode("utf-8"), parse_rows(rows.decode("utf-8")), digest)


def parse_rows(text: str) -> tuple[PolicyRow, ...]:
    """Rows of a policy file, `p, action, check, effect`.

    Raises:
        PolicyError: a line with another number of fields, another type, or no line at all.
    """
    rows: list[PolicyRow] = []
    for fields in csv.reader(io.StringIO(text), skipinitialspace=True):
        if not fields:
            continue
        if len(fields) != _ARITY or fields[0] != "p":
            raise PolicyError(f"not a policy row: {fields}")
        rows.append(PolicyRow(fields[1], fields[2], fields[3]))
    if not rows:
        # Without rows Casbin evaluates the matcher once, with empty strings for the row.
        raise PolicyError("the policy has no rows")
    if len(set(rows)) != len(rows):
        raise PolicyError("a policy row occurs twice")
    return tuple(rows)
