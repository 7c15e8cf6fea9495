"""A parser whose template process has an attacker in it, for tests only."""

from __future__ import annotations

import json
from pathlib import Path

from secure_rag_ingestion.parsing.model import ParsedDocument
from secure_rag_ingestion.parsing.process import PROGRAM
from secure_rag_ingestion.parsing.sandbox import SandboxedParser, SandboxLimits, default_requirements
from tests.security.parsing.attacks import MARK

ROOT = Path(__file__).resolve().parents[3]
PLAIN_USER = 54321

# The names of attacks become known before the walls are up, as whatever a document exploits would be.
_TAKE_OVER = (
    "import sys; sys.path[:0] = [{root!r}, *sys.argv[2:]]; "
    "from tests.security.parsing.attacks import install; install(); "
)
# A service that is not started by root. Root's Python may not be readable for others, so it is loaded before.
_AS_PLAIN_USER = (
    "from secure_rag_ingestion.parsing import zygote; zygote._load_everything(); "
    "import os; os.chown(os.environ['TMPDIR'], {user}, {user}); os.setgroups([]); "
    "os.setresgid({user}, {user}, {user}); os.setresuid({user}, {user}, {user}); "
    "import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0); "
)
# A kernel, or a container, that does not have something: these calls fail from the start.
_WITHOUT = (
    "import pyseccomp; lacking = pyseccomp.SyscallFilter(pyseccomp.ALLOW); "
    "[lacking.add_rule(pyseccomp.ERRNO(number), name, *(pyseccomp.Arg(0, pyseccomp.EQ, value) for value in first)) "
    "for name, number, first in {calls!r}]; lacking.load(); "
)

LACKING: dict[str, list[tuple[str, int, list[int]]]] = {
    "landlock": [("landlock_create_ruleset", 38, [])],
    "netns": [("unshare", 1, [])],
    "seccomp": [("seccomp", 22, []), ("prctl", 22, [22])],
    "uid": [("setresuid", 1, [])],
    "no_new_privs": [("prctl", 22, [38])],
    "capabilities": [("capset", 1, [])],
    "rlimits": [("prlimit64", 1, [])],
    "pdeathsig": [("prctl", 22, [1])],
}


class HostileParser(SandboxedParser):
    """Runs attacks in place of the extractor, as another user or on a lesser system when asked to."""

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        lacking: tuple[str, ...] = (),
        accept: frozenset[str] = frozenset(),
        plain_user: bool = False,
    ) -> None:
        required = default_requirements() - accept - ({"uid"} if plain_user else set())
        super().__init__(limits, require=frozenset(required))
        self._lacking = lacking
        self._plain_user = plain_user

    def _program(self) -> str:
        calls = [call for name in self._lacking for call in LACKING[name]]
        return (
            (_WITHOUT.format(calls=calls) if calls else "")
            + _TAKE_OVER.format(root=str(ROOT))
            + (_AS_PLAIN_USER.format(user=PLAIN_USER) if self._plain_user else "")
            + PROGRAM
        )

    def run(self, name: str, *arguments: object) -> object:
        """What an attack brought back."""
        return json.loads(self.document(name, *arguments).text)

    def document(self, name: str, *arguments: object) -> ParsedDocument:
        order = json.dumps({"name": name, "arguments": arguments}).encode()
        return self.parse("attack.txt", MARK + order)
