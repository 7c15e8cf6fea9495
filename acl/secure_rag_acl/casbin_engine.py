"""`CasbinEngine`: the authority on every decision about content.

Traps of Casbin that are avoided here, each with a test; the others are in `secure_rag_acl.enforcer`
- A misspelt deny effect, a lost row or an empty policy is silently permissive: rows are checked to be exactly ours.
- `enforce` answers true when the enforcer is disabled: an allow without its row is refused.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import structlog

from secure_rag.errors import PolicyError
from secure_rag.model.decisions import Decision, Reason
from secure_rag.model.ids import Micros
from secure_rag.model.locks import AclClass
from secure_rag.model.subject import Subject
from secure_rag.ports import CompiledScope
from secure_rag_acl.enforcer import parsed_once
from secure_rag_acl.functions import FUNCTIONS
from secure_rag_acl.policy import EXPECTED_ROWS, Policy, packaged_policy
from secure_rag_acl.reasons import reason
from secure_rag_acl.scopes import ScopeCache, ScopeCompiler
from secure_rag_acl.selftest import self_test

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

_log = structlog.get_logger(__name__)
_RIVAL_DISTRIBUTION: Final = "casbin"


class CasbinEngine:
    """Policy engine: `decide` asks Casbin, `compile` answers from an index over the same rows. Thread-safe."""

    def __init__(self, policy: Policy | None = None, cache: ScopeCache | None = None) -> None:
        """Check all that decisions rely on, then serve.

        Raises:
            PolicyError: the policy or the installation is not what this version was tested with.
        """
        _refuse_rival_distribution()
        self._policy = packaged_policy() if policy is None else policy
        if sorted(row.id for row in self._policy.rows) != sorted(row.id for row in EXPECTED_ROWS):
            raise PolicyError("the policy rows are not the ones that this version was tested with")
        self._actions = frozenset(row.action for row in self._policy.rows)
        self._allowing = {
            (x.action, x.check, x.effect): x.id for x in self._policy.rows if x.effect == "allow"
        }
        self._enforcer = build_enforcer(self._policy)
        self._scopes = ScopeCompiler(self._policy.rows, self._policy.digest, cache)
        self_test(self, self._policy.rows)

    @property
    def model_digest(self) -> str:
        """SHA-256 of the packaged model and rows."""
        return self._policy.digest

    def compile(self, view: ReadView, subject: Subject, action: str) -> CompiledScope:
        """Every class of the tenant that the subject may read.

        Raises:
            PolicyError: a stored class is damaged.
        """
        return self._scopes.compile(view, subject, action)

    def decide(self, subject: Subject, action: str, cls: AclClass, now: Micros) -> Decision:
        """Casbin's verdict on one class. Whatever fails inside denies."""
        try:
            return self._decide(subject, action, cls, now)
        except Exception as error:  # noqa: BLE001 -- whatever goes wrong inside an evaluation must deny
            key = getattr(cls, "key", None)
            _log.error("policy_evaluation_failed", error=type(error).__name__, class_key=key)
            return Decision(allowed=False, reason=Reason.EVALUATION_ERROR)

    def _decide(self, subject: Subject, action: str, cls: AclClass, now: Micros) -> Decision:
        if type(action) is not str:
            # Casbin takes another type in first place as a choice of model section, and then ignores its effect.
            raise PolicyError("an action is text")
        allowed, row = self._enforcer.enforce_ex(action, subject, cls, now)
        rules = ("/".join(row),) if row else ()
        if allowed is True:
            if tuple(row) not in self._allowing:
                raise PolicyError("an allow without the row that allows")
            return Decision(allowed=True, reason=Reason.ALLOWED, rules=rules)
        why = reason(subject, action, cls, now, self._actions)
        if why is Reason.ALLOWED:
            raise PolicyError("Casbin denies what every control allows")
        return Decision(allowed=False, reason=why, rules=rules)


def build_enforcer(policy: Policy) -> Any:  # noqa: ANN401 -- casbin has no types
    """A Casbin enforcer for a policy, whatever its rows; `CasbinEngine` serves only the packaged ones.

    Raises:
        PolicyError: the model or a row cannot be loaded.
    """
    return parsed_once(policy.model, [(x.action, x.check, x.effect) for x in policy.rows], FUNCTIONS)


def _refuse_rival_distribution() -> None:
    """`casbin` and `pycasbin` own the same import package; with both installed nobody knows which one runs."""
    try:
        metadata.distribution(_RIVAL_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return
    raise PolicyError(
        "the distribution `casbin` is installed beside `pycasbin`; uninstall both, install pycasbin"
    )
