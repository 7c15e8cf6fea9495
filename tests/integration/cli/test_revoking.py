"""`acl revoke`, `acl revocations`, `acl lift`: rights, records, and the next query of another process."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from secure_rag import NotFoundError
from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from tests.controls import control
from tests.integration.cli.company import Company, run_elsewhere, set_operators
from tests.integration.cli.test_two_processes import client, serving, titles


def roles(company: Company, **given: str) -> None:
    """Give roles to users; `data_owner` of the source wiki, the others of everything."""
    engine = open_engine(company.home / "control.db")
    with write(engine) as connection:
        p, s = t.principal.c, t.source.c
        tenant = connection.execute(sa.select(t.tenant.c.id)).scalar_one()
        wiki = connection.execute(sa.select(s.id).where(s.name == "wiki")).scalar_one()
        for name, role in given.items():
            who = connection.execute(sa.select(p.id).where(p.name == f"user:{name}")).scalar_one()
            source = wiki if role == "data_owner" else None
            row = {"tenant_id": tenant, "principal_id": who, "role": role, "source_id": source}
            connection.execute(sa.insert(t.role_assignment).values(**row, valid_from=0))
    engine.dispose()


def become(company: Company, name: str) -> None:
    from secure_rag_api.operators import os_user

    set_operators(company.home, {os_user(): f"user:{name}"})


def revoke(company: Company, *words: str) -> str:
    ran = company.run("acl", "revoke", *words, "--json")
    assert ran.code == 0, ran.err
    return str(ran.json["revocation"])


def listed(company: Company, *words: str) -> list[Any]:
    found: list[Any] = company.run("acl", "revocations", "--json", *words).json
    return found


@control("acl:revocation", "retrieval:revocation-next-query")
def test_the_next_query_of_a_serving_process_is_without_it(company: Company) -> None:
    with serving(company) as address, ExitStack() as closing:
        ann = client(closing, company, address, "--app", "app:chat", "--as", "user:ann")
        ben = client(closing, company, address, "--app", "app:chat", "--as", "user:ben")
        assert titles(ann) == ["colours", "drive", "manual"]
        drive = next(x.chunk_id for x in ann.retrieve("prototype drive") if x.title == "drive")

        def elsewhere(*words: str) -> str:
            ran = run_elsewhere("acl", *words, "--home", company.home)
            assert ran.code == 0, ran.err
            return ran.out.strip()

        elsewhere("revoke", "--document", "wiki/secret/drive.txt")
        assert titles(ann) == ["colours", "manual"]
        with pytest.raises(NotFoundError):
            ann.chunk(drive)
        elsewhere("revoke", "--principal", "user:ann", "--source", "wiki", "--reason", "left the project")
        assert (titles(ann), titles(ben)) == ([], ["colours", "manual"])
        last = elsewhere("revoke", "--source", "wiki")
        assert titles(ben) == []
        roles(company, operator="security_officer", ben="security_officer")
        become(company, "ben")
        elsewhere("lift", last)
        assert (titles(ann), titles(ben)) == ([], ["colours", "manual"])


@control("ops:separation-of-duties")
def test_nobody_lifts_her_own_and_everything_is_on_record(company: Company) -> None:
    roles(company, operator="security_officer", ann="security_officer")
    mine = revoke(company, "--principal", "group:engineers", "--reason", "audit finding 12")
    assert company.titles("user:ann") == []
    ran = company.run("acl", "lift", mine)
    assert (ran.code, company.titles("user:ann")) == (5, [])
    become(company, "ann")
    assert company.run("acl", "lift", mine).out == f"Lifted {mine}\n"
    assert company.titles("user:ann") == ["colours", "drive", "manual"]
    assert company.run("acl", "lift", mine).code == 6
    assert listed(company) == []
    (row,) = listed(company, "--all")
    assert (row["id"], row["principal"], row["revoked_by"], row["ended_by"], row["reason"]) == (
        mine, "group:engineers", "user:operator", "user:ann", "audit finding 12",
    )  # fmt: skip
    (made,) = company.events("access_revoked")
    assert made["event_id"] == mine
    assert (made["body"]["by"], made["body"]["principal"]) == ("user:operator", "group:engineers")
    (ended,) = company.events("revocation_lifted")
    assert (ended["body"]["by"], ended["body"]["revocation"]) == ("user:ann", mine)


@control("ops:roles")
def test_a_data_owner_revokes_in_her_own_source_only(company: Company) -> None:
    roles(company, operator="data_owner", ben="security_officer")
    revoke(company, "--document", "wiki/manual.txt")
    revoke(company, "--source", "wiki", "--principal", "user:ben")
    # Everything, another source, a source that is not there: the same answer.
    for words in (
        ("--principal", "user:ben"),
        ("--source", "hr"),
        ("--document", "hr/x.txt"),
        ("--document", "d_0"),
    ):
        ran = company.run("acl", "revoke", *words)
        assert (ran.code, ran.out) == (5, "")
    assert company.run("acl", "lift", "r_none").code == 5
    become(company, "ben")
    everywhere = revoke(company, "--principal", "user:gil")
    assert len(listed(company)) == 3
    become(company, "operator")
    assert everywhere not in {x["id"] for x in listed(company)}
    assert len(listed(company)) == 2
    ran = company.run("acl", "lift", everywhere)
    assert ran.code == 5


@control("ops:roles")
@pytest.mark.parametrize("role", ["auditor", "ingestion_engineer", "agent_registrar"])
def test_other_roles_revoke_nothing(company: Company, role: str) -> None:
    roles(company, operator=role)
    assert company.run("acl", "revoke", "--source", "wiki").code == 5
    assert company.run("acl", "revocations").code == (0 if role == "auditor" else 5)
    engine = open_engine(company.home / "control.db", read_only=True)
    with engine.connect() as connection:
        assert connection.execute(sa.select(t.revocation.c.id)).all() == []
    engine.dispose()


def test_wrong_usage_is_refused(company: Company) -> None:
    for words, code in (
        ((), 2),
        (("--source", "wiki", "--document", "wiki/manual.txt"), 2),
        (("--principal", "Ann"), 2),
        (("--principal", "user:nobody"), 6),
        (("--source", "hr"), 6),
        (("--document", "wiki/none.txt"), 6),
    ):
        ran = company.run("acl", "revoke", *words)
        assert (ran.code, ran.out) == (code, ""), ran.err
    assert company.run("acl", "lift", "r_none").code == 6
    assert company.events("access_revoked") == []
    assert listed(company) == []


def test_the_table_says_who_from_what_and_why(company: Company, tmp_path: Path) -> None:
    del tmp_path
    revoke(company, "--principal", "user:ann", "--reason", "left")
    revoke(company, "--document", "wiki/manual.txt")
    lines = [x.split("\t") for x in company.run("acl", "revocations").out.splitlines()]
    assert lines[0][:4] == ["revocation", "who", "from", "by"]
    assert [x[1:4] for x in lines[1:]] == [
        ["everybody", "wiki/manual.txt", "user:operator"],
        ["user:ann", "everything", "user:operator"],
    ]
    assert lines[2][-1] == "left"
