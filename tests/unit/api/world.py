"""A small served home in memory: an issuer, a clock, a retriever, and ways to call the application."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.types import Message, Scope

from secure_rag.config import IssuerSettings
from secure_rag.errors import NotFoundError
from secure_rag.model.decisions import Answer, Retrieved
from secure_rag.model.ids import Micros
from secure_rag.model.labels import Trust
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_acl.access_lists import DocumentsPage, ReadersPage
from secure_rag_acl.explain_account import Account
from secure_rag_api.app import create_app
from secure_rag_api.auth.keys import FixedKeys, trusted_keys
from secure_rag_api.auth.tokens import TokenVerifier
from secure_rag_api.explaining import Asker, ExplainRequest, ListRequest
from secure_rag_api.rate import RateLimiter
from secure_rag_api.served import ServedHome

NOW_S = 1_790_000_000
ISSUER = IssuerSettings(issuer="https://idp.acme.example", jwks_file="jwks.json")  # type: ignore[arg-type]  # pydantic makes it a path
KEY = ECKey.generate_key("P-256")
OTHER_KEY = ECKey.generate_key("P-256")
KID = "acme-2026"
HEADER: Mapping[str, object] = {"alg": "ES256", "typ": "at+jwt", "kid": KID}
SUBJECT_HEADER: Mapping[str, object] = {**HEADER, "typ": "JWT"}


class ManualClock:
    """Time that moves when told to."""

    def __init__(self, seconds: int = NOW_S) -> None:
        self.micros = seconds * 1_000_000

    def now(self) -> Micros:
        return Micros(self.micros)

    def advance(self, seconds: float) -> None:
        self.micros += int(seconds * 1_000_000)


def jwks(*keys: tuple[str, ECKey]) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False, kid=kid) for kid, key in keys]}).encode()


def sign(header: Mapping[str, object], claims: Mapping[str, object], key: ECKey = KEY) -> str:
    return jwt.encode(dict(header), dict(claims), key, algorithms=["ES256"])


def unsigned(header: Mapping[str, object], claims: Mapping[str, object], signature: str = "") -> str:
    def part(value: Mapping[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}.{signature}"


def caller_claims(sub: object = "app:helpdesk", **changes: object) -> dict[str, object]:
    claims: dict[str, object] = {
        "iss": ISSUER.issuer,
        "aud": ISSUER.audience,
        "sub": sub,
        "tenant": "acme",
        "iat": NOW_S - 10,
        "exp": NOW_S + 600,
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def subject_claims(sub: object = "user:ada.marsh", **changes: object) -> dict[str, object]:
    return caller_claims(sub, **{"aud": ISSUER.subject_audience, **changes})


def caller_token(sub: object = "app:helpdesk", **changes: object) -> str:
    return sign(HEADER, caller_claims(sub, **changes))


def subject_token(sub: object = "user:ada.marsh", **changes: object) -> str:
    return sign(SUBJECT_HEADER, subject_claims(sub, **changes))


def chunk(chunk_id: str, text: str, **changes: object) -> Retrieved:
    values: dict[str, object] = {
        "chunk_id": chunk_id,
        "document_id": f"doc-{chunk_id}",
        "source": "handbook",
        "title": "Parental leave",
        "headings": ("People", "Leave"),
        "text": text,
        "score": 0.75,
        "label": "Internal",
        "trust": Trust.INTERNAL,
        "acl_as_of": Micros(NOW_S * 1_000_000),
    }
    return Retrieved(**{**values, **changes})  # type: ignore[arg-type]  # values of the right types by name


@dataclass
class FakeRetriever:
    """Answers from a dictionary: chunk id to its readers and content."""

    chunks: dict[str, tuple[frozenset[str], Retrieved]] = field(
        default_factory=dict[str, tuple[frozenset[str], Retrieved]]
    )
    before: Callable[[], object] = lambda: None
    asked: list[tuple[CallerIdentity, RetrievalRequest]] = field(
        default_factory=list[tuple[CallerIdentity, RetrievalRequest]]
    )
    fetched: list[tuple[CallerIdentity, str, str]] = field(
        default_factory=list[tuple[CallerIdentity, str, str]]
    )
    count: int = 0

    def retrieve(self, caller: CallerIdentity, request: RetrievalRequest) -> Answer:
        self.asked.append((caller, request))
        self.before()
        found = [c for readers, c in self.chunks.values() if str(caller.subject) in readers]
        return self._answer(found[: request.k])

    def chunk(self, caller: CallerIdentity, chunk_id: str, purpose: str = "qa") -> Answer:
        self.fetched.append((caller, chunk_id, purpose))
        self.before()
        readers, found = self.chunks.get(chunk_id, (frozenset[str](), None))
        if found is None or str(caller.subject) not in readers:
            raise NotFoundError(f"{chunk_id} is hidden from {caller.subject}")
        return self._answer([found])

    def _answer(self, found: Sequence[Retrieved]) -> Answer:
        self.count += 1
        label = found[0].label if found else None
        return Answer(f"decision-{self.count:04}", f"v-{self.count:04}", label, True, (), tuple(found))


class FakeExplainer:
    """Explains to nobody, as to whoever does not manage."""

    def explain(self, asker: Asker, asked: ExplainRequest) -> Account:
        raise NotFoundError(f"{asked.document} is not explained to {asker.principal}")

    def who_can(self, asker: Asker, asked: ListRequest) -> ReadersPage:
        raise NotFoundError(f"{asked.document} is not listed for {asker.principal}")

    def what_can(self, asker: Asker, asked: ListRequest) -> DocumentsPage:
        raise NotFoundError(f"nothing is listed for {asker.principal}")


@dataclass
class World:
    """Everything a test may turn."""

    clock: ManualClock = field(default_factory=ManualClock)
    retriever: FakeRetriever = field(default_factory=FakeRetriever)
    per_minute: int = 60_000
    not_ready: list[str] = field(default_factory=list[str])
    closed: int = 0

    def served(self) -> ServedHome:
        keys = FixedKeys(trusted_keys(jwks((KID, KEY)), "test keys"))
        return ServedHome(
            retriever=self.retriever,
            explainer=FakeExplainer(),
            tokens=TokenVerifier(ISSUER, keys, self.clock),
            limiter=RateLimiter(self.per_minute, self.clock),
            ready=lambda: list(self.not_ready),
            close=self._close,
        )

    def app(self, *, publish_contract: bool = False) -> FastAPI:
        return create_app(self.served(), publish_contract=publish_contract)

    def _close(self) -> None:
        self.closed += 1


class SyncAsgi(httpx.BaseTransport):
    """Lets the synchronous client call an application in this process; an exception of the app is a failure."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def go() -> httpx.Response:
            inner = httpx.ASGITransport(app=self._app)
            response = await inner.handle_async_request(request)
            content = await response.aread()
            return httpx.Response(
                response.status_code, headers=response.headers, stream=httpx.ByteStream(content)
            )

        return asyncio.run(go())


@dataclass(frozen=True)
class Reply:
    """A response as it left."""

    status: int
    headers: dict[str, str]
    body: bytes


def call(
    app: FastAPI,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | Sequence[bytes] = b"",
    *,
    query: str = "",
) -> Reply:
    """One request, byte for byte as given: nothing is added, merged or checked on the way."""
    parts = [body] if isinstance(body, bytes) else list(body)

    async def chunks() -> AsyncGenerator[Message, None]:
        for i, part in enumerate(parts):
            yield {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
        while True:
            yield {"type": "http.disconnect"}

    async def go() -> Reply:
        stream, sent = chunks(), list[Message]()

        async def receive() -> Message:
            return await anext(stream)

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await app(scope, receive, send)
        await stream.aclose()
        start, *rest = sent
        names = {k.decode(): v.decode() for k, v in start["headers"]}
        return Reply(start["status"], names, b"".join(x.get("body", b"") for x in rest))

    return asyncio.run(go())


def identity_headers(caller: str | None = None, subject: str | None = None) -> list[tuple[str, str]]:
    return [
        ("Authorization", f"Bearer {caller_token() if caller is None else caller}"),
        ("X-Subject-Token", subject_token() if subject is None else subject),
    ]


JSON = ("Content-Type", "application/json")


def ask(
    app: FastAPI, body: bytes = b'{"query":"leave"}', headers: Sequence[tuple[str, str]] | None = None
) -> Reply:
    """`POST /v1/retrieve` with two good tokens unless other headers are given."""
    return call(
        app, "POST", "/v1/retrieve", [JSON, *(identity_headers() if headers is None else headers)], body
    )
