"""Every mutant that cosmic-ray makes of the decision modules is killed by the decision tests, or justified.

`python -m tests.security.mutation.run`. Each mutant runs in a forked child that imports the mutated source instead
of the file, so that nothing on disk changes. This process imports nothing of the product, since a child would
otherwise inherit it unmutated. Survivors must stand in `survivors.toml` with a reason; a reason without a survivor
is an error too, so that the list cannot rot.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT: Final = Path(__file__).resolve().parents[3]
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
TARGETS: Final = {
    "secure_rag_acl.functions": "acl/secure_rag_acl/functions.py",
    "secure_rag_acl.compiler": "acl/secure_rag_acl/compiler.py",
    "secure_rag_acl.scopes": "acl/secure_rag_acl/scopes.py",
    "secure_rag_acl.reasons": "acl/secure_rag_acl/reasons.py",
    "secure_rag.model.locks": "secure_rag/model/locks.py",
    "secure_rag.model.labels": "secure_rag/model/labels.py",
    "secure_rag.model.subject": "secure_rag/model/subject.py",
    "secure_rag.database.subjects": "secure_rag/database/subjects.py",
    "secure_rag.retrieval.authorize": "secure_rag/retrieval/authorize.py",
    "secure_rag.retrieval.scope": "secure_rag/retrieval/scope.py",
}
# Quick ones first: a mutant is done at its first failure.
POLICY_TESTS: Final = (
    "tests/unit/acl/test_functions.py",
    "tests/unit/acl/test_locks_and_labels.py",
    "tests/unit/acl/test_decisions_by_hand.py",
    "tests/unit/acl/test_scopes.py",
    "tests/unit/acl/test_delegated_subjects.py",
    "tests/security/acl/test_casbin_traps.py",
    "tests/security/acl/test_compiler_mutants.py::test_the_compiler_agrees_with_casbin_on_the_questions",
    "tests/unit/acl/test_directory_import.py",
    "tests/unit/acl/test_labels_import.py",
    "tests/property/acl/test_rows_compile.py",
    "tests/property/acl/test_decisions_equal.py::test_three_ways_to_decide_agree[0]",
    "tests/property/acl/test_decisions_equal.py::test_an_index_that_grew_in_steps_is_the_index_built_at_once",
    "tests/security/acl/test_management.py",
    "tests/security/retrieval/test_revocations.py",
)
RETRIEVAL_TESTS: Final = (
    "tests/security/retrieval/test_revocations.py",
    "tests/security/retrieval/test_query_flow.py",
    "tests/security/retrieval/test_stale_sources.py",
    "tests/security/retrieval/test_non_interference.py",
    "tests/security/attacks/test_attack_suppression.py",
)
CPU_S: Final = 240
"""Processor time after which a mutant counts as one that never ends; several times what the tests need."""
WALL_S: Final = 3_600
"""For one that waits for ever instead."""
# Imported once, here, so that not every child has to.
_THIRD_PARTY: Final = (
    "alembic",
    "casbin",
    "numpy",
    "pydantic",
    "pyroaring",
    "sqlalchemy",
    "structlog",
    "yaml",
)
# These need arguments, or change nothing.
_SKIPPED: Final = {"core/VariableReplacer", "core/VariableInserter", "core/NoOp"}


@dataclass(frozen=True)
class Mutant:
    """One changed source. `before` and `after` are the lines that differ, without indentation."""

    module: str
    before: str
    after: str
    source: str


class _MutatedLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from changed source, without bytecode of the file."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(ROOT / TARGETS[mutant.module]))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.source, self.path, "exec", dont_inherit=True)


class _MutatedFinder(importlib.abc.MetaPathFinder):
    """Finds the one mutated module before the path does."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_loader(fullname, _MutatedLoader(self._mutant))


def mutants(module: str) -> Iterator[Mutant]:
    """Every distinct mutant of a module that is other code: annotations and docstrings are not."""
    original = (ROOT / TARGETS[module]).read_text(encoding="utf-8")
    plain, seen = _code(original), set[str]()
    for name in operator_names():
        if name in _SKIPPED:
            continue
        operator = get_operator(name)()
        positions = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(original)))
        for occurrence in range(positions):
            changed = mutate_code(original, operator, occurrence)
            if changed is None or changed in seen:
                continue
            seen.add(changed)
            if _code(changed) != plain:
                yield Mutant(module, *_difference(original, changed), changed)


def _code(source: str) -> str:
    """What of a source is executed, as text; annotations are not, thanks to the future import."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in (*node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def _difference(original: str, changed: str) -> tuple[str, str]:
    before, after = list[str](), list[str]()
    for line in difflib.ndiff(original.splitlines(), changed.splitlines()):
        if line.startswith("- "):
            before.append(line[2:].strip())
        elif line.startswith("+ "):
            after.append(line[2:].strip())
    return "\n".join(before), "\n".join(after)


def tests_of(module: str) -> tuple[str, ...]:
    """The tests that must notice a mutant of a module."""
    return RETRIEVAL_TESTS if module.startswith("secure_rag.retrieval.") else POLICY_TESTS


def survives(mutant: Mutant | None) -> bool:
    """Whether the decision tests pass with a mutant, or all of them without one."""
    child = os.fork()
    if child == 0:
        _run_tests(mutant)
    deadline = time.monotonic() + WALL_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.WIFEXITED(status) and os.WEXITSTATUS(status) == int(pytest.ExitCode.OK)
        time.sleep(0.05)
    # One that never ends does not pass.
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(mutant: Mutant | None) -> None:
    """Run the tests in this process and exit with pytest's code; never returns."""
    code = 70
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        sys.dont_write_bytecode = True
        if mutant is not None:
            sys.meta_path.insert(0, _MutatedFinder(mutant))
        os.chdir(ROOT)
        plugins = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist")
        tests = tests_of(mutant.module) if mutant else (*POLICY_TESTS, *RETRIEVAL_TESTS)
        code = int(pytest.main(["-x", "-q", *plugins, *tests]))
    finally:
        os._exit(code)


def justified() -> dict[tuple[str, str, str], str]:
    """Reasons of the survivors that were looked at, by module and changed lines."""
    with SURVIVORS.open("rb") as file:
        entries = tomllib.load(file).get("survivor", [])
    return {(x["module"], x["before"].strip(), x["after"].strip()): x["why"] for x in entries}


def say(text: str) -> None:
    """One line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the mutants that were asked for; 0 only when every survivor is justified and every reason is needed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--module", action="append", choices=sorted(TARGETS), help="only this module")
    options.add_argument("--part", default="1/1", help="only a part of the mutants, for example 2/4")
    options.add_argument("--known", action="store_true", help="only the survivors in the list")
    chosen = options.parse_args()
    for name in _THIRD_PARTY:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = scratch
        return _run(chosen)


def _run(chosen: argparse.Namespace) -> int:
    part, parts = (int(x) for x in chosen.part.split("/"))
    reasons = justified()
    if not survives(None):
        say("the tests fail without a mutant")
        return 1
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for module in chosen.module or TARGETS:
        found = [x for x in mutants(module) if not chosen.known or (x.module, x.before, x.after) in reasons]
        for mutant in found[part - 1 :: parts]:
            key = (mutant.module, mutant.before, mutant.after)
            outcome = "survived" if survives(mutant) else "killed"
            counts[f"{module} {outcome}"] += 1
            counts[outcome] += 1
            if (outcome == "survived") != (key in reasons):
                wrong.append(f"{outcome}: {module}\n  - {mutant.before}\n  + {mutant.after}")
                say(wrong[-1])
        say(f"{module}: {counts[f'{module} killed']} killed, {counts[f'{module} survived']} survived")
    total = counts["killed"] + counts["survived"]
    say(
        f"{counts['killed']} of {total} mutants killed, {counts['survived']} survived, {len(wrong)} to look at"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
