"""Run as a program: a revocation, or its end, that is killed at one of its steps.

Arguments: folder of the company, step at which it dies (0: none), `revoke` or `lift`, principal or revocation.
Prints how many steps there were.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from secure_rag.model.ids import PrincipalId
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api import revoking
from secure_rag_api.wiring import Installation, open_installation
from tests.support.ingest_home import DIMENSIONS


class Steps:
    """Counts, and dies at one."""

    def __init__(self, last: int) -> None:
        self.n = 0
        self._last = last

    def step(self, *_: object) -> None:
        self.n += 1
        if self.n == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def _watch(opened: Installation, steps: Steps) -> None:
    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(opened.engine, moment, steps.step)
    record = opened.audit.record

    def recording(*values: object, **named: object) -> None:
        steps.step()
        record(*values, **named)  # type: ignore[arg-type]  # passed through
        steps.step()

    opened.audit.record = recording  # type: ignore[method-assign]  # a step before and after


def main(base: str, last: str, what: str, name: str) -> None:
    steps = Steps(int(last))
    with open_installation(Path(base) / "home", embedder=HashingEmbedder(DIMENSIONS)) as opened:
        _watch(opened, steps)
        if what == "revoke":
            revoking.revoke(
                opened, "acme", PrincipalId("user:operator"),
                principal=PrincipalId(name), source=None, document=None, reason="left",
            )  # fmt: skip
        else:
            revoking.lift(opened, "acme", PrincipalId("user:other"), name)
        steps.step()
    sys.stdout.write(f"{steps.n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
