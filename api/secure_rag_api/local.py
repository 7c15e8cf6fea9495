"""Behind `secure_rag.local`: homes that are asked in this process, by an operator and without tokens."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from secure_rag.client.models import ChunkResponse, Filter, RetrieveResponse
from secure_rag.config import Profile, load_settings
from secure_rag.database.home import Home
from secure_rag.errors import ConfigError, InvalidRequestError
from secure_rag.model.ids import PrincipalId
from secure_rag.model.subject import CallerIdentity
from secure_rag_api import starter
from secure_rag_api.asking import caller_of
from secure_rag_api.ingesting import ingest_source
from secure_rag_api.logs import configure_logs
from secure_rag_api.operators import operator
from secure_rag_api.problems import RequestRefusedError
from secure_rag_api.schemas import answer_body, chunk_body, parse_request
from secure_rag_api.starter import Folder, Plan
from secure_rag_api.wiring import Installation, open_installation
from secure_rag_ingestion.runs import Outcome, RunItem


class OpenedHome:
    """Implements `secure_rag.local.LocalHome`."""

    def __init__(self, opened: Installation, actor: PrincipalId, not_indexed: tuple[str, ...] = ()) -> None:
        self._opened = opened
        self._actor = actor
        self._not_indexed = not_indexed

    @property
    def not_indexed(self) -> tuple[str, ...]:
        """What the last run could not index or holds in quarantine: `path: reason`."""
        return self._not_indexed

    def retrieve(
        self,
        query: str,
        *,
        as_: str | None = None,
        app: str | None = None,
        delegation: str | None = None,
        tenant: str | None = None,
        k: int = 10,
        filter: Filter | Mapping[str, object] | None = None,
        purpose: str = "qa",
        context_id: str | None = None,
        max_staleness_s: int | None = None,
        explain: bool = False,
    ) -> RetrieveResponse:
        """The chunks nearest to a query; see `secure_rag.local.LocalHome`."""
        body: dict[str, object] = {"query": query, "k": k, "purpose": purpose, "explain": explain}
        optional = {"filter": _filter(filter), "context_id": context_id, "max_staleness_s": max_staleness_s}
        body |= {name: value for name, value in optional.items() if value is not None}
        # The very checks that a request over HTTP passes.
        try:
            request = parse_request(_json(body))
        except RequestRefusedError as error:
            refused = "; ".join(f"{x.field}: {x.code}" for x in error.fields)
            raise InvalidRequestError(refused) from error
        caller = self._acting(as_, app, delegation, tenant)
        answer = self._opened.retrieval.retrieve(caller, request)
        return RetrieveResponse.model_validate_json(answer_body(answer))

    def chunk(
        self,
        chunk_id: str,
        *,
        as_: str | None = None,
        app: str | None = None,
        delegation: str | None = None,
        tenant: str | None = None,
        purpose: str = "qa",
    ) -> ChunkResponse:
        """One chunk by id, decided anew; see `secure_rag.local.LocalHome`."""
        caller = self._acting(as_, app, delegation, tenant)
        answer = self._opened.retrieval.chunk(caller, chunk_id, purpose)
        return ChunkResponse.model_validate_json(chunk_body(answer))

    def _acting(
        self, as_: str | None, app: str | None, delegation: str | None, tenant: str | None
    ) -> CallerIdentity:
        """Who asks for whom; on record before anything is read."""
        name = tenant or self._opened.settings.tenant
        if name is None:
            raise InvalidRequestError("name a tenant")
        subject = str(self._actor) if as_ is None and delegation is None else as_
        caller = caller_of(self._opened, name, subject=subject, app=app, delegation=delegation)
        asked = {
            "by": self._actor,
            "caller": caller.caller,
            "subject": caller.subject,
            "delegation": delegation,
        }
        self._opened.audit.record(name, "acted_as", self._opened.new_id(), asked)
        return caller


@contextmanager
def open_home(home: Path) -> Generator[OpenedHome]:
    """Open a home for the OS user of this process; see `secure_rag.local.open_home`."""
    configure_logs()
    actor = operator(load_settings(home))
    with open_installation(home) as opened:
        yield OpenedHome(opened, actor)


@contextmanager
def open_folder(
    documents: Path, readers: str, default_label: str, home: Path | None
) -> Generator[OpenedHome]:
    """Ingest a folder and open the home that holds it; see `secure_rag.local.open_folder`."""
    if home is None:
        with (
            tempfile.TemporaryDirectory(prefix="secure-rag-") as temporary,
            open_folder(documents, readers, default_label, Path(temporary) / "home") as opened_home,
        ):
            yield opened_home
        return
    configure_logs()
    place = home.resolve()
    folder = Folder(
        starter.folder_of(documents, place),
        starter.readers_of(readers),
        starter.label_of(default_label),
    )
    plan = Plan("local", starter.operator_of(f"user:{starter.user_name()}"), Profile.DEVELOPMENT, (folder,))
    if not Home(place).control.exists():
        starter.start(place, plan)
    elif starter.differs(place, plan):
        raise ConfigError(f"{home}: this home was made for another folder, readers or label")
    actor = operator(load_settings(place))
    with open_installation(place) as opened:
        left: list[str] = []
        ingest_source(opened, place / "source.yaml", actor, lambda item, _total: left.extend(_left(item)))
        yield OpenedHome(opened, actor, tuple(left))


def _left(item: RunItem) -> list[str]:
    held = item.outcome in (Outcome.FAILED, Outcome.QUARANTINED)
    return [f"{item.native_id}: {item.reason}"] if held else []


def _filter(given: Filter | Mapping[str, object] | None) -> dict[str, object] | None:
    if given is None:
        return None
    try:
        checked = given if isinstance(given, Filter) else Filter.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidRequestError(f"filter: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return checked.model_dump(mode="json", exclude_none=True)


def _json(body: dict[str, object]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError):
        pass
    # Raised out here: an encoding error quotes the query.
    raise InvalidRequestError("a field cannot be sent as JSON in UTF-8")
