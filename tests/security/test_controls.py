"""Controls and tests in both directions: no control without a test, no test of an unknown control."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controls import CONTROLS, control

TESTS = Path(__file__).resolve().parents[1]


def _is_control(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "control"
    )


def _uses() -> Iterator[tuple[str, str]]:
    """(control id, file and line) of every decorator; read from the source, so that a partial run sees all."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _is_control(decorator):
                    for argument in decorator.args:
                        place = f"{path.relative_to(TESTS)}:{decorator.lineno}"
                        assert isinstance(argument, ast.Constant), f"{place}: ids are string literals"
                        assert node.name.startswith("test_"), f"{place}: not a test"
                        yield str(argument.value), place


def test_every_control_has_a_test() -> None:
    assert sorted(set(CONTROLS) - {used for used, _ in _uses()}) == []


def test_every_used_control_is_known() -> None:
    assert [place for used, place in _uses() if used not in CONTROLS] == []


def test_control_ids_and_sentences_have_one_form() -> None:
    for name, sentence in CONTROLS.items():
        area, _, rest = name.partition(":")
        assert area.isalpha()
        assert rest.replace("-", "").isalnum()
        assert name == name.lower()
        assert sentence.endswith(".")


@pytest.mark.parametrize("ids", [(), ("acl:no-such-control",)])
def test_an_unknown_control_is_refused_at_import(ids: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="unknown control"):
        control(*ids)
