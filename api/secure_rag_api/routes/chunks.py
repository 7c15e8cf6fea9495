"""`GET /v1/chunks/{chunk_id}`."""

from __future__ import annotations

import re
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from secure_rag.client.models import ChunkResponse
from secure_rag.errors import NotFoundError
from secure_rag.retrieval.request import MAX_NAME
from secure_rag_api.openapi import problems
from secure_rag_api.problems import FieldError, RequestRefusedError
from secure_rag_api.routes.calls import Calls, json_response
from secure_rag_api.schemas import chunk_body
from secure_rag_api.served import Retriever

CHUNK_ID: Final = r"^[A-Za-z0-9_-]{8,64}$"
_CHUNK_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


def router(calls: Calls, retriever: Retriever) -> APIRouter:
    """The route over an open home."""
    routes = APIRouter()

    @routes.get(
        "/v1/chunks/{chunk_id}",
        operation_id="chunk",
        summary="Fetch one chunk, decided anew",
        response_model=ChunkResponse,
        responses=problems(400, 401, 404, 429, 431, 500, 503),
        openapi_extra={
            "parameters": [
                {
                    "name": "chunk_id",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": CHUNK_ID},
                },
                {
                    "name": "purpose",
                    "in": "query",
                    "required": False,
                    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "default": "qa"},
                },
            ]
        },
    )
    async def chunk(request: Request) -> Response:
        """Unknown and denied are the same 404."""
        who = calls.admit(request)
        purpose = _purpose(request)
        chunk_id = str(request.path_params["chunk_id"])
        if not _CHUNK_ID.fullmatch(chunk_id):
            raise NotFoundError("no such chunk")
        answer = await calls.decide(lambda: retriever.chunk(who, chunk_id, purpose))
        return json_response(chunk_body(answer))

    return routes


def _purpose(request: Request) -> str:
    given = request.query_params.multi_items()
    if not given:
        return "qa"
    if len(given) != 1 or given[0][0] != "purpose":
        raise RequestRefusedError([FieldError("query_string", "unexpected")])
    if not 1 <= len(given[0][1]) <= MAX_NAME:
        raise RequestRefusedError([FieldError("purpose", "length")])
    return given[0][1]
