"""Path patterns, by example."""

from __future__ import annotations

import pytest

from secure_rag.errors import PolicyError
from secure_rag.globs import Glob
from tests.controls import control


@control("acl:mapping-last-rule")
@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("*", "a", True),
        ("*", "a/b", False),
        ("*.md", "x.md", True),
        ("*.md", "dir/x.md", False),
        ("dir/**", "dir/x", True),
        ("dir/**", "dir/x/y", True),
        ("dir/**", "dir", False),
        ("dir/**", "other/dir/x", False),
        ("dir/*", "dir/x", True),
        ("dir/*", "dir/x/y", False),
        ("**/x", "x", True),
        ("**/x", "a/b/x", True),
        ("**/x", "a/b/xx", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/b/c", False),
        ("a/**/b/**/c", "a/b/x/b/c", True),
        ("**/**/x", "x", True),
        ("?.txt", "a.txt", True),
        ("?.txt", "ab.txt", False),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "aXbYbZ", False),
        ("a*", "a", True),
        ("Dir/*", "dir/x", False),
        (".*", ".hidden", True),
        ("*", ".hidden", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("caf\u00e9/*", "cafe\u0301/menu", True),
        ("a.b", "axb", False),
        ("*", "x\n", True),
        ("x", "x\n", False),
    ],
)
def test_match(pattern: str, path: str, expected: bool) -> None:
    assert Glob(pattern).matches(path) is expected


@pytest.mark.parametrize(
    "pattern", ["", "/a", "a/", "a//b", "./a", "a/../b", "a**", "**b/c", "***", "x" * 1_025]
)
def test_a_pattern_that_cannot_mean_anything_is_refused(pattern: str) -> None:
    with pytest.raises(PolicyError):
        Glob(pattern)


def test_a_hostile_pattern_takes_no_time() -> None:
    """Exponential matchers never come back from these."""
    assert not Glob("*a" * 200 + "b").matches("a" * 2_000)
    assert not Glob("/".join(["**", "a"] * 100) + "/b").matches("/".join(["a"] * 500))
