"""Readers of lists in text with a fault planted into one of their modules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from tests.support.acl_dumps import ReadDump

_PACKAGE = "secure_rag_acl.formats."
# Each imports those before it: a fault in one must be seen by all that follow.
_CHAIN = ("_folder_locks", "_posix_rules", "_nfs4_rules", "_acl_text", "posix_acl", "nfs4_acl")


def mutated(reader: str, module: str, replacements: Sequence[tuple[str, str]]) -> ReadDump:
    """`read` of a reader whose modules are loaded anew, one of them changed."""
    names = [_PACKAGE + x for x in _CHAIN]
    real = {x: import_module(x) for x in names}
    try:
        for name in names:
            path = real[name].__file__
            assert path is not None
            source = Path(path).read_text(encoding="utf-8")
            for old, new in replacements if name == _PACKAGE + module else ():
                assert old in source, f"{module} no longer holds: {old}"
                source = source.replace(old, new)
            fresh = ModuleType(name)
            sys.modules[name] = fresh
            exec(compile(source, name, "exec"), fresh.__dict__)  # noqa: S102 -- our own source, changed
        read: ReadDump = sys.modules[_PACKAGE + reader].__dict__["read"]
        return read
    finally:
        sys.modules.update(real)
