from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.controls import control

ROOT = Path(__file__).resolve().parents[3]
_HOLDER = (
    "import sys; sys.path[:0] = sys.argv[1:3]\n"
    "from secure_rag_ingestion.parsing.sandbox import SandboxedParser\n"
    "parser = SandboxedParser().__enter__()\n"
    "print(parser._zygote.pid, parser._zygote.scratch, flush=True)\n"
    "sys.stdin.read()\n"
)


def _await_end(watch: int) -> bool:
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    return bool(poll.poll(60_000))


def test_outside_its_context_nothing_is_parsed() -> None:
    parser = SandboxedParser()
    with pytest.raises(ParseFailure) as caught:
        parser.parse("a.txt", b"text")
    assert caught.value.reason is ParseReason.SANDBOX_UNAVAILABLE
    with parser:
        assert parser.parse("a.txt", b"text").text == "text"
    with pytest.raises(ParseFailure):
        parser.parse("a.txt", b"text")
    parser.close()


@control("parsing:one-process-per-document")
def test_a_dead_template_process_is_replaced() -> None:
    with SandboxedParser() as parser:
        first = parser._zygote
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        assert parser.parse("a.txt", b"text").text == "text"
        second = parser._zygote
        assert second is not None
        assert second.pid != first.pid
        assert not first.scratch.exists()


def test_threads_take_turns_and_each_gets_its_own_answer() -> None:
    with SandboxedParser() as parser, ThreadPoolExecutor(8) as pool:
        texts = [f"document {number} " * 50 for number in range(40)]
        found = pool.map(lambda text: parser.parse("a.txt", text.encode()).text, texts)
        assert list(found) == texts


def test_a_parser_outlives_the_thread_that_started_it() -> None:
    parser = SandboxedParser()
    starter = threading.Thread(target=parser.__enter__)
    starter.start()
    starter.join()
    try:
        for _ in range(3):
            assert parser.parse("a.txt", b"text").text == "text"
    finally:
        parser.close()


def _in_another_process(parser: SandboxedParser, answer: multiprocessing.SimpleQueue[str]) -> None:
    try:
        answer.put(parser.parse("a.txt", b"text").text)
    except ParseFailure as error:
        answer.put(str(error.reason))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_process_does_not_share_the_parser() -> None:
    context = multiprocessing.get_context("fork")
    with SandboxedParser() as parser:
        answer: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
        process = context.Process(target=_in_another_process, args=(parser, answer))
        process.start()
        assert answer.get() == ParseReason.SANDBOX_UNAVAILABLE
        process.join()
        assert parser.parse("a.txt", b"text").text == "text"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs process descriptors")
def test_when_the_parent_is_killed_the_template_process_ends_and_takes_its_folder_along() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(ROOT), str(ROOT / "ingestion")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdout, holder.stdin:
        pid, folder = holder.stdout.readline().split(maxsplit=1)
        watch = os.pidfd_open(int(pid))
        holder.kill()
        holder.wait()
        assert _await_end(watch)
        os.close(watch)
    assert not Path(folder.strip()).exists()


def test_no_descriptor_is_left_open() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with SandboxedParser() as parser:
        parser.parse("a.txt", b"warm")
        before = count()
        for _ in range(5):
            parser.parse("a.txt", b"text")
            with pytest.raises(ParseFailure):
                parser.parse("a.pdf", b"%PDF-1.4 broken")
        assert count() == before
