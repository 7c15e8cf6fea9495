"""Notebooks run from their first cell to their last, without a network, and what they claim comes out."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from tests.support.server import PYTHONPATH, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NO_NETWORK = """
import socket as _socket

def _refuse(*_arguments, **_options):
    raise OSError("a notebook needs no network")

_connect = _socket.socket.connect
_socket.socket.connect = lambda self, address: (
    _connect(self, address) if self.family == _socket.AF_UNIX else _refuse()
)
_socket.getaddrinfo = _refuse
"""


@pytest.fixture
def short_folder() -> Generator[Path]:
    """The path of a Unix socket has about a hundred bytes; that of a test's folder may need more."""
    folder = Path(tempfile.mkdtemp(prefix="nb"))
    yield folder
    shutil.rmtree(folder)


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda x: x.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    book = _read(path)
    for cell in book.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    assert set(book.metadata) == {"kernelspec", "language_info"}
    assert dict(book.metadata.language_info) == {"name": "python"}


def test_why_a_vector_filter_is_not_enough(short_folder: Path) -> None:
    book = _read(ROOT / "notebooks" / "01-why-a-vector-filter-is-not-enough.ipynb")
    seen = _run(book, short_folder, "import json; print(json.dumps([findings, to_rewrite, reasons]))")
    findings, to_rewrite, reasons = json.loads(seen)
    rows = {x["case"]: (x["right"], x["filter"], x["secure-rag"]) for x in findings}
    assert rows == {
        "Ada is in the firmware team": ("returned", "returned", "returned"),
        "Tess joins the firmware team": ("returned", "withheld", "returned"),
        "Pia is in the firmware team and a contractor; contractors are denied": (
            "withheld",
            "returned",
            "withheld",
        ),
        "Emil is in HR but not in the committee; both are needed": ("withheld", "returned", "withheld"),
        "Ada has left the firmware team": ("withheld", "returned", "withheld"),
        "No rule covers the folder of a draft lease": ("withheld", "returned", "withheld"),
        "Why was it withheld?": ("a reason", "none kept", "denied, label, not_on_list"),
        "Who saw what?": ("a record", "none kept", "6 of 6 answers, chain verified"),
    }
    assert to_rewrite > 0
    # Withheld by the permissions, and not because other documents were nearer.
    assert reasons == {
        "Pia, signing keys": "denied",
        "Emil, salary bands": "not_on_list",
        "Ada, signing keys": "not_on_list",
        "Ada, hedging (also above her clearance)": "label",
        "Sven, draft lease": "not_on_list",
    }
    table = book.cells[-3].outputs[-1].data["text/markdown"]
    assert all(f"| {case} | {' | '.join(cells)} |" in table for case, cells in rows.items())
    state = next(x.outputs[-1].data["text/plain"] for x in book.cells if "documents touched" in x.source)
    assert "'documents touched': 0" in state


def _read(path: Path) -> NotebookNode:
    book: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # has no types
    return book


def _cell(source: str) -> NotebookNode:
    cell: NotebookNode = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]  # has no types
    return cell


def _run(book: NotebookNode, folder: Path, last: str) -> str:
    """Run every cell and one more, in a kernel of its own; what the last one prints."""
    book.cells.insert(0, _cell(NO_NETWORK))
    book.cells.append(_cell(last))
    # Over TCP the kernel would listen on the network and say that nothing is encrypted.
    config = Config({"KernelManager": {"transport": "ipc", "connection_file": str(folder / "k.json")}})
    environment = {
        **os.environ,
        "PYTHONPATH": PYTHONPATH,
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder),
    }
    client = NotebookClient(
        book,
        config=config,
        kernel_name="python3",
        timeout=300,
        resources={"metadata": {"path": str(ROOT / "notebooks")}},
    )
    client.execute(env=environment)
    printed: str = book.cells[-1].outputs[0].text
    return printed
