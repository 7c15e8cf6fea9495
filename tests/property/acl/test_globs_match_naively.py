"""The pattern matcher equals its definition, written as a recursion."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag.globs import Glob
from tests.controls import control

SEGMENTS = st.text("ab*?", min_size=1, max_size=4).filter(lambda x: "**" not in x)
PATTERNS = st.lists(st.one_of(st.just("**"), SEGMENTS), min_size=1, max_size=5)
PATHS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5)
SEEN: Counter[bool] = Counter()


def naive(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        rest = pattern[1:]
        if not [x for x in rest if x != "**"]:
            return bool(path)  # at the end: at least one segment
        return any(naive(rest, path[n:]) for n in range(len(path) + 1))
    return bool(path) and naive_segment(pattern[0], path[0]) and naive(pattern[1:], path[1:])


def naive_segment(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive_segment(pattern[1:], text[n:]) for n in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and naive_segment(pattern[1:], text[1:])


@settings(max_examples=2_000, deadline=None, derandomize=True)
@given(PATTERNS, PATHS)
def _match(pattern: list[str], path: list[str]) -> None:
    expected = naive(pattern, path)
    assert Glob("/".join(pattern)).matches("/".join(path)) is expected
    SEEN[expected] += 1


@control("acl:mapping-last-rule")
def test_patterns_mean_what_they_say() -> None:
    _match()
    assert min(SEEN[True], SEEN[False]) >= 200
