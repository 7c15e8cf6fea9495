"""A revocation, or its end, killed with SIGKILL at each of its steps: whole or not at all, and never unrecorded."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from secure_rag.audit.reading import tail
from secure_rag.database.revocations import Revocation
from secure_rag.model.ids import PrincipalId
from secure_rag_api import revoking
from tests.controls import control
from tests.support.ingest_home import Source, World, create_company, opened
from tests.support.server import PYTHONPATH, ROOT

pytestmark = pytest.mark.xdist_group("revoke-killed")
OPERATOR = PrincipalId("user:operator")
QUERY = "valve opens at nine bar"


def child(base: Path, step: int, what: str, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.revoke_child", str(base), str(step), what, name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A company whose Ann reads one document; kept beside as `first`."""
    folder = tmp_path_factory.mktemp("revoke")
    create_company(folder)
    wiki = Source(folder, "wiki")
    wiki.write("a.txt", "The valve opens at nine bar.")
    with opened(folder) as world:
        world.run(wiki)
        assert world.ask("user:ann", QUERY) == {"wiki/a.txt"}
    shutil.copytree(folder / "home", folder / "first")
    return folder


def take(base: Path, name: str) -> None:
    shutil.rmtree(base / "home")
    shutil.copytree(base / name, base / "home")


def held(world: World) -> list[Revocation]:
    return revoking.visible(world.opened, "acme", OPERATOR, ended=False)


@control("acl:revocation-whole")
def test_a_revocation_killed_at_each_step(base: Path) -> None:
    take(base, "first")
    steps = int(child(base, 0, "revoke", "user:ann").stdout)
    assert steps >= 8
    in_force = 0
    for step in range(1, steps + 1):
        take(base, "first")
        assert child(base, step, "revoke", "user:ann").returncode == -signal.SIGKILL
        with opened(base) as world:
            found = held(world)
            recorded = {x.event_id for x in tail(world.opened.home.audit, 100, kind="access_revoked")}
            assert {x.id for x in found} <= recorded
            assert world.ask("user:ann", QUERY) == (set() if found else {"wiki/a.txt"})
            in_force += len(found)
            revoking.revoke(
                world.opened, "acme", OPERATOR,
                principal=PrincipalId("user:ann"), source=None, document=None, reason="left",
            )  # fmt: skip
            assert world.ask("user:ann", QUERY) == set()
    # Killed after the commit it holds, killed before it does not: both happened.
    assert 1 <= in_force < steps


@control("acl:revocation-whole")
def test_the_end_of_a_revocation_killed_at_each_step(base: Path) -> None:
    take(base, "first")
    assert child(base, 0, "revoke", "user:ann").returncode == 0
    with opened(base) as world:
        (revocation,) = held(world)
    shutil.copytree(base / "home", base / "second")
    steps = int(child(base, 0, "lift", revocation.id).stdout)
    open_again = 0
    for step in range(1, steps + 1):
        take(base, "second")
        assert child(base, step, "lift", revocation.id).returncode == -signal.SIGKILL
        with opened(base) as world:
            ended = not held(world)
            lifted = tail(world.opened.home.audit, 100, kind="revocation_lifted")
            assert not ended or lifted
            assert world.ask("user:ann", QUERY) == ({"wiki/a.txt"} if ended else set())
            open_again += ended
    assert 1 <= open_again < steps
