"""A run of permissions killed with SIGKILL at any moment, then repeated, ends like an undisturbed one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secure_rag.model.ids import PrincipalId
from secure_rag_api.permission_syncing import sync_source
from tests.controls import control
from tests.support.ingest_home import Source, World, acl_as_of, create_company, index, opened
from tests.support.server import PYTHONPATH, ROOT

pytestmark = pytest.mark.xdist_group("sync-killed")
OPERATOR = PrincipalId("user:operator")


def start(base: Path, wiki: Source) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.sync_child", str(base), str(wiki.manifest)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Source]:
    """Sixteen documents that lose one reader and get another; one sidecar is broken, another repaired."""
    base = tmp_path_factory.mktemp("sync")
    create_company(base)
    wiki = Source(base, "wiki")
    for number in range(16):
        wiki.write(f"{number:02d}.txt", f"The valve number {number} opens at nine bar.")
    broken = wiki.write("03.txt.acl.yaml", "locks: [")
    with opened(base) as world:
        world.run(wiki)
    broken.unlink()
    wiki.write("05.txt.acl.yaml", "locks: [")
    wiki.rules = [{"path": "**", "allow": ["user:ben"], "label": "Internal"}]
    wiki.save()
    shutil.copytree(base / "home", base / "first")
    return base, wiki


def take(base: Path) -> None:
    shutil.rmtree(base / "home")
    shutil.copytree(base / "first", base / "home")


def confirmed(world: World) -> int:
    return int(acl_as_of(world.opened, "wiki"))


@control("ingest:permission-sync", "ingest:crash-safe")
def test_killed_in_every_part_of_a_run_and_repeated(prepared: tuple[Path, Source]) -> None:
    base, wiki = prepared
    take(base)
    with opened(base) as world:
        first = confirmed(world)
    process = start(base, wiki)
    output, _ = process.communicate()
    lines = output.splitlines()
    assert json.loads(lines[-1]) == {"status": "completed"}
    with opened(base) as world:
        expected = index(world.opened)
        assert {x["state"] for x in expected.values()} == {"live", "withheld"}
    random = np.random.default_rng(7)
    in_between = 0
    for part in range(12):
        take(base)
        process = start(base, wiki)
        assert process.stdout is not None
        for _ in range(int(random.integers(part * len(lines) // 12, (part + 1) * len(lines) // 12)) + 1):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait(30)
        with opened(base) as world:
            # Each document as before or as after, never anything else; and nothing is confirmed before the end.
            found = index(world.opened)
            done = {key for key, x in found.items() if x == expected[key]}
            in_between += 0 < len(done) < len(expected)
            if len(done) < len(expected):
                assert confirmed(world) == first
            report = sync_source(world.opened, wiki.manifest, OPERATOR, lambda _: None)
            assert report.status.value == "completed"
            assert index(world.opened) == expected
    assert in_between >= 2
