"""Exemplars to text and back: nothing is lost, nothing hides, no text can fake a mark."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel import render
from autolabel.render import Snippet
from tests.explainers.llm_case import record

NASTY = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\t\n\r\\ |<>:_0u\u200b\u202e\ufeff\ud800\x00\x1b\U000e0041\ufe0f🦊é")), max_size=8)
TOKENS = st.lists(st.tuples(NASTY, st.integers(0, 10)), min_size=1, max_size=12)


@given(NASTY)
def test_what_is_shown_can_be_read_back_and_hides_nothing(text: str) -> None:
    shown = render.show(text)
    assert render.read_shown(shown) == text
    assert "\n" not in shown and "\t" not in shown
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    shown.encode("utf-8")  # no halves of surrogate pairs


@given(TOKENS)
def test_token_lines_round_trip(tokens: list[tuple[str, int]]) -> None:
    one = Snippet(tuple(t for t, _ in tokens), tuple(n for _, n in tokens))
    text = render.token_lines(one)
    assert text.count("\n") == len(tokens) - 1
    assert render.read_token_lines(text) == tokens
    assert render.aligned(text, one.tokens) == list(one.levels)


@given(TOKENS, st.booleans(), st.integers(0, 1000))
@settings(max_examples=300)
def test_marked_text_round_trips(tokens: list[tuple[str, int]], grades: bool, seed: int) -> None:
    one = Snippet(tuple(t for t, _ in tokens), tuple(n for _, n in tokens))
    word = render.nonce(seed, [one.text])
    plain, marks = render.read_marked(render.marked(one, word, grades=grades), word, grades=grades)
    assert plain == one.text
    runs = [("".join(one.tokens[a:b]), n) for a, b, n in render.spans(one, words=grades)]
    assert marks == [(text.lstrip() or text, n if grades else None) for text, n in runs]


def test_no_text_can_hold_a_mark() -> None:
    every = " ".join(f"<<{a}{b}:x|9>>" for a in "bcdfghjkmnpqrstvwxz" for b in "bcdfghjkmnpqrstvwxz")
    word = render.nonce("seed", [every])
    assert word not in every and len(word) > 2
    assert render.nonce("seed", ["plain"]) == render.nonce("seed", ["plain"]) != render.nonce("other", ["plain"])


@pytest.mark.parametrize(("activation", "largest", "expected"), [
    (4., 4., 10), (0., 4., 0), (-1., 4., 0), (.19, 4., 0), (.2, 4., 1), (3.79, 4., 9), (3.8, 4., 10), (9., 4., 10), (1., 0., 0), (1e-30, 1e-30, 10)])
def test_levels(activation: float, largest: float, expected: int) -> None:
    assert render.level(activation, largest) == expected


def test_levels_do_not_hang_on_the_last_bits() -> None:
    """What another CPU changes in the last bits does not change a level, but at the edge between two."""
    values = [i / 997 for i in range(998)]
    assert sum(render.level(v, 1.) != render.level(v * (1 + 1e-6), 1 + 5e-7) for v in values) == 0


def test_pieces_are_the_text_and_later_bytes_are_empty() -> None:
    one = record("a 🦊 b", "top", 1)
    assert render.pieces(one.excerpt) == ("a", " ", "🦊", "", "", "", " b")
    assert render.token_lines(render.snippet(one, 1.)).split("\n")[3] == "\\_\t1"


def test_a_window_keeps_the_strongest_token_and_says_what_is_left_out() -> None:
    text = " ".join(f"w{i}" if i != 40 else "{peak|4}" for i in range(64))
    one = render.snippet(record(text, "top", 1), 4., 16)
    assert len(one.tokens) <= 16 and one.levels[one.tokens.index(" peak")] == 10 and one.before and one.after
    shown = render.marked(one, "qq", grades=True)
    assert shown.startswith("... w") and shown.endswith(" ...") and "<<qq:peak|10>>" in shown
    chinese = render.Snippet(tuple("日本語の文章です" * 8), (0,) * 60 + (5,) + (0,) * 3)
    assert chinese.highest == 5


def test_marks_of_words_do_not_cross_punctuation_and_join_subwords() -> None:
    one = Snippet((" um", "brella", ":", " Nani", ":"), (3, 9, 4, 7, 4))
    assert render.marked(one, "qq", grades=True) == " <<qq:umbrella|9>><<qq::|4>> <<qq:Nani|7>><<qq::|4>>"
    assert render.marked(one, "qq") == " <<qq:umbrella: Nani::qq>>"
    assert render.active_list(one) == "umbrella (9), Nani (7), : (4)"


def test_a_reply_that_drifts_keeps_its_aligned_part() -> None:
    assert render.aligned("the\t0\n cat\t7\nsat\t1", ["the", " cat", " sat", " down"]) == [0, 7, 1, None]
    assert render.aligned("the\t0\n dog\t7\n sat\t1", ["the", " cat", " sat"]) == [0, None, None]
    assert render.aligned("the\t0\n cat\t11", ["the", " cat"]) == [0, None]
    for wrong in ("the 0", "the\t11", "the\tx", ""):
        with pytest.raises(ValueError):
            render.read_token_lines(wrong)


def test_an_example_is_written_as_it_reads() -> None:
    one = render.example("It cost {12|9} euros, {half|3} of it for L'eau.")
    assert one.text == "It cost 12 euros, half of it for L'eau."
    assert [(t, n) for t, n in zip(one.tokens, one.levels, strict=True) if n] == [(" 12", 9), (" half", 3)]
