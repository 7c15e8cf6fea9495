"""The system calls that a parse needs; to the confined process no other exists.

An allow list: a call that a future kernel adds is denied without a change here. Denied calls answer "not
implemented", the error for which C libraries have a fallback.

Not on the list, each for a reason: `socket` and everything that connects, `execve`, `fork` and the process form of
`clone`, `kill` and its family except to itself, `ptrace` and `process_vm_*`, `chmod` and everything else that
changes a file system, `memfd_create`, `io_uring_*`, `bpf`, `unshare`, `setns`, `mount`, keys, and SysV and POSIX
message queues.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

if sys.platform == "linux":
    import pyseccomp

ALLOWED = (
    *(
        "read",
        "write",
        "readv",
        "writev",
        "pread64",
        "close",
        "close_range",
        "lseek",
        "dup",
        "dup3",
        "fcntl",
        "pipe2",
    ),
    *("open", "openat", "fstat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"),
    *("getdents64", "readlink", "readlinkat", "getcwd", "statfs", "fstatfs"),
    *("mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "membarrier"),
    *("futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "arch_prctl"),
    *(
        "sched_yield",
        "sched_getaffinity",
        "getcpu",
        "getpid",
        "gettid",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
    ),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("getrandom", "uname", "sysinfo", "getrusage", "getrlimit", "exit", "exit_group"),
    # The runtime of the extractor waits for its threads with these; its wake-up channel is a socket pair.
    *(
        "epoll_create1",
        "epoll_ctl",
        "epoll_wait",
        "epoll_pwait",
        "eventfd2",
        "poll",
        "ppoll",
        "select",
        "pselect6",
    ),
    *("recvfrom", "shutdown", "getsockopt"),
)

_CLONE_THREAD = 0x10000
_SOCK_TYPE_MASK = 0xF
_PR_SET_VMA = 0x53564D41
_PRCTL = (15, 16, _PR_SET_VMA)  # PR_SET_NAME, PR_GET_NAME
_IOCTL = (0x5401, 0x5421, 0x5450, 0x5451)  # TCGETS, FIONBIO, FIONCLEX, FIOCLEX


class SyscallFilter:
    """The filter, built before a document is there, so that only loading it is left."""

    def __init__(self) -> None:
        rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
        for name in ALLOWED:
            rules.add_rule(pyseccomp.ALLOW, name)
        # The extractor makes sure that its folder is there, which it is; nothing is made.
        for name in ("mkdir", "mkdirat"):
            rules.add_rule(pyseccomp.ERRNO(errno.EEXIST), name)
        self._rules = rules
        # Threads, not processes.
        self._when("clone", 0, _CLONE_THREAD, mask=_CLONE_THREAD)
        self._when("socketpair", 1, socket.SOCK_STREAM, mask=_SOCK_TYPE_MASK)
        # Only to the other end: a datagram could name any socket in the file system.
        self._when("sendto", 4, 0)
        # Read limits, never set them.
        self._when("prlimit64", 2, 0)
        for option in _PRCTL:
            self._when("prctl", 0, option)
        for request in _IOCTL:
            self._when("ioctl", 1, request)

    def load(self) -> None:
        """Bind the calling thread; needs no_new_privs or privileges."""
        # abort() signals the own process, which is known only now.
        self._when("tgkill", 0, os.getpid())
        self._rules.load()

    def _when(self, name: str, argument: int, value: int, mask: int | None = None) -> None:
        if mask is None:
            condition = pyseccomp.Arg(argument, pyseccomp.EQ, value)
        else:
            condition = pyseccomp.Arg(argument, pyseccomp.MASKED_EQ, mask, value)
        self._rules.add_rule(pyseccomp.ALLOW, name, condition)
