"""`secure-rag acl test`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from secure_rag.database.engine import write
from secure_rag.errors import InvalidRequestError
from secure_rag.model.ids import TenantKey
from secure_rag_acl.access_tests import of_tenant, parse_access_tests
from secure_rag_acl.data_files import decode, read_bytes
from secure_rag_acl.management import Action
from secure_rag_acl.policy_files import Bundle, store, tests_scope
from secure_rag_api.access_testing import Results, ask_queries, stored_tests, tester
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, tenant_name
from secure_rag_api.cli.output import emit, printable
from secure_rag_api.mapping_mutants import Mutation, mutate


def run_tests(
    home: HomeOption,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="access_tests.yaml; the stored tests otherwise.", show_default=False
        ),
    ] = None,
    mutation: Annotated[
        bool,
        typer.Option("--mutate", help="Take away each mapping rule, and report those that no test misses."),
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--store", help="Keep the file if its tests hold: from then on plans must pass it."),
    ] = False,
    source: Annotated[
        str | None,
        typer.Option("--source", help="With --store: of this source's owner. With --mutate: only its rules."),
    ] = None,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check what certain people must see and must not see. Exit code 1 when a test does not hold or a rule is missed.

    Every test is asked about rights; one with a query is asked, too. Asking as somebody is recorded.
    """
    with operating(home) as work:
        if keep and file is None:
            raise InvalidRequestError("--store needs --file")
        name = tenant_name(work.opened.settings, tenant)
        key = work.opened.tenant_key(name)
        if keep:
            work.require(Action.LABELS_PLAN if source is None else Action.MAPPING_EDIT, name, source)
        work.require(Action.POLICY_READ, name, source)
        text = None if file is None else decode(read_bytes(file), str(file))
        results, mutants = _run(work, key, name, text, str(file), source, mutation=mutation)
        if keep and text is not None and not results.failures:
            _store(work, key, name, text, source)
    _show(results, mutants, json_output=json_output)
    bad = results.failures or results.idle or (mutants is not None and mutants.survivors)
    raise typer.Exit(ExitCode.ATTENTION if bad else ExitCode.DONE)


def _run(
    work: Operation,
    tenant: TenantKey,
    name: str,
    text: str | None,
    place: str,
    source: str | None,
    *,
    mutation: bool,
) -> tuple[Results, Mutation | None]:
    opened = work.opened
    with opened.views.open() as view:
        if text is None:
            tests = stored_tests(view._connection, tenant, name)
        else:
            tests = list(of_tenant(parse_access_tests(text.encode("utf-8"), place), name))
        asking = tester(opened, view, tenant, name)
        results = asking.run(tests)
        asked = [x for x in tests if x.query is not None]
        if asked:
            # Answers to queries, as somebody: a right of its own.
            work.require(Action.ACT_AS, name)
            for x in asked:
                body = {"subject": x.subject, "agent": x.agent, "test": x.id}
                work.record("acted_as", body, tenant=name)
            found = ask_queries(opened, asking, asked)
            results = replace(results, failures=(*results.failures, *found))
        mutants = mutate(asking, tests, source) if mutation and not results.failures else None
    return results, mutants


def _store(work: Operation, tenant: TenantKey, name: str, text: str, source: str | None) -> None:
    scope, now = tests_scope(source), work.opened.clock.now()
    with write(work.opened.engine) as connection:
        n = store(connection, tenant, scope, Bundle(text), author=work.actor, now=now, note="access tests")
        work.record("access_tests_stored", {"scope": scope, "version": n}, tenant=name)


def _show(results: Results, mutants: Mutation | None, *, json_output: bool) -> None:
    if json_output:
        emit(asdict(results) | {"mutation": None if mutants is None else asdict(mutants)})
        return
    for failure in results.failures:
        typer.echo(printable(f"FAILED {failure}"))
    for idle in results.idle:
        typer.echo(printable(f"! {idle}"))
    failed = len({x.test for x in results.failures})
    typer.echo(f"{results.run - failed} of {results.run} tests hold.")
    if mutants is not None:
        for x in mutants.survivors:
            typer.echo(printable(f"not missed: {x.source} rule {x.rule} ({x.pattern}) at {x.place}: {x.why}"))
        for left in mutants.left_out:
            typer.echo(printable(f"! left out {left}"))
        missed = mutants.rules - len(mutants.survivors)
        typer.echo(f"The loss of {missed} of {mutants.rules} rules is noticed.")
