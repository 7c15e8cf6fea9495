"""Each control of the query-time detectors is taken out in turn; the scenarios below must notice.

A mutant is the module with one piece of its source replaced. The unchanged module passes all scenarios, every
mutant fails at least one: otherwise a scenario is missing.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import secure_rag.detection
from secure_rag.model.decisions import Notice
from secure_rag.model.findings import Verdict
from secure_rag.model.labels import Label, Taxonomy, Trust
from tests.controls import control
from tests.unit.detection.rows import CONFIDENTIAL, GENERAL, RESTRICTED, TAXONOMY, UNKNOWN, row

FOLDER = Path(secure_rag.detection.__file__).parent
CLAIM = (
    "the travel budget of the northern region was raised to nine hundred thousand euros by the board after a debate "
    "about the costs of the campaign and about the wishes of the sales teams which had asked for more in march"
)
EDITED = CLAIM.replace("march", "april")
REWORDED = "in spring the leadership gave far more money for journeys of colleagues from up north than anyone expected"


@contextmanager
def module(name: str, old: str = "", new: str = "") -> Generator[ModuleType]:
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    if old:
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {name}"
        source = source.replace(old, new)
    spec = importlib.util.spec_from_loader(f"mutant_of_{name}", loader=None)
    assert spec is not None
    mutant = importlib.util.module_from_spec(spec)
    sys.modules[mutant.__name__] = mutant  # dataclasses look their module up
    try:
        exec(compile(source, f"{name}.py", "exec"), mutant.__dict__)  # noqa: S102 - our own source, mutated
        yield mutant
    finally:
        del sys.modules[mutant.__name__]


def kept(
    m: ModuleType, rows: list[object], side: str | None = None, taxonomy: Taxonomy = TAXONOMY
) -> list[int]:
    result = m.split(rows, taxonomy, None if side is None else m.ContextSide(side))
    return [int(r.key) for r in result.kept]


def external(key: int, contributor: str = "user:m") -> object:
    return row(key, trust=Trust.EXTERNAL, contributor=contributor)


def both(key: int, contributor: str = "user:m") -> object:
    return row(key, trust=Trust.EXTERNAL, label=RESTRICTED, contributor=contributor)


def secret(key: int) -> object:
    return row(key, label=CONFIDENTIAL)


def mixing(m: ModuleType) -> None:
    assert kept(m, [external(1), row(2), secret(3)]) == [2, 3]
    assert kept(m, [external(1), row(2, label=UNKNOWN)]) == [2]
    assert kept(m, [external(1), row(2, trust=Trust.PARTNER)]) == [1, 2]
    assert kept(m, [row(1, trust=Trust.PARTNER), secret(2)]) == [1, 2]
    assert kept(m, [external(1), secret(2)], "external") == [1]
    assert kept(m, [external(1), secret(2)], "confidential") == [2]
    assert kept(m, [external(1), secret(2), both(3), row(4)], "both") == [4]
    assert kept(m, [both(1)], "external") == []
    assert kept(m, [both(1)], "confidential") == []
    assert kept(m, [both(1), secret(2)]) == [2]
    assert kept(m, [external(1), both(2)]) == [2]
    assert kept(m, [both(1), both(2, "user:t"), both(3)]) == [1, 3]
    assert kept(m, [both(1, ""), both(2, "")]) == [1]
    broken = Taxonomy({GENERAL: Label(GENERAL, "General", 1)}, GENERAL, UNKNOWN, 1)
    assert kept(m, [row(1), external(2)], taxonomy=broken) == [1]


def mixing_reports(m: ModuleType) -> None:
    assert m.split([both(1)], TAXONOMY, None).side == "both"
    assert m.split([external(1)], TAXONOMY, None).side == "external"
    assert m.split([row(1), external(2)], TAXONOMY, m.ContextSide.CONFIDENTIAL).side == "confidential"
    assert m.split([row(1)], TAXONOMY, None).side is None
    assert m.split([row(1)], TAXONOMY, m.ContextSide.BOTH).side == "both"
    assert m.split([external(1), secret(2)], TAXONOMY, None).notices == (Notice.EXTERNAL_WITHHELD,)
    held = m.split([external(1), secret(2)], TAXONOMY, m.ContextSide.EXTERNAL)
    assert held.notices == (Notice.CONFIDENTIAL_WITHHELD,)
    assert m.split([both(1)], TAXONOMY, m.ContextSide.EXTERNAL).notices == (Notice.CONFIDENTIAL_WITHHELD,)
    assert m.join_sides(m.ContextSide.EXTERNAL, m.ContextSide.CONFIDENTIAL) == "both"


def collapsing(m: ModuleType) -> None:
    def dropped(*rows: object, vectors: object = None) -> set[int]:
        return {int(key) for key in m.NearDuplicates().collapse(rows, vectors)}

    def low(
        key: int, text: str, who: str = "user:m", trust: Trust = Trust.EXTERNAL, source: str = "inbox"
    ) -> object:
        return row(key, text, trust, contributor=who, source=source)

    near = {n: np.array([np.cos(n / 10), np.sin(n / 10)], np.float32) for n in (1, 2)}
    assert dropped(low(1, CLAIM), low(2, EDITED), low(3, REWORDED)) == {2}
    assert dropped(low(1, CLAIM, trust=Trust.PARTNER), low(2, EDITED, trust=Trust.PARTNER)) == {2}
    assert dropped(row(1, CLAIM), row(2, CLAIM)) == set()
    assert dropped(low(1, EDITED), row(2, CLAIM)) == {1}
    assert dropped(low(1, EDITED), low(2, CLAIM, "user:t")) == set()
    assert dropped(low(1, CLAIM), low(2, CLAIM, "user:t")) == {2}
    assert dropped(low(1, CLAIM), low(2, CLAIM.replace(" of ", " -of ", 1), "user:t")) == set()
    assert dropped(low(1, EDITED, ""), low(2, CLAIM, "", source="fax")) == set()
    assert dropped(low(1, EDITED, ""), low(2, CLAIM, "")) == {2}
    assert dropped(low(1, CLAIM), low(2, REWORDED), vectors=near) == {2}
    assert dropped(low(1, CLAIM), low(2, REWORDED), vectors={1: near[1]}) == set()
    assert dropped(low(1, "yes"), low(2, "no")) == set()
    half = " ".join(CLAIM.split()[:18] + REWORDED.split()[:18])
    assert dropped(low(1, CLAIM), low(2, half)) == set()
    findings = m.NearDuplicates().inspect("", [low(1, CLAIM), low(2, CLAIM)])
    assert [f.verdict for f in findings.values()] == [Verdict.COLLAPSE]


def echoing(m: ModuleType) -> None:
    def flagged(query: str, text: str, title: str = "") -> bool:
        found = m.QueryEcho().inspect(query, [row(1, text, title=title)])
        return [f.verdict for f in found.values()] == [Verdict.ANNOTATE]

    query = "how long is parental leave"
    assert flagged(query, f"{query} three days")
    assert flagged(query, "long is parental leave how")
    assert not flagged(query, "how parental long leave is")
    assert not flagged(query, "is parental leave")
    assert not flagged(query, "sixteen weeks", title=query)
    assert not flagged("parental leave acme", "parental leave acme")
    assert flagged("育児休暇は何週間ですか", "育児休暇は何週間ですか")
    assert not flagged("育児休暇は", "育児休暇は")
    assert flagged("a b a c", "x a b a b a c x")
    evidence = [f.evidence for f in m.QueryEcho().inspect(query, [row(1, query)]).values()]
    assert not any("parental" in text for text in evidence)


SCENARIOS: dict[str, tuple[Callable[[ModuleType], None], ...]] = {
    "trust_mixing": (mixing, mixing_reports),
    "near_duplicates": (collapsing,),
    "query_echo": (echoing,),
}

SIDES = "(ContextSide.CONFIDENTIAL, ContextSide.BOTH, ContextSide.EXTERNAL)"
MUTANTS = [
    ("trust_mixing", "external = row.trust.level <= Trust.EXTERNAL.level", "external = False"),
    ("trust_mixing", "row.trust.level <= Trust.EXTERNAL.level", "row.trust.level <= Trust.PARTNER.level"),
    ("trust_mixing", "(row.label) >= taxonomy", "(row.label) > taxonomy"),
    ("trust_mixing", "taxonomy.mix_threshold not in taxonomy.labels or (", "("),
    ("trust_mixing", "taxonomy.rank_of_content(row.label)", "taxonomy.rank_of_clearance(row.label)"),
    ("trust_mixing", SIDES, "(ContextSide.EXTERNAL, ContextSide.BOTH, ContextSide.CONFIDENTIAL)"),
    ("trust_mixing", SIDES, "(ContextSide.CONFIDENTIAL, ContextSide.EXTERNAL, ContextSide.BOTH)"),
    ("trust_mixing", "    if context is ContextSide.BOTH:\n        return None\n", ""),
    ("trust_mixing", "    if context is not None:\n        return context\n", ""),
    ("trust_mixing", "or _author(row) == author", "or True"),
    (
        "trust_mixing",
        'if is_canonical(row.contributor) else f"document {row.document_id}"',
        "if row.contributor else row.source",
    ),
    ("trust_mixing", "ContextSide.BOTH if held else None", "min(held) if held else None"),
    ("trust_mixing", "join_sides(side, admitted)", "admitted"),
    ("trust_mixing", "join_sides(side, admitted)", "side"),
    ("trust_mixing", "and context is not ContextSide.EXTERNAL", ""),
    ("near_duplicates", "if row.trust.level <= _LOW_TRUST else None", ""),
    ("near_duplicates", "Trust.PARTNER.level", "Trust.EXTERNAL.level"),
    ("near_duplicates", "key=lambda row: -row.trust.level", "key=lambda row: row.trust.level"),
    ("near_duplicates", "key=lambda row: -row.trust.level", "key=lambda row: 0"),
    (
        "near_duplicates",
        "return self.contributor == other.contributor or self.plain == other.plain",
        "return True",
    ),
    ("near_duplicates", " or self.plain == other.plain", ""),
    ("near_duplicates", "self.plain == other.plain", "self.words == other.words"),
    ("near_duplicates", "return self.row.trust.level > other.row.trust.level", "return False"),
    ("near_duplicates", 'else (self.row.source, "")', 'else ("", "")'),
    ("near_duplicates", "overlap >= self.shingle", "overlap > 0.0"),
    ("near_duplicates", "overlap >= self.shingle", "overlap >= 1.0"),
    ("near_duplicates", "closeness > self.tau", "False"),
    ("near_duplicates", "closeness > self.tau", "closeness > -2"),
    ("near_duplicates", "Verdict.COLLAPSE", "Verdict.ANNOTATE"),
    ("query_echo", "tokens(row.text)", "tokens(row.title + row.text)"),
    ("query_echo", "words(asked) < self.minimum_words", "False"),
    ("query_echo", "words(asked) <", "len(asked) <"),
    ("query_echo", "score >= self.threshold", "score > self.threshold"),
    ("query_echo", "threshold: float = 0.8", "threshold: float = 0.5"),
    ("query_echo", "verdict=Verdict.ANNOTATE", "verdict=Verdict.COLLAPSE"),
    ("query_echo", "                length = self._longest[state]\n", ""),
    (
        "query_echo",
        "                state = self._link[state]\n                length = self._longest[state]\n",
        "                state = length = 0\n",
    ),
    ("query_echo", 'evidence=f"{run} of {len(asked)} query tokens in one run"', "evidence=query"),
]


def passes(scenario: Callable[[ModuleType], None], m: ModuleType) -> bool:
    try:
        scenario(m)
    except AssertionError:
        return False
    return True


@control("detection:trust-mixing", "detection:near-duplicates", "detection:query-echo")
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_unchanged_module_passes(name: str) -> None:
    with module(name) as unchanged:
        for scenario in SCENARIOS[name]:
            scenario(unchanged)


@control("detection:trust-mixing", "detection:near-duplicates", "detection:query-echo")
@pytest.mark.parametrize(("name", "old", "new"), MUTANTS)
def test_every_mutant_is_killed(name: str, old: str, new: str) -> None:
    with module(name, old, new) as mutant:
        assert not all(passes(scenario, mutant) for scenario in SCENARIOS[name])
