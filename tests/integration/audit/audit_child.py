"""A process that records until it is told to stop or is killed, and prints each id once it is acknowledged."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from secure_rag.audit.log import AuditLog, AuditOptions
from secure_rag.audit.signing import load_signer
from tests.unit.audit.audit_world import StepClock


def main(folder: Path, prefix: str, threads: int, each: int) -> None:
    """Write `each` events per thread (0: without end)."""
    log = AuditLog(
        folder / "audit.db",
        load_signer(folder / "keys"),
        StepClock(),
        AuditOptions(timeout_s=60, busy_timeout_ms=30_000, checkpoint_every=50),
    )

    def work(thread: int) -> None:
        number = 0
        while not each or number < each:
            number += 1
            event_id = f"{prefix}-{thread}-{number}"
            log.record("acme", "retrieve", event_id, {"number": number})
            # One write call of a short line is one piece in the pipe, so a kill cannot tear it.
            os.write(1, f"{event_id}\n".encode())

    with log:
        workers = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
