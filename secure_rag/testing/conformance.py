"""Fail-closed conformance: the cases on which permission-aware retrieval leaks elsewhere, for any retriever.

Write a `RetrieverUnderTest` around yours and run it:

    from secure_rag.testing.conformance import run

    report = run(MyRetriever())
    assert report.passed, report.text()

Every case holds documents, somebody who asks, and by hand what she must and must not get. What must be found keeps
a retriever that returns nothing from passing. Cases `X1` to `X9` are defects that were executed in existing
products, `Q…` are rows of the fail-open table of vector database filters, the others are traps of every such layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Ask",
    "Asker",
    "Case",
    "CaseResult",
    "ConformanceReport",
    "Corpus",
    "Document",
    "Entry",
    "Leave",
    "RetrieverUnderTest",
    "SetPermissions",
    "run",
]

LABELS = ("Public", "Internal", "Secret")
"""In rising order."""
TENANT = "acme"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an access list, in the order of the list.

    Attributes:
        principal: native name of a person or group, compared byte for byte.
        allow: false for a deny.
        rights: what it grants or denies; only `read` is about reading.
        inherited: stands after the entries of the document itself.
        expired: ended before anybody asks.
    """

    principal: str
    allow: bool = True
    rights: frozenset[str] = frozenset({"read"})
    inherited: bool = False
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A document with all that decides who may read it.

    Attributes:
        key: unique word that its text holds; results are recognised by it.
        text: content.
        lists: access lists, all of which must admit the reader; None when the permissions could not be read. In a
            list the first entry that names the reader, directly or through a group, and is about reading decides.
        label: one of `LABELS`; None when nobody labelled it, which means the highest.
        second_label: another label from another place; the higher one counts.
        tenant: whose.
        id: identifier in its source; None where the source gives none.
        quarantined: held back by a scanner.
    """

    key: str
    text: str
    lists: tuple[tuple[Entry, ...], ...] | None
    label: str | None = "Public"
    second_label: str | None = None
    tenant: str = TENANT
    id: str | None = ""
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. `known` is false for a valid token whose subject no directory holds: she has no rights at all."""

    user: str
    clearance: str = "Public"
    tenant: str = TENANT
    known: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """A query, with what must and what must not be among its `k` results."""

    asker: Asker
    query: str
    must_see: frozenset[str] = frozenset()
    must_not_see: frozenset[str] = frozenset()
    k: int = 10


@dataclass(frozen=True, slots=True)
class SetPermissions:
    """From here on a document has other access lists."""

    key: str
    lists: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """From here on somebody is no longer a member of a group."""

    member: str
    group: str


@dataclass(frozen=True, slots=True)
class Case:
    """One trap."""

    id: str
    title: str
    documents: tuple[Document, ...]
    steps: tuple[Ask | SetPermissions | Leave, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Members of each group, people and groups."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents, groups and people of all cases together."""

    documents: tuple[Document, ...]
    groups: Mapping[str, tuple[str, ...]]
    askers: tuple[Asker, ...]


class RetrieverUnderTest(Protocol):
    """What is tested. An exception of `search` counts as an empty answer."""

    @property
    def name(self) -> str:
        """For the report."""
        ...

    def load(self, corpus: Corpus) -> None:
        """Index everything, once."""
        ...

    def apply(self, change: SetPermissions | Leave) -> None:
        """Take in a change as it would be taken in when it happens."""
        ...

    def search(self, asker: Asker, query: str, k: int) -> Sequence[str]:
        """Texts of the best `k` results, best first."""
        ...


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a retriever did on one case."""

    id: str
    title: str
    leaked: tuple[str, ...]
    """Keys that it returned and must not."""
    missed: tuple[str, ...]
    """Keys that it must return and did not."""
    error: str = ""
    """What it raised, if anything; for reading only."""

    @property
    def passed(self) -> bool:
        """Nothing leaked and nothing was missed."""
        return not self.leaked and not self.missed


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """All cases of one retriever."""

    retriever: str
    results: tuple[CaseResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every case passed."""
        return bool(self.results) and all(x.passed for x in self.results)

    @property
    def leaks(self) -> int:
        """How many cases leaked."""
        return sum(bool(x.leaked) for x in self.results)

    def text(self) -> str:
        """One line for each case that failed, and a sum."""
        lines = [
            f"{x.id}: {x.title}: leaked {list(x.leaked)}, missed {list(x.missed)} {x.error}".rstrip()
            for x in self.results
            if not x.passed
        ]
        passed = sum(x.passed for x in self.results)
        return "\n".join(
            [*lines, f"{self.retriever}: {passed} of {len(self.results)} passed, {self.leaks} leak"]
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "retriever": self.retriever,
            "passed": self.passed,
            "leaks": self.leaks,
            "cases": [
                {
                    "id": x.id,
                    "title": x.title,
                    "passed": x.passed,
                    "leaked": list(x.leaked),
                    "missed": list(x.missed),
                    "error": x.error,
                }
                for x in self.results
            ],
        }


def corpus_of(cases: Sequence[Case]) -> Corpus:
    """Everything that the cases need.

    Raises:
        ValueError: two cases share a key or a group.
    """
    documents = tuple(document for case in cases for document in case.documents)
    groups = {name: members for case in cases for name, members in case.groups.items()}
    keys = {document.key for document in documents}
    if len(keys) != len(documents) or len(groups) != sum(len(case.groups) for case in cases):
        raise ValueError("a key or a group occurs in two cases")
    asks = [step for case in cases for step in case.steps if isinstance(step, Ask)]
    return Corpus(documents, groups, tuple(dict.fromkeys(step.asker for step in asks)))


def run(retriever: RetrieverUnderTest, cases: Sequence[Case] | None = None) -> ConformanceReport:
    """Run the cases, all of them by default."""
    if cases is None:
        from secure_rag.testing.conformance_cases import CASES

        cases = CASES
    retriever.load(corpus_of(cases))
    return ConformanceReport(retriever.name, tuple(_run_case(retriever, case) for case in cases))


def _run_case(retriever: RetrieverUnderTest, case: Case) -> CaseResult:
    leaked: dict[str, None] = {}
    missed: dict[str, None] = {}
    error = ""
    for step in case.steps:
        if not isinstance(step, Ask):
            retriever.apply(step)
            continue
        texts: Sequence[str] = ()
        try:
            texts = retriever.search(step.asker, step.query, step.k)
        except Exception as raised:  # noqa: BLE001 -- whatever a foreign retriever raises, it returned nothing
            error = f"{type(raised).__name__}: {raised}"
        found = {
            key for key in step.must_see | step.must_not_see if any(key in text.split() for text in texts)
        }
        leaked |= dict.fromkeys(sorted(found & step.must_not_see))
        missed |= dict.fromkeys(sorted(step.must_see - found))
    return CaseResult(case.id, case.title, tuple(leaked), tuple(missed), error)
