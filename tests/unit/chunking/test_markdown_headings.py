from __future__ import annotations

import pytest

from secure_rag_ingestion.chunking.headings import heading_paths, markdown_headings
from secure_rag_ingestion.chunking.windows import windows
from secure_rag_ingestion.parsing.model import Heading


def outline(text: str) -> list[tuple[int, str, int]]:
    return [(x.level, x.text, x.offset) for x in markdown_headings(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\ntext\n## Two ##\n", [(1, "One", 0), (2, "Two", 11)]),
        ("One\n===\n\nTwo\n---\n", [(1, "One", 0), (2, "Two", 9)]),
        ("   ### Indented\n", [(3, "Indented", 3)]),
        ("# **Bold** `code` [link](https://acme.example)\n", [(1, "Bold code link", 0)]),
        ("# ![plan](x.png) of site\n", [(1, "plan of site", 0)]),
        ("# caf\u00e9 🦊\n# Next\n", [(1, "café 🦊", 0), (1, "Next", 9)]),
        ("a\r\n\r\n# Two\r\rx\r# Three", [(1, "Two", 5), (1, "Three", 14)]),
        ("Long\ntitle\n===\n", [(1, "Long title", 0)]),
        ("# a \\# b &amp; c\n", [(1, "a # b & c", 0)]),
    ],
)
def test_headings_are_found_with_their_offsets(text: str, expected: list[tuple[int, str, int]]) -> None:
    assert outline(text) == expected
    for _, _, offset in expected:
        assert not text[offset].isspace()


@pytest.mark.parametrize(
    "text",
    [
        "```\n# code\n```\n",
        "    # indented code\n",
        "> # quoted\n",
        "- # in a list\n",
        "#no blank\n",
        "####### seven\n",
        "#\n",
        "# <!-- -->\n",
        "\\# escaped\n",
        "<div>\n# html\n</div>\n",
        "---\ntitle: Leave\n---\n",
        "---\n# comment: x\n...\n",
    ],
)
def test_what_only_looks_like_a_heading_is_none(text: str) -> None:
    assert outline(text) == []


def test_headings_after_front_matter_keep_their_offsets() -> None:
    text = "---\ntitle: Leave\ntags: [a]\n---\n\n# Leave\n"
    assert outline(text) == [(1, "Leave", text.index("# Leave"))]


def test_rule_at_the_start_is_no_front_matter_without_an_end() -> None:
    assert outline("---\n\n# Title\n") == [(1, "Title", 5)]


def test_long_heading_is_cut() -> None:
    ((level, text, offset),) = outline("## " + "word " * 2_000)
    assert (level, offset) == (2, 0)
    assert len(text) <= 300


def test_paths_follow_levels() -> None:
    headings = [
        Heading(level=1, text="A", offset=0),
        Heading(level=3, text="A.x", offset=10),
        Heading(level=2, text="A.1", offset=20),
        Heading(level=3, text="A.1.1", offset=30),
        Heading(level=1, text="B", offset=40),
    ]
    starts = [0, 9, 10, 25, 30, 39, 40, 99]
    paths = list(heading_paths(reversed(headings), "x" * 100, [(start, start + 1) for start in starts]))
    assert paths == [
        ("A",),
        ("A",),
        ("A", "A.x"),
        ("A", "A.1"),
        ("A", "A.1", "A.1.1"),
        ("A", "A.1", "A.1.1"),
        ("B",),
        ("B",),
    ]


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("x\n# Late\ny", [(0, 1), (2, 10)], [(), ("Late",)]),
        ("# A\n\n## B\n\nbody\n\n## C\n\nmore", [(0, 31)], [("A", "B")]),
        ("A\n===\n\nB\n---\nbody", [(0, 18)], [("A", "B")]),
        ("# A\nbody\n## B\nmore", [(0, 18)], [("A",)]),
        ("# A\nbody\n## B\nmore", [(0, 8), (9, 18)], [("A",), ("A", "B")]),
        ("# A\n## B\n# C\nbody", [(0, 17)], [("C",)]),
        ("# A\n\n# B", [(0, 3), (5, 8)], [("A",), ("B",)]),
        ("# A\n\n# B", [(0, 8)], [("B",)]),
    ],
)
def test_headings_that_a_span_begins_with_count(
    text: str, spans: list[tuple[int, int]], expected: list[tuple[str, ...]]
) -> None:
    assert list(heading_paths(markdown_headings(text), text, spans)) == expected


@pytest.mark.parametrize(
    ("text", "sections", "expected"),
    [
        ("a" * 25, [], [(0, 10), (10, 20), (20, 25)]),
        ("aaaaaa aaaaaaaa", [], [(0, 7), (7, 15)]),
        ("aaaaa\n\na aaaaaa", [], [(0, 7), (7, 15)]),
        ("aaaaa\n\na # aaaa", [8], [(0, 8), (8, 15)]),
        ("aa aaaaaaaaaaaa", [2], [(0, 10), (10, 15)]),
        ("a" * 10, [5], [(0, 10)]),
    ],
)
def test_windows_end_at_the_best_place(
    text: str, sections: list[int], expected: list[tuple[int, int]]
) -> None:
    assert list(windows(text, sections, 10)) == expected
