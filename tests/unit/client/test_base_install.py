"""What applications install: httpx and pydantic, nothing else; the rest says by name what it needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import secure_rag
from secure_rag.errors import SecureRagError
from secure_rag.extras import MissingExtraError, require_server

ROOT = Path(__file__).resolve().parents[3]
ALLOWED = {
    "secure_rag",
    *("httpx", "httpcore", "h11", "anyio", "sniffio", "idna", "certifi"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
}
"""The two dependencies with what they need themselves."""

BLOCKED = f"""
import sys, importlib.abc
class Only(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {sorted(ALLOWED)!r} or top in sys.stdlib_module_names or top.startswith(("secure_rag", "_")):
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Only())
import importlib.util
real = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return real(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
"""


def run(code: str) -> str:
    paths = ":".join(str(ROOT / x) for x in (".", "acl", "ingestion", "api"))
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_base_installation_is_these_two() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = sorted(re.split(r"[\[<>=!~; ]", x)[0] for x in project["dependencies"])
    assert names == ["httpx", "pydantic"]


def test_all_that_applications_import_works_with_it() -> None:
    code = """
import secure_rag
assert not [x for x in sys.modules if x.startswith("secure_rag.")], "exports are lazy"
for name in secure_rag.__all__:
    getattr(secure_rag, name)
import secure_rag.model.decisions, secure_rag.model.locks, secure_rag.model.subject, secure_rag.ports
import secure_rag.retrieval.request
with secure_rag.Client("http://localhost:1", "a", "b"):
    pass
top = {x.partition(".")[0] for x in sys.modules}
print(*sorted(x for x in top if x not in sys.stdlib_module_names and not x.startswith("_")))
"""
    assert set(run(code).split()) <= ALLOWED


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("secure_rag.database.views", "secure_rag.database is part of the service and needs sqlalchemy"),
        ("secure_rag.stores.embedded", "secure_rag.stores is part of the service and needs numpy, "),
        ("secure_rag.embedding", "secure_rag.embedding is part of the service and needs "),
        ("secure_rag_acl.mappings", "secure_rag_acl is part of the service and needs casbin, "),
        ("secure_rag_api", "secure_rag_api is part of the service and needs fastapi, "),
        ("secure_rag_api.server", "secure_rag_api is part of the service and needs fastapi, "),
    ],
)
def test_a_part_of_the_service_says_what_to_install(module: str, needs: str) -> None:
    said = run(f"""
try:
    import {module}
except ImportError as error:
    print(type(error).__name__, error)
""")
    assert said.startswith(f"MissingExtraError {needs}")
    assert said.rstrip().endswith("pip install 'secure-rag[server]'")


def test_what_is_there_passes_and_what_is_missing_is_named() -> None:
    require_server("secure_rag.example", "json", "httpx")
    with pytest.raises(
        MissingExtraError, match=r"^secure_rag\.example .* needs no_such_a, no_such_b: "
    ) as caught:
        require_server("secure_rag.example", "json", "no_such_a", "no_such_b")
    assert isinstance(caught.value, SecureRagError)
    assert isinstance(caught.value, ImportError)
    assert caught.value.name == "secure_rag.example"


def test_exports_are_listed_and_nothing_else_is_there() -> None:
    assert set(secure_rag.__all__) <= set(dir(secure_rag))
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        secure_rag.Server  # noqa: B018 - the access is the test
