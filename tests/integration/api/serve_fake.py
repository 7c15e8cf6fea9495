"""A real server process over a retriever in memory: `python -m tests.integration.api.serve_fake HOME [impatient]`.

Says `listening PORT` when it is bound and `closed` when its home has been closed. The query `hold` says so through
the FIFO `HOME/holding` and waits for `HOME/release`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from secure_rag.config import Profile, Settings
from secure_rag.model.decisions import Answer
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_api.app import create_app
from secure_rag_api.auth.setup import verifier_of
from secure_rag_api.clock import SystemClock
from secure_rag_api.http11 import BoundedH11
from secure_rag_api.limits import Limits
from secure_rag_api.rate import RateLimiter
from secure_rag_api.served import ServedHome
from secure_rag_api.server import serve, server_config
from tests.unit.api.world import FakeExplainer, FakeRetriever, chunk


class Holding(FakeRetriever):
    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        self.chunks["chunk-0001"] = (frozenset({"user:ada.marsh"}), chunk("chunk-0001", "Leave is 16 weeks."))

    def retrieve(self, caller: CallerIdentity, request: RetrievalRequest) -> Answer:
        if request.query == "hold":
            (self._home / "holding").open("w", encoding="utf-8").close()
            (self._home / "release").read_text(encoding="utf-8")
        return super().retrieve(caller, request)


def main() -> None:
    home, clock = Path(sys.argv[1]), SystemClock()

    def say(*words: object) -> None:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()

    def open_home() -> ServedHome:
        settings = Settings(profile=Profile.DEVELOPMENT)
        return ServedHome(
            retriever=Holding(home),
            explainer=FakeExplainer(),
            tokens=verifier_of(home, settings, clock, host="127.0.0.1"),
            limiter=RateLimiter(60_000, clock),
            ready=list,
            close=lambda: say("closed"),
        )

    if sys.argv[2:] == ["impatient"]:
        import socket

        BoundedH11.head_seconds = 0.2
        listener = socket.create_server(("127.0.0.1", 0))
        say("listening", listener.getsockname()[1])
        app = Limits(create_app(open_home()), body_seconds=0.2)
        uvicorn.Server(server_config(app)).run(sockets=[listener])
        return
    serve(
        open_home,
        host="127.0.0.1",
        port=0,
        profile=Profile.DEVELOPMENT,
        started=lambda _, port: say("listening", port),
    )


if __name__ == "__main__":
    main()
