"""`access_tests.yaml`: what certain people must see and must not see, whatever the mappings say.

tenant: acme
tests:
  - {id: payroll-stays-in-hr, as: user:ada.marsh, document: "hr/payroll/**", must_not_see: true}
  - id: agents-do-not-see-budgets
    as: user:dora.lindt
    agent: agent:researcher
    query: "What is the travel budget?"
    must_see: [handbook/travel.md]
    must_not_see: ["finance/budgets/**"]

`document` and the lists hold `SOURCE/path` or a pattern of it. A test without `query` asks what may be read; with one,
`must_see` is about the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.globs import Glob
from secure_rag_acl.data_files import read_bytes
from secure_rag_acl.fields import Principal, ShortName, StrictModel
from secure_rag_acl.yaml_files import parse_yaml


def _pattern(value: str) -> str:
    try:
        pattern = Glob(value).pattern
    except PolicyError as error:
        raise ValueError(str(error)) from None
    if "/" not in pattern:
        raise ValueError("a document is SOURCE/path, or a pattern of it")
    return pattern


Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[list[Pattern], Field(min_length=1)]


class AccessTest(StrictModel):
    """One test."""

    id: ShortName
    subject: Annotated[Principal, Field(alias="as")]
    agent: Principal | None = None
    app: Principal | None = None
    purpose: ShortName = "qa"
    query: Annotated[str, Field(min_length=1, max_length=4_000)] | None = None
    document: Pattern | None = None
    must_see: Patterns | bool | None = None
    must_not_see: Patterns | bool | None = None

    @model_validator(mode="after")
    def _one_form(self) -> AccessTest:
        said = (self.must_see, self.must_not_see)
        if self.document is not None:
            if self.query is not None or said not in ((True, None), (None, True)):
                raise ValueError(
                    "with `document`: either `must_see: true` or `must_not_see: true`, and no `query`"
                )
        elif any(isinstance(x, bool) for x in said) or said == (None, None):
            raise ValueError(
                "without `document`, `must_see` and `must_not_see` are lists of documents; give one"
            )
        if self.agent is not None and not self.agent.startswith("agent:"):
            raise ValueError("`agent` is agent:…")
        return self

    @property
    def seen(self) -> tuple[str, ...]:
        """Patterns of documents that must be seen."""
        return self._patterns(self.must_see)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Patterns of documents that must not be seen."""
        return self._patterns(self.must_not_see)

    def _patterns(self, said: list[str] | bool | None) -> tuple[str, ...]:
        if isinstance(said, list):
            return tuple(said)
        return (self.document,) if said is True and self.document is not None else ()


class AccessTestsFile(StrictModel):
    """`access_tests.yaml`."""

    tenant: ShortName
    tests: Annotated[list[AccessTest], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _unique(self) -> AccessTestsFile:
        names = [x.id for x in self.tests]
        double = next((x for x in names if names.count(x) > 1), None)
        if double is not None:
            raise ValueError(f"the test {double!r} occurs twice")
        return self


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that does not hold. `documents` are some of those that make it fail."""

    test: str
    why: str
    documents: tuple[str, ...] = ()

    def __str__(self) -> str:
        some = f": {', '.join(self.documents)}" if self.documents else ""
        return f"{self.test}: {self.why}{some}"


def load_access_tests(path: Path) -> AccessTestsFile:
    """Read access tests.

    Raises:
        ConfigError: it cannot be read or is malformed; names file and line.
    """
    return parse_access_tests(read_bytes(path), str(path))


def parse_access_tests(data: bytes, name: str) -> AccessTestsFile:
    """Access tests that were read already.

    Raises:
        ConfigError: it is malformed; names file and line.
    """
    return parse_yaml(data, name).validate(AccessTestsFile)


def of_tenant(file: AccessTestsFile, tenant: str) -> Sequence[AccessTest]:
    """The tests of a file.

    Raises:
        ConfigError: they are about another tenant.
    """
    if file.tenant != tenant:
        raise ConfigError(f"these access tests are about tenant {file.tenant!r}, not {tenant!r}")
    return file.tests


def matching(pattern: str, documents: Iterable[str]) -> list[str]:
    """Documents, `source/native id`, that a pattern names."""
    glob = Glob(pattern)
    return [x for x in documents if x == pattern or glob.matches(x)]
