"""The conformance cases: this product passes all, and each retriever built as tutorials do fails as it must."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from secure_rag.testing.conformance import (
    Asker,
    Corpus,
    Leave,
    RetrieverUnderTest,
    SetPermissions,
    corpus_of,
    run,
)
from secure_rag.testing.conformance_cases import CASES
from secure_rag.testing.retrievers.langchain_filter import LangChainFilterRetriever
from secure_rag.testing.retrievers.post_filter import PostFilterRetriever
from secure_rag.testing.retrievers.qdrant_filter import QdrantFilterRetriever
from secure_rag_api.cli.main import app
from tests.controls import control

NAIVE: dict[type[RetrieverUnderTest], tuple[set[str], set[str]]] = {
    QdrantFilterRetriever: ({"X1", "X4", "X6", "Q1", "Q10", "L1", "L2", "L3"}, {"X3", "X5", "X7"}),
    LangChainFilterRetriever: ({"X3", "X6", "X9", "Q2", "Q10", "L1", "L2", "L3"}, {"X5", "X7", "L4"}),
    PostFilterRetriever: ({"X8", "L1", "L2", "L3"}, {"X7", "L4"}),
}
"""Where each leaks, and where it only misses what it should return."""


class Empty:
    """Returns nothing, or raises."""

    name = "empty"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def load(self, corpus: Corpus) -> None:
        assert corpus.documents

    def apply(self, change: SetPermissions | Leave) -> None:
        assert isinstance(change, SetPermissions | Leave)

    def search(self, asker: Asker, query: str, k: int) -> Sequence[str]:
        if self._error is not None:
            raise self._error
        return []


class Everything(Empty):
    """Returns all there is."""

    name = "everything"

    def load(self, corpus: Corpus) -> None:
        self._texts = [x.text for x in corpus.documents]

    def search(self, asker: Asker, query: str, k: int) -> Sequence[str]:
        return self._texts


@pytest.mark.parametrize("retriever", list(NAIVE))
def test_retrievers_as_tutorials_build_them_fail_where_they_must(
    retriever: type[RetrieverUnderTest],
) -> None:
    report = run(retriever())
    leaks, misses = NAIVE[retriever]
    assert {x.id for x in report.results if x.leaked} == leaks
    assert {x.id for x in report.results if x.missed and not x.leaked} == misses
    assert not report.passed
    assert report.leaks == len(leaks)


@control("ops:conformance")
def test_this_product_passes_every_case() -> None:
    # Logs of a run stand before the document when nothing has configured them.
    ran = CliRunner().invoke(app, ["conform", "--json"])
    (report,) = json.loads(ran.stdout.splitlines()[-1])["reports"]
    assert [x for x in report["cases"] if not x["passed"]] == []
    assert len(report["cases"]) == len(CASES)
    assert (ran.exit_code, report["passed"], report["leaks"]) == (0, True, 0)


@pytest.mark.parametrize("error", [None, ValueError("no filter for this")])
def test_returning_nothing_passes_no_case(error: Exception | None) -> None:
    report = run(Empty(error))
    assert not any(x.passed for x in report.results)
    assert report.leaks == 0
    assert all(("no filter" in x.error) is (error is not None) for x in report.results)


def test_returning_everything_leaks_in_every_case() -> None:
    report = run(Everything())
    assert report.leaks == len(CASES)


def test_cases_share_nothing() -> None:
    assert len(corpus_of(CASES).documents) > len(CASES)
    with pytest.raises(ValueError, match="two cases"):
        corpus_of((CASES[0], CASES[0]))


def test_the_table_and_a_retriever_of_ones_own() -> None:
    ran = CliRunner().invoke(
        app, ["conform", "--retriever", "post-filter", "--retriever", f"{__name__}:Everything"]
    )
    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    assert lines[0].split("\t")[2:] == ["vector search with a check afterwards", "everything"]
    assert lines[1].split("\t")[2:] == ["passes", "LEAKS"]
    assert lines[-1] == f"everything: 0 of {len(CASES)} passed, {len(CASES)} leak"


@pytest.mark.parametrize("name", ["nothing", "no.such.module:Class", "json:nothing", "json:__doc__"])
def test_a_retriever_that_is_not_there(name: str) -> None:
    ran = CliRunner().invoke(app, ["conform", "--retriever", name])
    assert ran.exit_code == 2
    assert "--retriever" in ran.stderr
