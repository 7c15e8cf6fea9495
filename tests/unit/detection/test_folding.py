# ruff: noqa: RUF001, RUF003 - look-alike characters are what these tests are about

from __future__ import annotations

import pytest

from secure_rag.detection.folding import evidence, fold, origins, tokens, words


@pytest.mark.parametrize(
    ("dressed", "plain"),
    [
        ("ignore", "ignore"),
        ("ïgnörè", "ignore"),
        ("i\u0308gnore", "ignore"),
        ("ｉｇｎｏｒｅ", "ignore"),
        ("𝐢𝐠𝐧𝐨𝐫𝐞", "ignore"),
        ("іgnоrе", "ignore"),  # Cyrillic і, о, е
        ("ig\u200bno\u2060re", "ignore"),
        ("ig\u00adnore", "ignore"),
        ("ig\U000e0041nore\ufe0f", "ignore"),
        ("don’t — “stop”", 'don\'t - "stop"'),
        ("a\u00a0b\u2028c", "a b\nc"),
        ("CASE stays", "CASE stays"),
    ],
)
def test_what_readers_see_alike_folds_alike(dressed: str, plain: str) -> None:
    assert fold(dressed) == plain


def test_other_scripts_keep_their_letters() -> None:
    assert fold("日本語の指示") == "日本語の指示"
    assert fold("한국어") == "한국어"


def test_origins_lead_back_over_removed_and_expanded_characters() -> None:
    text = "\u200bé㏂x\u200b"
    folded = fold(text)
    assert folded == "ea.m.x"
    assert list(origins(text)) == [1, 2, 2, 2, 2, 3]


def test_tokens_are_case_folded_words_and_single_ideographs() -> None:
    assert tokens("Parental-Leave, 16 weeks!") == ["parental", "leave", "16", "weeks"]
    assert tokens("育児休暇 abc") == ["育", "児", "休", "暇", "abc"]
    assert tokens("straße STRASSE") == ["strasse", "strasse"]


def test_ideographs_count_half_a_word() -> None:
    assert words(["育", "児", "leave"]) == 2.0


def test_evidence_shows_the_invisible_on_one_short_line() -> None:
    assert evidence("a\u202eb\n c\x00d") == "a⟨U+202E⟩b c d"
    assert len(evidence("x" * 1000)) == 200
    assert len(evidence("\u200b" * 1000)) <= 200
