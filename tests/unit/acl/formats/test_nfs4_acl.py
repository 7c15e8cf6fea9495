"""What `nfs4_getfacl` prints, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import secure_rag_acl
from secure_rag.errors import ConfigError
from secure_rag_acl.formats import nfs4_acl
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions, PermissionDump
from tests.controls import control
from tests.support.acl_dumps import Case, nfs4_table, wrong
from tests.support.native_readers import may_read

ROOT = "# file: .\n# owner: root@x.example\n# group: root@x.example\nA::EVERYONE@:x\n\n"
HEAD = "# file: f.txt\n# owner: ada@x.example\n# group: staff@x.example\n"


def read(text: str, limits: Limits | None = None) -> PermissionDump:
    return nfs4_acl.read(text.encode(), "x", limits or Limits(), below_root=True)


@control("acl:nfs4-subset")
@pytest.mark.parametrize("case", nfs4_table(), ids=lambda x: str(x.id))
def test_golden(case: Case) -> None:
    assert wrong(case, nfs4_acl.read) is None


def test_every_entry_says_where_it_stands() -> None:
    found = read(f"{ROOT}{HEAD}D::bob@x.example:r\nA:g:GROUP@:rtncy\n").items["f.txt"]
    assert isinstance(found, NativePermissions)
    (lock,) = found.locks
    assert [(x.principal.name, x.place, x.entry) for x in lock.allow] == [
        ("nfs4-group:staff@x.example", "x:10", "A:g:GROUP@:rtncy")
    ]
    assert [(x.principal.name, x.place) for x in lock.deny] == [("nfs4-user:bob@x.example", "x:9")]


def test_an_unknown_deny_before_all_allows_closes() -> None:
    found = read(f"{ROOT}{HEAD}D::BATCH@:r\nA::EVERYONE@:r\n").items["f.txt"]
    assert isinstance(found, NativePermissions)
    assert [(x.entry, x.place) for x in found.locks[0].closed] == [("D::BATCH@:r", "x:9")]


@control("acl:text-dumps-refused")
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("", "x:6: no entries"),
        ("A::OWNER@\n", "x:9: not an entry"),
        ("A::OWNER@:r:x:1\n", "not an entry"),
        ("AA::OWNER@:r\n", "not an entry"),
        ("A:f1:OWNER@:r\n", "not an entry"),
        ("A:::r\n", "not an entry"),
        ("A:: ada@x.example:r\n", "not a name"),
        ("A::@x.example:r\n", "not a name"),
        ("A::ada\u200b@x.example:r\n", "control characters"),
        ("A::OWNER@:r\n# owner: eve@x.example\n", "after entries"),
        ("A::OWNER@:r\n\nD::EVERYONE@:r\n", "after the end"),
        ("user::rwx\n", "not an entry"),
        ("# colour: red\nA::OWNER@:r\n", "not an entry"),
    ],
)
def test_lists_that_are_withheld(entries: str, message: str) -> None:
    dump = read(f"{ROOT}{HEAD}{entries}\n# file: g.txt\nA::EVERYONE@:r\n")
    found = dump.items["f.txt"]
    assert isinstance(found, ItemProblem)
    assert message in f"{found.place}: {found.why}"
    assert isinstance(dump.items["g.txt"], NativePermissions), "the others go on"


def test_a_name_of_a_file_that_forges_a_block_withholds_both() -> None:
    # `nfs4_getfacl -R` does not escape: somebody created `x\n# file: f.txt\nA::EVERYONE@:r`.
    forged = f"{ROOT}{HEAD}A::OWNER@:r\n\n# file: x\n# file: f.txt\nA::EVERYONE@:r\n"
    found = read(forged).items["f.txt"]
    assert isinstance(found, ItemProblem)
    assert "second time" in found.why


@control("acl:text-dumps-refused")
def test_limits_and_envelope() -> None:
    text = f"{ROOT}{HEAD}A::OWNER@:r\n"
    for limits, message in (
        (Limits(max_bytes=10), "larger than"),
        (Limits(max_items=1), "more than 1 items"),
        (Limits(max_entries=4), "more than 4 entries"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(text, limits)
    with pytest.raises(ConfigError, match="folders-above"):
        nfs4_acl.read(text.encode(), "x")
    with pytest.raises(ConfigError, match="larger than"):
        nfs4_acl.read(bytes(100 << 20), "x", below_root=True)


def test_a_truncated_dump_never_widens() -> None:
    whole = f"{ROOT}{HEAD}D::bob@x.example:rw\nD:g:ops@x.example:r\nA::EVERYONE@:rtncy\n"
    for cut in range(len(ROOT) + len(HEAD), len(whole)):
        found = read(whole[:cut]).items.get("f.txt")
        if isinstance(found, NativePermissions) and found.locks[0].allow:
            assert {x.principal.name for x in found.locks[0].deny} == {
                "nfs4-user:bob@x.example", "nfs4-group:ops@x.example",
            }  # fmt: skip


def test_the_example() -> None:
    path = Path(secure_rag_acl.__file__).parents[1] / "examples" / "nfs4_acl" / "hr.nfs4"
    dump = nfs4_acl.read(path.read_bytes(), path.name)
    assert all(isinstance(x, NativePermissions) for x in dump.items.values())
    pay = dump.items["payroll/salaries.ods"]
    assert isinstance(pay, NativePermissions)
    in_payroll = ["nfs4-user:cy@corp.example", "nfs4-group:payroll@corp.example", "nfs4-everyone"]
    assert may_read(pay, in_payroll, 0)
    assert not may_read(pay, ["nfs4-user:bob@corp.example", "nfs4-everyone"], 0), "may not search payroll"
    assert not pay.narrowed


def test_the_documented_script_escapes_names(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    page = Path(__file__).parents[4] / "docs" / "formats" / "nfs4_acl.md"
    script = page.read_text(encoding="utf-8").split("```bash\n")[1].split("```")[0]
    source, tools = tmp_path / "hr", tmp_path / "bin"
    tools.mkdir()
    # Stands in for the real one, which needs a mounted NFSv4 file system.
    (tools / "nfs4_getfacl").write_text('#!/bin/sh\ntest -e "$2" && echo A::EVERYONE@:rx\n', encoding="utf-8")
    (tools / "nfs4_getfacl").chmod(0o755)
    for name in ("plain", "a\\b", "x\n# file: plain\nA::EVERYONE@:r", "d/ é"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("text", encoding="utf-8")
    done = subprocess.run(
        [bash, "-c", script.replace("/mnt/hr", str(source))],
        env={"PATH": f"{tools}:{os.environ['PATH']}"}, capture_output=True, check=True,
    )  # fmt: skip
    dump = nfs4_acl.read(done.stdout, "x")
    good = {x for x, found in dump.items.items() if isinstance(found, NativePermissions)}
    assert good == {"plain", "a\\b", "d/ é"}
    assert len(dump.items) == 4
    assert dump.as_of is not None
