"""A real server process on loopback, started by a test and stopped by its own process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = os.pathsep.join(str(ROOT / x) for x in ("", "acl", "ingestion", "api"))


@contextmanager
def running(module: str, *arguments: str) -> Generator[str]:
    """Start `python -m module`, wait for its port, and give the base address."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), f"{module} did not start"
        address = f"http://127.0.0.1:{port}"
        # The listening socket exists before the port is printed, so the first request simply waits.
        with httpx.Client(base_url=address, timeout=60) as client:
            assert client.get("/healthz").status_code == 200
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
