"""The contract as OpenAPI 3.1. `api/openapi.json` is its committed copy; a contract test compares the two."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from secure_rag_api.problems import MAX_FIELDS, MEDIA_TYPE, TYPE_PREFIX, Problem
from secure_rag_api.schemas import RetrieveBody

API_VERSION: Final = "1.0"
_REF: Final = "#/components/schemas/{model}"
_OPEN: Final = frozenset({"/healthz", "/readyz"})


class Status(BaseModel):
    """A service that answers."""

    status: Literal["ok", "ready"]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for its documentation."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    titles = {problem.status: problem.title for problem in Problem}
    return {status: {"description": titles[status], "content": content} for status in statuses}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an app."""
    found = get_openapi(
        title="secure-rag",
        version=API_VERSION,
        summary="Retrieval that returns only what the asking subject and everybody in between may see.",
        routes=app.routes,
    )
    body = RetrieveBody.model_json_schema(ref_template=_REF)
    schemas = found["components"]["schemas"]
    schemas.update(body.pop("$defs"))
    schemas["RetrieveBody"] = body
    schemas["Problem"] = _problem_schema()
    found["components"]["schemas"] = dict(sorted(schemas.items()))
    found["components"]["securitySchemes"] = {
        "caller": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The application, or the agent that is the last hop. `typ` is `at+jwt`.",
        },
        "subject": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Subject-Token",
            "description": (
                "The person, service or agent asked for, as a JWT of its own audience; or a delegation whose last "
                "hop is the caller, as a JWT with the claim `delegation` or literally `delegation:<id>`."
            ),
        },
    }
    for path, operations in found["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if path in _OPEN else [{"caller": [], "subject": []}]
    return found


def _problem_schema() -> dict[str, Any]:
    field = {
        "type": "object",
        "required": ["field", "code"],
        "properties": {"field": {"type": "string"}, "code": {"type": "string"}},
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "description": "RFC 9457 problem details: one of a closed set.",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "enum": [problem.type for problem in Problem]},
            "title": {"type": "string", "enum": [problem.title for problem in Problem]},
            "status": {"type": "integer", "enum": [problem.status for problem in Problem]},
            "errors": {"type": "array", "maxItems": MAX_FIELDS, "items": field},
        },
        "additionalProperties": False,
        "x-type-prefix": TYPE_PREFIX,
    }
