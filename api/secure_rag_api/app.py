"""The HTTP application over an open home.

Requests pass, in this order: `LastResort` (no exception goes further), `Limits` (sizes, time, ambiguous headers),
then the route: authenticate, count, validate, decide on a worker thread, answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import orjson
from fastapi import FastAPI
from starlette.responses import Response

from secure_rag_api import openapi
from secure_rag_api.limits import LastResort, Limits
from secure_rag_api.problems import install_problems
from secure_rag_api.routes import chunks, explain, health, retrieve
from secure_rag_api.routes.calls import Calls, json_response
from secure_rag_api.served import Retriever, ServedHome

__all__ = ["Retriever", "create_app"]


def create_app(service: ServedHome, *, publish_contract: bool = False) -> FastAPI:
    """The application. Its lifespan ends with `service.close()`, after the last answer has left.

    Args:
        service: the open home.
        publish_contract: serve `/openapi.json`; for development. There is no page that would load scripts.
    """
    calls = Calls(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        yield
        await asyncio.to_thread(calls.close)

    app = FastAPI(
        title="secure-rag",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    install_problems(app)
    app.include_router(retrieve.router(calls, service.retriever))
    app.include_router(chunks.router(calls, service.retriever))
    app.include_router(explain.router(calls, service.explainer))
    app.include_router(health.router(service.ready))
    if publish_contract:
        app.add_api_route("/openapi.json", _contract_route(app), include_in_schema=False)
    # The last one added is the outermost.
    app.add_middleware(Limits)
    app.add_middleware(LastResort)
    return app


def _contract_route(app: FastAPI) -> Callable[[], Awaitable[Response]]:
    async def contract() -> Response:
        return json_response(orjson.dumps(openapi.document(app)))

    return contract
