"""`POST /v1/retrieve`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from secure_rag.client.models import RetrieveResponse
from secure_rag_api.openapi import problems
from secure_rag_api.routes.calls import Calls, json_response
from secure_rag_api.schemas import answer_body, parse_request
from secure_rag_api.served import Retriever


def router(calls: Calls, retriever: Retriever) -> APIRouter:
    """The route over an open home."""
    routes = APIRouter()

    @routes.post(
        "/v1/retrieve",
        operation_id="retrieve",
        summary="Ask for the chunks nearest to a query",
        response_model=RetrieveResponse,
        responses=problems(400, 401, 408, 409, 413, 415, 429, 431, 500, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RetrieveBody"}}},
            }
        },
    )
    async def retrieve(request: Request) -> Response:
        """Only what the subject and everybody in between may see. Empty, denied and unknown look the same."""
        who = calls.admit(request)
        # Validated here and not by the framework, which would read the body before it knows who asks.
        asked = parse_request(await request.body())
        answer = await calls.decide(lambda: retriever.retrieve(who, asked))
        return json_response(answer_body(answer))

    return routes
