"""`secure-rag conform`: the fail-closed cases, against this product or any other retriever."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer

from secure_rag.errors import InvalidRequestError
from secure_rag.testing.conformance import ConformanceReport, RetrieverUnderTest, run
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.options import JsonOption
from secure_rag_api.cli.output import emit, printable, show_table
from secure_rag_api.conforming import conforming

OURS: Final = "secure-rag"
SHIPPED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "qdrant-filter": "secure_rag.testing.retrievers.qdrant_filter:QdrantFilterRetriever",
        "langchain-filter": "secure_rag.testing.retrievers.langchain_filter:LangChainFilterRetriever",
        "post-filter": "secure_rag.testing.retrievers.post_filter:PostFilterRetriever",
    }
)
ALL: Final = "all"


def conform(
    retriever: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{OURS}, {', '.join(SHIPPED)}, {ALL}, or MODULE:CLASS of your own, a "
            "secure_rag.testing.conformance.RetrieverUnderTest. Several times for several.",
            show_default=OURS,
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run the cases on which permission-aware retrieval leaks elsewhere, and say where each retriever fails.

    The product is tested as it is installed here, in a temporary home, through real ingest runs. Exit code 1 when a
    retriever that was asked for does not pass every case; `all` compares the others with the product and looks at
    the product alone.
    """
    chosen = retriever or [OURS]
    names = [OURS, *SHIPPED] if ALL in chosen else list(dict.fromkeys(chosen))
    reports: dict[str, ConformanceReport] = {}
    for name in names:
        with _opened(name) as under_test:
            reports[name] = run(under_test)
    if json_output:
        emit({"reports": [report.to_dict() for report in reports.values()]})
    else:
        _show(list(reports.values()))
    judged = [OURS] if ALL in chosen else names
    failed = not all(reports[name].passed for name in judged)
    raise typer.Exit(ExitCode.ATTENTION if failed else ExitCode.DONE)


@contextmanager
def _opened(name: str) -> Generator[RetrieverUnderTest]:
    if name != OURS:
        yield _load(SHIPPED.get(name, name))()
        return
    with (
        tempfile.TemporaryDirectory(prefix="secure-rag-conform-") as folder,
        conforming(Path(folder)) as ours,
    ):
        yield ours


def _load(target: str) -> Callable[[], RetrieverUnderTest]:
    """A class by its place.

    Raises:
        InvalidRequestError: it is not there, or its module needs something that is not installed.
    """
    module, _, attribute = target.partition(":")
    try:
        found: Any = getattr(import_module(module), attribute) if attribute else None
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequestError(f"--retriever {target}: {error}") from error
    if not callable(found):
        raise InvalidRequestError(
            f"--retriever {target}: one of {OURS}, {', '.join(SHIPPED)}, {ALL}, MODULE:CLASS"
        )
    return found  # type: ignore[no-any-return]  # what the user names is hers to get right


def _show(reports: list[ConformanceReport]) -> None:
    rows = [
        [first.id, first.title, *(_verdict(report, place) for report in reports)]
        for place, first in enumerate(reports[0].results)
    ]
    show_table(["case", "what must hold", *(report.retriever for report in reports)], rows)
    for report in reports:
        typer.echo(printable(report.text().splitlines()[-1]))


def _verdict(report: ConformanceReport, place: int) -> str:
    result = report.results[place]
    if result.leaked:
        return "LEAKS"
    return "passes" if result.passed else "misses"
