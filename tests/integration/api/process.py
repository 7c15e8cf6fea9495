"""Starts `serve_fake` and talks to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx

from secure_rag import Client
from secure_rag.config import Profile, Settings
from secure_rag_api.auth.development_issuer import DevelopmentIssuer, IssuedTokens
from secure_rag_api.clock import SystemClock

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Server:
    process: subprocess.Popen[str]
    home: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tokens(self, subject: str = "user:ada.marsh") -> IssuedTokens:
        issuer = DevelopmentIssuer.open(self.home, Settings(profile=Profile.DEVELOPMENT), SystemClock())
        return issuer.issue(app="app:helpdesk", tenant="acme", subject=subject)

    def client(self, subject: str = "user:ada.marsh") -> Client:
        tokens = self.tokens(subject)
        return Client(self.url, tokens.token, lambda: tokens.subject_token)

    def alive(self) -> bool:
        return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200

    def peak_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1])


@contextlib.contextmanager
def serving(home: Path, *arguments: str) -> Generator[Server, None, None]:
    paths = os.pathsep.join(str(ROOT / x) for x in (".", "acl", "ingestion", "api"))
    with (home / "stderr.txt").open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.integration.api.serve_fake", str(home), *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": paths},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert line[:1] == ["listening"], (home / "stderr.txt").read_text(encoding="utf-8")
        yield Server(process, home, int(line[1]))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
