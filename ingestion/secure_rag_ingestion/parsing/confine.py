"""The walls around one parse, put up by the process itself before it sees a byte of the document.

Invariants:
- every wall binds the calling thread only, so the process must have exactly one when `confine` is called;
- the order matters: namespaces need privileges, then the user id goes, then limits, then no_new_privs, which
  Landlock and seccomp need, and seccomp last because it denies what the others use;
- a wall that cannot be put up is reported, and `layers.unmet` says whether that is accepted; nothing here carries on
  silently.

RLIMIT_NPROC is not among them: it counts per user over the whole host, so a few parsers at once would starve each
other. Without it seccomp is what denies new processes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secure_rag_ingestion.parsing.layers import Layer

if sys.platform == "linux":
    import landlockpy

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522
_NOFILE = 32


@dataclass(frozen=True, slots=True)
class Walls:
    """What the walls allow.

    Attributes:
        memory_bytes: address space.
        cpu_seconds: of all threads together.
        user_id: to become, when started as root.
        parent: process id of the zygote.
    """

    memory_bytes: int
    cpu_seconds: int
    user_id: int
    parent: int


class Confinement:
    """Everything that the walls need, made while files can still be opened, and kept for every child."""

    def __init__(self, walls: Walls) -> None:
        self._walls = walls
        self._root = os.geteuid() == 0
        self._linux = sys.platform == "linux"
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._missing: dict[str, str] = {}
        if self._linux:
            try:
                # Its import fails on a system without libseccomp.
                from secure_rag_ingestion.parsing.syscalls import SyscallFilter

                self._filter = SyscallFilter()
            except (OSError, RuntimeError) as error:
                self._missing["seccomp"] = _said(error)
            try:
                # No path is granted: everything has been imported, and a document needs no file.
                self._rules = landlockpy.Ruleset(scoped=landlockpy.scope_for_abi(landlockpy.abi_version()))
            except OSError as error:
                self._missing["landlock"] = _said(error)

    @property
    def descriptors(self) -> frozenset[int]:
        """Descriptors that a child needs until the walls are up."""
        return (
            frozenset()
            if not self._linux or "landlock" in self._missing
            else frozenset({self._rules.fileno()})
        )

    def apply(self) -> list[Layer]:
        """Put up every wall that this system has and tell of each."""
        layers: list[Layer] = []

        def wall(name: str, build: Callable[[], str | None]) -> None:
            try:
                layers.append(Layer(name, holds=True, note=build() or ""))
            except (OSError, ValueError, RuntimeError) as error:
                layers.append(Layer(name, holds=False, note=_said(error)))

        if self._linux:
            wall("netns", self._namespaces)
        if self._root:
            wall("uid", self._drop_user)
        wall("rlimits", self._limits)
        if self._linux:
            wall("capabilities", self._drop_capabilities)
            wall("dumpable", lambda: self._prctl(_PR_SET_DUMPABLE, 0))
            wall("pdeathsig", self._die_with_parent)  # after the user id changed, which clears it
            wall("no_new_privs", lambda: self._prctl(_PR_SET_NO_NEW_PRIVS, 1))
            wall("landlock", self._landlock)
            wall("seccomp", self._seccomp)
        return layers

    def _namespaces(self) -> None:
        flags = _CLONE_NEWNET | _CLONE_NEWIPC
        self._call(self._libc.unshare, flags if self._root else flags | _CLONE_NEWUSER)

    def _drop_user(self) -> str:
        user = self._walls.user_id
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        return str(user)

    def _limits(self) -> None:
        cpu = self._walls.cpu_seconds
        limits = [
            # One second later the hard limit ends what ignores the signal of the soft one.
            (resource.RLIMIT_CPU, cpu, cpu + 1),
            (resource.RLIMIT_FSIZE, 0, 0),
            (resource.RLIMIT_NOFILE, _NOFILE, _NOFILE),
            (resource.RLIMIT_CORE, 0, 0),
        ]
        if self._linux:
            limits.append((resource.RLIMIT_AS, self._walls.memory_bytes, self._walls.memory_bytes))
        for which, soft, hard in limits:
            resource.setrlimit(which, (soft, hard))

    def _drop_capabilities(self) -> None:
        """A new user namespace comes with every capability inside it."""
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        self._call(self._libc.capset, header, (ctypes.c_uint32 * 6)())

    def _die_with_parent(self) -> None:
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._walls.parent:
            raise ProcessLookupError("the parent is gone")

    def _landlock(self) -> str:
        self._demand("landlock")
        with self._rules:
            self._rules.restrict()
        return f"abi {self._rules.abi_version}"

    def _seccomp(self) -> None:
        self._demand("seccomp")
        self._filter.load()

    def _demand(self, name: str) -> None:
        if name in self._missing:
            raise OSError(self._missing[name])

    def _prctl(self, option: int, value: int) -> None:
        self._call(self._libc.prctl, option, value, 0, 0, 0)

    @staticmethod
    def _call(function: Callable[..., int], *arguments: object) -> None:
        if function(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def thread_count() -> int:
    """Threads of this process as the kernel counts them, where it tells."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
