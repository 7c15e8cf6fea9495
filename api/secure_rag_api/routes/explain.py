"""`GET /v1/explain`, `/v1/who-can`, `/v1/what-can`: for who manages; to everybody else nothing is there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from secure_rag.errors import AuthenticationError, NotFoundError
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import MAX_NAME
from secure_rag_acl.access_lists import DocumentsPage, ReadersPage
from secure_rag_acl.access_pages import DEFAULT_PAGE, MAX_CURSOR, MAX_PAGE
from secure_rag_acl.explain_account import Account
from secure_rag_api.explaining import Asker, ExplainRequest, ListRequest
from secure_rag_api.openapi import problems
from secure_rag_api.problems import FieldError, RequestRefusedError
from secure_rag_api.routes.calls import Calls, json_response
from secure_rag_api.served import Explainer

MAX_DOCUMENT: Final = 2_048
MAX_AGENTS: Final = 3
_PRINCIPAL: Final = r"^(user|service|agent):[a-z0-9][a-z0-9._\-]{0,127}$"
_APP: Final = r"^app:[a-z0-9][a-z0-9._\-]{0,127}$"
_AGENT: Final = r"^agent:[a-z0-9][a-z0-9._\-]{0,127}$"
_INSTANT: Final = (
    r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One query parameter: what it may hold, in the contract and here alike."""

    pattern: str | None = None
    longest: int = MAX_NAME
    required: bool = False
    most: int = 1
    says: str = ""

    def schema(self) -> dict[str, Any]:
        """For the contract."""
        text: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": self.longest}
        if self.pattern is not None:
            text["pattern"] = self.pattern
        if self.most == 1:
            return text
        return {"type": "array", "items": text, "minItems": 1, "maxItems": self.most}

    def refuses(self, value: str) -> str | None:
        """What is wrong with a value, as a fixed code."""
        if not 1 <= len(value) <= self.longest:
            return "length"
        if self.pattern is not None and not re.fullmatch(self.pattern.strip("^$"), value, re.ASCII):
            return "form"
        return None


_DOCUMENT: Final = _Parameter(
    longest=MAX_DOCUMENT, required=True, says="Public identifier, or `source/native id`."
)
_PURPOSE: Final = _Parameter(says="Purpose of the call that is explained; `qa` otherwise.")
_SUBJECT: Final = _Parameter(_PRINCIPAL, 256, says="About whom; the asking subject otherwise.")
_APPLICATION: Final = _Parameter(_APP, 256, says="Through which application; the calling one otherwise.")
_FLAG: Final = "^(true|false)$"
_PAGE: Final = {
    "limit": _Parameter("^([1-9][0-9]?|[1-4][0-9]{2}|500)$", 3, says=f"Items, at most {MAX_PAGE}."),
    "cursor": _Parameter(r"^[A-Za-z0-9_\-]+={0,2}$", MAX_CURSOR, says="`next` of the page before."),
}
EXPLAIN: Final[Mapping[str, _Parameter]] = {
    "document": _DOCUMENT,
    "subject": _SUBJECT,
    "app": _APPLICATION,
    "agent": _Parameter(_AGENT, 256, most=MAX_AGENTS, says="Agents of the chain, in order."),
    "purpose": _PURPOSE,
    "at": _Parameter(_INSTANT, 20, says="A past instant, in UTC."),
}
WHO_CAN: Final[Mapping[str, _Parameter]] = {
    "document": _DOCUMENT,
    "expanded": _Parameter(_FLAG, 5, says="By name instead of by entry; a right of its own."),
    "purpose": _PURPOSE,
    **_PAGE,
}
WHAT_CAN: Final[Mapping[str, _Parameter]] = {
    "subject": _SUBJECT,
    "app": _Parameter(_APP, 256, says="Only through this application; through any otherwise."),
    "label": _Parameter(says="`NAME`, `>=NAME` or `<=NAME`."),
    "source": _Parameter(says="Only this source."),
    "purpose": _PURPOSE,
    **_PAGE,
}


def router(calls: Calls, explainer: Explainer) -> APIRouter:
    """The routes over an open home."""
    routes = APIRouter()

    @routes.get(
        "/v1/explain",
        operation_id="explain",
        summary="Why a document may be read, or not",
        response_model=Account,
        responses=problems(400, 401, 404, 429, 431, 500, 503),
        openapi_extra=_contract(EXPLAIN),
    )
    async def explain(request: Request) -> Response:
        """The whole path of one decision. Unknown, and not for this asker, are the same 404."""
        who = calls.admit(request)
        given = _given(request, EXPLAIN)
        asker = _asker(who)
        asked = ExplainRequest(
            document=given["document"][0],
            subject=_principal(given, "subject"),
            app=_principal(given, "app"),
            agents=tuple(PrincipalId(x) for x in given.get("agent", ())),
            purpose=_first(given, "purpose") or "qa",
            at=_instant(given),
        )
        return _answer(await calls.decide(lambda: explainer.explain(asker, asked)))

    @routes.get(
        "/v1/who-can",
        operation_id="who_can",
        summary="Who may read a document",
        response_model=ReadersPage,
        responses=problems(400, 401, 404, 429, 431, 500, 503),
        openapi_extra=_contract(WHO_CAN),
    )
    async def who_can(request: Request) -> Response:
        """By entry of its lists, or by name. Unknown, and not for this asker, are the same 404."""
        who = calls.admit(request)
        given = _given(request, WHO_CAN)
        asker, asked = _asker(who), _listed(given)

        def work() -> ReadersPage:
            try:
                return explainer.who_can(asker, asked)
            except AuthenticationError as error:
                # The tokens are in order: what the asker lacks is a right, and that is said to nobody.
                raise NotFoundError("not for this asker") from error

        return _answer(await calls.decide(work))

    @routes.get(
        "/v1/what-can",
        operation_id="what_can",
        summary="What somebody may read",
        response_model=DocumentsPage,
        responses=problems(400, 401, 404, 429, 431, 500, 503),
        openapi_extra=_contract(WHAT_CAN),
    )
    async def what_can(request: Request) -> Response:
        """Of the sources that may be explained to the asker. Unknown, and not for this asker, are the same 404."""
        who = calls.admit(request)
        given = _given(request, WHAT_CAN)
        asker, asked = _asker(who), _listed(given)
        return _answer(await calls.decide(lambda: explainer.what_can(asker, asked)))

    return routes


def _asker(who: CallerIdentity) -> Asker:
    """Whoever calls on a delegation has no subject of her own here, and manages nothing."""
    return Asker(who.tenant, who.subject or PrincipalId(""), who)


def _listed(given: Mapping[str, Sequence[str]]) -> ListRequest:
    limit = _first(given, "limit")
    return ListRequest(
        document=_first(given, "document") or "",
        subject=_principal(given, "subject"),
        app=_principal(given, "app"),
        label=_first(given, "label"),
        source=_first(given, "source"),
        expanded=_first(given, "expanded") == "true",
        purpose=_first(given, "purpose") or "qa",
        limit=DEFAULT_PAGE if limit is None else int(limit),
        cursor=_first(given, "cursor"),
    )


def _given(request: Request, known: Mapping[str, _Parameter]) -> dict[str, list[str]]:
    """The parameters of a request.

    Raises:
        RequestRefusedError: one is unknown, missing, repeated or malformed.
    """
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise RequestRefusedError([FieldError("query_string", "unexpected")])
        found.setdefault(name, []).append(value)
    refused = [FieldError(name, "missing") for name, x in known.items() if x.required and name not in found]
    for name, values in found.items():
        if len(values) > known[name].most:
            refused.append(FieldError(name, "repeated"))
        refused += [FieldError(name, code) for x in values if (code := known[name].refuses(x)) is not None]
    if refused:
        raise RequestRefusedError(refused)
    return found


def _first(given: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = given.get(name)
    return None if values is None else values[0]


def _principal(given: Mapping[str, Sequence[str]], name: str) -> PrincipalId | None:
    value = _first(given, name)
    return None if value is None else PrincipalId(value)


def _instant(given: Mapping[str, Sequence[str]]) -> Micros | None:
    text = _first(given, "at")
    if text is None:
        return None
    return Micros((datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1))


def _answer(found: Account | ReadersPage | DocumentsPage) -> Response:
    return json_response(orjson.dumps(found))


def _contract(known: Mapping[str, _Parameter]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    for name, x in known.items():
        one = {"name": name, "in": "query", "required": x.required, "schema": x.schema()}
        parameters.append(one | {"description": x.says} | ({"explode": True} if x.most > 1 else {}))
    return {"parameters": parameters}
