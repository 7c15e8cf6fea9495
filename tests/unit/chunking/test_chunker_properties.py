from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_rag_ingestion.chunking.chunker import Chunker
from secure_rag_ingestion.chunking.headings import markdown_headings
from secure_rag_ingestion.chunking.windows import windows
from tests.controls import control

# Pieces that mean something to a splitter or to Markdown, next to any characters, lone surrogates among them.
FRAGMENTS = st.sampled_from(
    [
        "word ",
        "A sentence ends here. ",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        "    ",
        "\n# Head\n",
        "\n## Sub #\n",
        "Title\n=====\n",
        "---\n",
        "- item\n",
        "1. item\n",
        "> quote\n",
        "```\ncode\n```\n",
        "```\n",
        "| a | b |\n|---|---|\n| c | d |\n",
        "[link](https://acme.example)",
        "<div>\n",
        "<!--",
        "-->",
        "**",
        "`",
        "漢字。",
        "é",
        "e\u0301",
        "👨\u200d👩\u200d👧",
        "\u200b",
        "\u2028",
        "\x00",
        "\x1c",
        "\x85",
        "\ufeff",
        "\ud800",
        "a" * 70,
        "\U000e0041",
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(st.characters(), max_size=12), max_size=60).map("".join)
MIMES = st.sampled_from(["text/plain", "text/markdown"])


class CountedTokens:
    max_tokens = 40

    def count_tokens(self, text: str) -> int:
        return 2 + sum(1 if x.isascii() else 3 for x in text)


def visible(text: str) -> str:
    return "".join(x for x in text if not x.isspace())


@control("chunking:complete", "chunking:bounded")
def test_chunks_are_exact_complete_ordered_and_bounded() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(TEXTS, MIMES, st.integers(1, 60), st.integers(0, 40), st.booleans())
    def check(text: str, mime: str, target: int, extra: int, limited: bool) -> None:
        tokens = CountedTokens() if limited else None
        chunks = Chunker(target, target + extra, tokens=tokens).split(text, None, mime)
        assert "".join(visible(x.text) for x in chunks) == visible(text)
        position = 0
        for chunk in chunks:
            assert position <= chunk.start < chunk.end <= len(text)
            assert chunk.text == text[chunk.start : chunk.end]
            assert visible(text[position : chunk.start]) == ""
            assert visible(chunk.text)
            assert len(chunk.text) <= target + extra
            if tokens and len(chunk.text) > 16:
                assert tokens.count_tokens(chunk.text) <= tokens.max_tokens
            position = chunk.end
        again = Chunker(target, target + extra, tokens=tokens).split(text, None, mime)
        assert again == chunks
        seen["several"] += len(chunks) > 3
        seen["headings"] += any(x.headings for x in chunks)
        seen["limited"] += limited and len(chunks) > 3

    check()
    assert seen["several"] > 60, seen
    assert seen["headings"] > 10, seen
    assert seen["limited"] > 30, seen


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_markdown_headings_stand_where_they_say(text: str) -> None:
    clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found = markdown_headings(clean)
    offsets = [heading.offset for heading in found]
    assert offsets == sorted(set(offsets))
    for heading in found:
        assert 1 <= heading.level <= 6
        assert heading.text == " ".join(heading.text.split())
        assert 0 < len(heading.text) <= 300
        assert 0 <= heading.offset < len(clean)
        assert clean[heading.offset] not in " \t\n\r"
        assert heading.offset == 0 or clean[: heading.offset].rstrip(" \t")[-1:] in ("", "\n", "\r")


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sets(st.integers(0, 300)), st.integers(2, 90))
def test_windows_follow_each_other_and_are_the_text(text: str, sections: set[int], size: int) -> None:
    spans = list(windows(text, sorted(sections), size))
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    for (_, end), (start, _) in pairwise(spans):
        assert end == start
    assert all(0 < end - start <= size for start, end in spans) or text == ""
