"""What a caller may not see looks exactly like what is not there."""

from __future__ import annotations

import json
import re

from tests.controls import control
from tests.unit.api.world import Reply, World, ask, call, chunk, identity_headers, subject_token

READERS = frozenset({"user:ada.marsh"})


def world(*ids: str) -> World:
    made = World()
    for name in ids:
        made.retriever.chunks[name] = (READERS, chunk(name, f"text of {name}"))
    return made


def without_ids(reply: Reply) -> tuple[int, dict[str, str], bytes]:
    body = re.sub(rb'"(decision-|v-)\d+"', b'"id"', reply.body)
    return reply.status, {k: v for k, v in reply.headers.items() if k != "date"}, body


@control("api:denied-equals-unknown")
def test_hidden_and_absent_chunks_are_the_same_bytes() -> None:
    app = world("chunk-0001").app()
    stranger = identity_headers(subject=subject_token("user:lin.okafor"))
    paths = ["/v1/chunks/chunk-0001", "/v1/chunks/chunk-9999", "/v1/chunks/x", "/v1/nothing/here"]
    replies = [call(app, "GET", path, stranger) for path in paths]
    assert {x.status for x in replies} == {404}
    assert len({(x.body, tuple(sorted(x.headers.items()))) for x in replies}) == 1
    assert call(app, "GET", "/v1/chunks/chunk-0001", identity_headers()).status == 200


@control("api:denied-equals-unknown")
def test_a_denied_an_unknown_and_an_empty_answer_are_the_same_bytes_apart_from_ids() -> None:
    denied = ask(
        world("chunk-0001", "chunk-0002").app(),
        headers=identity_headers(subject=subject_token("user:lin.okafor")),
    )
    unknown = ask(
        world("chunk-0001").app(), headers=identity_headers(subject=subject_token("user:nobody.knows"))
    )
    empty = ask(world().app())
    assert without_ids(denied) == without_ids(unknown) == without_ids(empty)
    assert empty.status == 200


@control("api:denied-equals-unknown")
def test_an_answer_with_hidden_chunks_beside_it_has_the_same_bytes_apart_from_ids() -> None:
    alone, beside = world("chunk-0001"), world("chunk-0001")
    for i in range(50):
        beside.retriever.chunks[f"hidden-{i:04}"] = (
            frozenset({"user:ceo"}),
            chunk(f"hidden-{i:04}", "secret"),
        )
    first, second = ask(alone.app()), ask(beside.app())
    assert without_ids(first) == without_ids(second)
    assert len(json.loads(first.body)["results"]) == 1
