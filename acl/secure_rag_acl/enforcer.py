"""Casbin's enforcer as we run it. The only module that imports Casbin.

Traps of Casbin that are avoided here, each with a test
- Another effect than deny-overrides is refused when the model is loaded.
- It parses the matcher on every call, which under threads raises SystemError on CPython 3.11: parsed once here.
- It logs whole requests on a denial, and a later `logging.config.dictConfig` switches that on: its logger is muted.
- It offers pattern matchers that are not anchored: the function map holds the given functions and nothing else.
"""

from __future__ import annotations

import ast
import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import casbin
from casbin.model import FunctionMap, Model
from casbin.util import SimpleEval

from secure_rag.errors import PolicyError

_DENY_OVERRIDES: Final = "some(where (p_eft == allow)) && !some(where (p_eft == deny))"


class ParsedOnceEnforcer(casbin.Enforcer):  # type: ignore[misc]  # casbin has no types
    """Casbin's enforcer with the matcher parsed once and one evaluator per thread. Same semantics."""

    def __init__(
        self, model_text: str, rows: Sequence[Sequence[str]], functions: Sequence[Callable[..., bool]]
    ) -> None:
        model: Any = Model()
        model.load_model_from_text(model_text)
        if model["e"]["e"].value != _DENY_OVERRIDES:
            raise PolicyError("the policy effect is not: some allow, and no deny")
        super().__init__(model)
        self.logger = logging.Logger("secure_rag_acl.muted", level=logging.CRITICAL + 1)  # noqa: LOG001 -- a registered logger could be switched on
        self.fm = FunctionMap()
        for function in functions:
            self.add_function(function.__name__, function)
        for row in rows:
            if not self.add_policy(*row):
                raise PolicyError(f"policy row {'/'.join(row)} was not accepted")
        matcher = re.sub(r"!(?!=)", "not ", model["m"]["m"].value.replace("&&", "and").replace("||", "or"))
        self._tree = ast.parse(matcher.strip(), mode="eval").body
        self._evaluators = threading.local()

    def _get_expression(  # pyright: ignore[reportIncompatibleMethodOverride]  # casbin calls it on the instance
        self,
        expr: str,  # noqa: ARG002 -- the matcher is parsed already
        functions: dict[str, object] | None = None,
    ) -> Any:  # noqa: ANN401 -- casbin has no types
        evaluator = getattr(self._evaluators, "value", None)
        if evaluator is None:
            evaluator = SimpleEval("", dict(functions or {}))
            evaluator.ast_parsed_value = self._tree
            self._evaluators.value = evaluator
        return evaluator


def parsed_once(
    model_text: str, rows: Sequence[Sequence[str]], functions: Sequence[Callable[..., bool]]
) -> Any:  # noqa: ANN401 -- casbin has no types
    """An enforcer for a model.

    Args:
        model_text: in Casbin's own format.
        rows: policy rows without the leading `p`.
        functions: all that the matcher may call.

    Raises:
        PolicyError: the model or a row cannot be loaded.
    """
    try:
        return ParsedOnceEnforcer(model_text, rows, functions)
    except PolicyError:
        raise
    except Exception as error:
        raise PolicyError("the policy model cannot be loaded") from error
