"""Ask a home on this host, or just a folder of documents, inside this process: for notebooks and tests.

    from secure_rag.local import open_folder, open_home

    with open_folder("docs", readers="everyone", default_label="Internal") as local:
        for result in local.retrieve("How long is parental leave?"):
            print(result.score, result.title)

    with open_home("/srv/rag-home") as local:
        answer = local.retrieve("How long is parental leave?", as_="user:ada.marsh", app="app:helpdesk")

Answers are those of `secure_rag.Client`: the same query flow decides and records them. There are no tokens: the OS
user must be an operator of the home, and acting as somebody is recorded with the operator's principal. Needs
`pip install 'secure-rag[server]'`.

The service is a layer above this package, so it is imported by its fixed name when a home is opened. Entry points
would do that too, but then any installed distribution could put itself in the place of the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from secure_rag.client.models import ChunkResponse, Filter, RetrieveResponse
from secure_rag.extras import require_server

__all__ = ["LocalHome", "open_folder", "open_home"]


class LocalHome(Protocol):
    """An open home."""

    @property
    def not_indexed(self) -> tuple[str, ...]:
        """What `open_folder` could not index or holds in quarantine: `path: reason`."""
        ...

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
        """The chunks nearest to a query among those that the subject and everybody in between may read.

        Args:
            query: 1 to 4096 characters.
            as_: subject, `user:…`, `service:…` or `agent:…`; you, the operator, when neither this nor `delegation`
                is given.
            app: calling application, or with `delegation` the agent that is its last hop; the only one otherwise.
            delegation: instead of `as_`.
            tenant: the home's default otherwise.
            k: 1 to 100 results wanted.
            filter: narrows the answer.
            purpose: must be among the purposes of every grant in the chain.
            context_id: names one conversation; external and confidential content are then kept apart in it.
            max_staleness_s: refuse when permissions of a source open to the subject are older, in seconds.
            explain: add to each result why it was allowed.

        Raises:
            InvalidRequestError: a field is out of its range, or there is no single calling application.
            AuthenticationError: the caller may not speak for this subject.
            NotFoundError: there is no such tenant.
            StaleSourceError: permissions are older than `max_staleness_s`.
            UnavailableError: nothing could be decided or recorded safely now.
        """
        ...

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
        """One chunk by id, decided anew.

        Raises:
            NotFoundError: there is no such chunk, or the subject may not read it.
            SecureRagError: as `retrieve` does.
        """
        ...


class _Service(Protocol):
    def open_home(self, home: Path) -> AbstractContextManager[LocalHome]: ...

    def open_folder(
        self, documents: Path, readers: str, default_label: str, home: Path | None
    ) -> AbstractContextManager[LocalHome]: ...


def open_home(home: str | Path) -> AbstractContextManager[LocalHome]:
    """Open a home that `secure-rag init` made.

    Entering raises:
        AuthenticationError: the OS user is no operator of this home.
        ConfigError: there is no home, or a file of it is damaged.
        ModelError: the embedding model is missing or altered.
    """
    return _service().open_home(Path(home))


def open_folder(
    documents: str | Path, *, readers: str, default_label: str, home: str | Path | None = None
) -> AbstractContextManager[LocalHome]:
    """Ingest a folder and open the home that holds it. Who may read is never guessed.

    Args:
        documents: the folder.
        readers: `everyone`, `nobody`, or people and groups (`user:…`, `group:…`) with commas. You are in each group
            and in `everyone`.
        default_label: label of the documents: Public, General, Internal, Confidential or Restricted.
        home: a folder that keeps the home, so that the next time only what changed is read; otherwise a private
            temporary one that is removed at the end.

    Entering raises:
        InvalidRequestError: an argument is wrong, or there is no such folder.
        ConfigError: `home` holds something else, or a home made for another folder, readers or label.
        IngestionError: the folder cannot be read.
    """
    return _service().open_folder(
        Path(documents), readers, default_label, None if home is None else Path(home)
    )


def _service() -> _Service:
    require_server(__name__, "fastapi", "sqlalchemy", "yaml")
    return cast("_Service", import_module("secure_rag_api.local"))
