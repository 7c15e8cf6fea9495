from __future__ import annotations

import pytest

from secure_rag.errors import IngestionError
from secure_rag_ingestion.chunking import chunker as chunker_module
from secure_rag_ingestion.chunking.chunker import Chunker, TextChunk
from secure_rag_ingestion.parsing.model import Heading
from tests.controls import control

MARKDOWN = """# Leave

Employees of the sample company may take leave as follows.

## Parental leave

Sixteen weeks, fully paid. Ask the people team at least eight weeks ahead, in writing.

## Sick leave

Tell your manager before nine. A note is needed from the third day on, weekends included.
"""


class CharacterTokens:
    """One token for each character, two that frame a text."""

    max_tokens = 50

    def count_tokens(self, text: str) -> int:
        return len(text) + 2


def bodies(chunks: list[TextChunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def test_short_text_is_one_chunk_without_the_white_space_around() -> None:
    (chunk,) = Chunker().split(" \n Hello there. \n", None, "text/plain")
    assert chunk == TextChunk("Hello there.", 3, 15, ())


@pytest.mark.parametrize("text", ["", " ", "\n\t\r\n", "\x1c\x1f", "\u3000\u2028"])
def test_white_space_gives_no_chunk(text: str) -> None:
    assert Chunker().split(text, None, "text/plain") == []
    assert Chunker().split(text, None, "text/markdown") == []


def test_markdown_is_split_at_its_sections_with_their_headings() -> None:
    chunks = Chunker(100, 130).split(MARKDOWN, None, "text/markdown; charset=utf-8")
    assert [chunk.headings for chunk in chunks] == [
        ("Leave",),
        ("Leave", "Parental leave"),
        ("Leave", "Sick leave"),
    ]
    assert chunks[1].text.startswith("## Parental leave\n\nSixteen weeks")
    assert chunks[2].text.endswith("weekends included.")
    assert all(MARKDOWN[x.start : x.end] == x.text for x in chunks)


def test_heading_stays_with_the_section_below_it() -> None:
    text = "# Handbook\n\n## Offices\n\n" + "The office is open from seven to seven. " * 4
    (chunk,) = Chunker(150, 250).split(text, None, "text/markdown")
    assert chunk.text.startswith("# Handbook\n\n## Offices\n\nThe office")
    assert chunk.headings == ("Handbook", "Offices")


def test_headings_of_the_parser_are_used_for_other_formats() -> None:
    text = "Costs\n\n" + "Travel is paid. " * 20 + "\n\nPeople\n\n" + "Teams grow. " * 25
    found = [
        Heading(level=1, text="Costs", offset=0),
        Heading(level=1, text="People", offset=text.index("People")),
    ]
    chunks = Chunker(250, 330).split(text, found[::-1], "text/html")
    assert [chunk.headings for chunk in chunks] == [("Costs",), ("People",)]


def test_headings_are_no_part_of_a_body_that_has_none() -> None:
    text = "alpha beta"
    (chunk,) = Chunker().split(text, [Heading(level=2, text="Somewhere", offset=0)], "text/plain")
    assert (chunk.text, chunk.headings) == (text, ("Somewhere",))


def test_plain_text_is_not_read_as_markdown() -> None:
    (chunk,) = Chunker().split("# not a heading\n\ntext", None, "text/plain")
    assert chunk.headings == ()


def test_offsets_count_characters_not_bytes() -> None:
    text = "🦊 fox 🦊🦊. " * 40 + "Ende gut 👨‍👩‍👧. " * 40
    chunks = Chunker(80, 100).split(text, None, "text/plain")
    assert len(chunks) > 5
    assert all(text[x.start : x.end] == x.text for x in chunks)


def test_lone_surrogates_and_nul_keep_their_places() -> None:
    text = "ab\ud800cd\x00ef " * 30 + "\udfff"
    chunks = Chunker(40, 50).split(text, None, "text/markdown")
    assert "".join("".join(bodies(chunks)).split()) == "".join(text.split())
    assert all(text[x.start : x.end] == x.text for x in chunks)


@control("chunking:bounded")
def test_no_chunk_has_more_tokens_than_the_engine_reads() -> None:
    text = "漢字仮名交じり文。" * 40
    unlimited = Chunker(200, 250).split(text, None, "text/plain")
    limited = Chunker(200, 250, tokens=CharacterTokens(), reserved_tokens=8).split(text, None, "text/plain")
    assert max(len(x.text) for x in unlimited) > 50
    assert max(CharacterTokens().count_tokens(x.text) for x in limited) <= 42
    assert "".join(bodies(limited)) == text


@control("chunking:bounded")
def test_short_pieces_are_not_joined_beyond_the_token_limit() -> None:
    text = "# One two three four\n\n" + "five six seven eight nine ten"
    chunks = Chunker(60, 100, tokens=CharacterTokens()).split(text, None, "text/markdown")
    assert len(chunks) == 2
    assert all(len(x.text) + 2 <= 50 for x in chunks)


class HungryTokens:
    """Every character is more than the engine reads: nothing can be done about it."""

    max_tokens = 2

    def count_tokens(self, text: str) -> int:
        return 3 * len(text)


def test_splitting_for_tokens_ends() -> None:
    chunks = Chunker(80, 100, tokens=HungryTokens()).split("word " * 100, None, "text/plain")
    assert "".join("".join(bodies(chunks)).split()) == "word" * 100
    assert max(len(x.text) for x in chunks) <= 16


def test_long_text_without_any_break_is_split() -> None:
    text = "a" * 200_000
    chunks = Chunker().split(text, None, "text/plain")
    assert "".join(bodies(chunks)) == text
    assert max(len(x.text) for x in chunks) <= 1_100


def test_long_markdown_is_split_at_headings_across_windows() -> None:
    section = "## Part {}\n\n" + "The pump is checked before every start. " * 20
    text = "# Manual\n\n" + "\n\n".join(section.format(i) for i in range(250))
    assert len(text) > 200_000
    chunks = Chunker().split(text, None, "text/markdown")
    assert {x.headings[0] for x in chunks} == {"Manual"}
    assert {x.headings[-1] for x in chunks} == {f"Part {i}" for i in range(250)}
    assert "".join("".join(bodies(chunks)).split()) == "".join(text.split())


@control("chunking:complete")
@pytest.mark.parametrize(
    "pieces",
    [
        [(0, "alpha ")],
        [(6, "beta gamma")],
        [(0, "alpha"), (11, "gamma")],
        [(0, "alpha beta"), (6, "beta gamma")],
        [],
    ],
)
def test_splitter_that_loses_or_repeats_text_is_noticed(
    pieces: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Splitter:
        def __init__(self, capacity: object) -> None: ...

        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            return pieces

    monkeypatch.setattr(chunker_module, "TextSplitter", Splitter)
    monkeypatch.setattr(chunker_module, "_SHORT", 0)
    with pytest.raises(IngestionError, match="lost or repeated"):
        Chunker().split("alpha beta gamma", None, "text/plain")


def test_chunker_id_names_every_setting() -> None:
    ids = {
        Chunker().chunker_id,
        Chunker(800).chunker_id,
        Chunker(900, 1000).chunker_id,
        Chunker(tokens=CharacterTokens()).chunker_id,
        Chunker(tokens=CharacterTokens(), reserved_tokens=8).chunker_id,
    }
    assert len(ids) == 5
    assert Chunker().chunker_id == Chunker().chunker_id


@pytest.mark.parametrize(("target", "maximum"), [(0, 10), (-1, 10), (11, 10)])
def test_limits_are_checked(target: int, maximum: int) -> None:
    with pytest.raises(ValueError, match="target"):
        Chunker(target, maximum)


@pytest.mark.parametrize("reserved", [-1, 50, 51])
def test_reserved_tokens_are_checked(reserved: int) -> None:
    with pytest.raises(ValueError, match="reserved_tokens"):
        Chunker(tokens=CharacterTokens(), reserved_tokens=reserved)
