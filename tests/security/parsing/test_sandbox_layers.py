"""Systems that lack a wall: fatal by default, accepted only by configuration, and then said."""

from __future__ import annotations

import os

import pytest

from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason
from secure_rag_ingestion.parsing.sandbox import SandboxedParser, default_requirements
from tests.controls import control
from tests.security.parsing.hostile import LACKING, HostileParser

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the simulated system is made by root")


def test_every_wall_of_this_system_holds() -> None:
    with SandboxedParser() as parser:
        assert [layer.name for layer in parser.layers if not layer.holds] == []
        names = {layer.name for layer in parser.layers}
        assert {"netns", "rlimits", "no_new_privs", "landlock", "seccomp", "dumpable", "pdeathsig"} <= names


@needs_root
@control("parsing:walls-required")
@pytest.mark.parametrize("lacking", sorted(LACKING))
def test_a_missing_wall_is_fatal_unless_another_stands_for_it(lacking: str) -> None:
    parser = HostileParser(lacking=(lacking,))
    if lacking in ("netns", "seccomp"):  # each stands for the other
        with parser:
            assert [layer.name for layer in parser.layers if not layer.holds] == [lacking]
            assert parser.parse("a.txt", b"parsed").text == "parsed"
        return
    with pytest.raises(ParseFailure, match=lacking) as caught, parser:
        pass
    assert caught.value.reason is ParseReason.SANDBOX_UNAVAILABLE


@needs_root
@control("parsing:walls-required")
def test_without_seccomp_and_network_namespace_nothing_is_parsed() -> None:
    with (
        pytest.raises(ParseFailure, match=r"seccomp\|netns") as caught,
        HostileParser(lacking=("netns", "seccomp")),
    ):
        pass
    assert caught.value.reason is ParseReason.SANDBOX_UNAVAILABLE


@needs_root
@control("parsing:walls-required")
@pytest.mark.parametrize("lacking", ["landlock", "uid", "capabilities"])
def test_an_accepted_weakness_parses_and_is_told(lacking: str) -> None:
    with HostileParser(lacking=(lacking,), accept=frozenset({lacking})) as parser:
        assert [layer.name for layer in parser.layers if not layer.holds] == [lacking]
        assert parser.parse("a.txt", b"parsed").text == "parsed"
        assert parser.run("connect", "AF_INET", "SOCK_STREAM") == "ENOSYS"


@needs_root
@control("parsing:walls-required")
def test_without_seccomp_the_others_still_deny_files_and_network() -> None:
    with HostileParser(lacking=("seccomp",)) as parser:
        assert parser.run("read_file", "/etc/passwd") == "EACCES"
        assert parser.run("write_file", "/dev/shm/taken-over") == "EACCES"
        assert parser.run("execute") == "EACCES"
        assert parser.run("signal_process", os.getpid()) == "EPERM"
        assert parser.run("become_root") == "EPERM"


@needs_root
@control("parsing:walls-required")
def test_a_wall_that_goes_missing_later_stops_the_next_document() -> None:
    with HostileParser() as parser:
        parser._require = frozenset({*default_requirements(), "a wall of tomorrow"})
        with pytest.raises(ParseFailure, match="a wall of tomorrow") as caught:
            parser.parse("a.txt", b"never read")
        assert caught.value.reason is ParseReason.SANDBOX_UNAVAILABLE


@control("parsing:walls-required")
def test_the_child_itself_stops_when_a_required_wall_is_missing() -> None:
    class Blind(SandboxedParser):
        """A parent that does not look."""

        def _demand(self) -> None:
            return

    with pytest.raises(ParseFailure) as caught, Blind(require=frozenset({"a wall of tomorrow"})):
        pass
    assert caught.value.reason is ParseReason.SANDBOX_UNAVAILABLE


@control("parsing:walls-required")
def test_a_thread_in_the_template_process_is_refused() -> None:
    class Threaded(SandboxedParser):
        def _program(self) -> str:
            thread = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); "
            return thread + super()._program()

    with pytest.raises(ParseFailure, match="thread") as caught, Threaded():
        pass
    assert caught.value.reason is ParseReason.SANDBOX_UNAVAILABLE


class _Started(SandboxedParser):
    """Runs something in the template process before anything else is there."""

    def __init__(self, first: str) -> None:
        super().__init__()
        self._first = first

    def _program(self) -> str:
        return self._first + super()._program()


@control("parsing:walls-required")
def test_without_the_seccomp_library_the_network_namespace_stands_in() -> None:
    without = "import ctypes.util; real = ctypes.util.find_library; "
    without += "ctypes.util.find_library = lambda name: None if name == 'seccomp' else real(name); "
    with _Started(without) as parser:
        assert [layer.name for layer in parser.layers if not layer.holds] == ["seccomp"]
        assert parser.parse("a.txt", b"parsed").text == "parsed"


def test_a_missing_library_is_named() -> None:
    gone = "import sys; sys.modules['kreuzberg'] = None; "
    with pytest.raises(ParseFailure, match="kreuzberg") as caught, _Started(gone):
        pass
    assert caught.value.reason is ParseReason.SANDBOX_UNAVAILABLE
