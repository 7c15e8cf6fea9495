"""What a user's site-packages gets: four prefixed packages, typed, with the files that they read at run time."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "secure_rag": ROOT,
    "secure_rag_acl": ROOT / "acl",
    "secure_rag_ingestion": ROOT / "ingestion",
    "secure_rag_api": ROOT / "api",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of the built wheel by name."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    [built] = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_nothing_generic_lands_beside_other_packages(wheel: dict[str, bytes]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in wheel}
    assert {x for x in tops if not x.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


def test_every_package_is_typed_and_whole(wheel: dict[str, bytes]) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel)
    needed = {
        path.relative_to(place).as_posix()
        for package, place in PACKAGES.items()
        for path in (place / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {x for x in wheel if ".dist-info/" not in x} == needed
    assert {PurePosixPath(x).suffix for x in needed} >= {".conf", ".csv", ".yar", ".py"}


def test_it_names_its_licence_its_command_and_its_two_dependencies(wheel: dict[str, bytes]) -> None:
    texts = {name.split("/", 1)[1]: data.decode() for name, data in wheel.items() if ".dist-info/" in name}
    assert "Apache License" in texts["licenses/LICENSE"]
    head = texts["METADATA"].splitlines()
    assert "License-Expression: Apache-2.0" in head
    required = [x.removeprefix("Requires-Dist: ") for x in head if x.startswith("Requires-Dist: ")]
    base = sorted(re.split("[<>]", x)[0] for x in required if "extra ==" not in x)
    assert base == ["httpx", "pydantic"]
    commands = configparser.ConfigParser()
    commands.read_string(texts["entry_points.txt"])
    assert dict(commands["console_scripts"]) == {"secure-rag": "secure_rag_api.cli.main:main"}
