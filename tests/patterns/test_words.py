"""Words, tokens and how they lie on each other."""

from __future__ import annotations

import time

import numpy as np
import pytest

from autolabel.excerpts import Excerpts
from autolabel.patterns import segment
from autolabel.patterns.words import Grouped, WordTable, distinct


@pytest.mark.parametrize(("text", "words"), [  # the rules of UAX 29, section 4.1.1
    ("The quick (\"brown\") fox can't jump 32.3 feet, right?",  # the example of the annex itself
     ["The", "quick", "(", '"', "brown", '"', ")", "fox", "can't", "jump", "32.3", "feet", ",", "right", "?"]),
    ("a\r\nb", ["a", "b"]), ("e\u0301te\u0301", ["e\u0301te\u0301"]),  # WB3, WB4
    ("👩‍👩‍👧x", ["👩‍👩‍👧", "x"]), ("👍🏽!", ["👍🏽", "!"]),  # WB3c
    ("a.b a. b a:b", ["a.b", "a", ".", "b", *segment.words("a:b")]),  # WB6, WB7; whether the colon joins changed with Unicode 15.1
    ('ב"כ ב\'', ['ב"כ', "ב'"]),  # WB7a-c
    ("3a a3 1,000.5 1, 2", ["3a", "a3", "1,000.5", "1", ",", "2"]),  # WB9-12
    ("カタカナ ひら 漢字", ["カタカナ", "ひ", "ら", "漢", "字"]),  # WB13, WB999
    ("snake_case _x", ["snake_case", "_x"]),  # WB13a, b
    ("🇫🇷🇩🇪🇫", ["🇫🇷", "🇩🇪", "🇫"]),  # WB15, 16
    ("ice-cream -> ...", ["ice", "-", "cream", "-", ">", ".", ".", "."]), ("شكرا, שלום", ["شكرا", ",", "שלום"]), ("", []), (" \n\t ", []),
])
def test_words_are_uax_29_segments(text: str, words: list[str]) -> None:
    assert segment.words(text) == words
    assert [text[a:b] for a, b in segment.spans(text)] == words


def excerpts(texts: list[str], spans: list[list[tuple[int, int]]]) -> Excerpts:
    n = range(len(texts))
    part = [np.array(s, np.int64).reshape(-1, 2) for s in spans]
    return Excerpts.build(n, n, n, n, [np.arange(len(p)) for p in part], [p[:, 0] for p in part], [p[:, 1] for p in part], texts)


def test_tokens_lie_on_words_or_in_gaps() -> None:
    t = WordTable.build(excerpts(["un do. x"], [[(0, 1), (1, 2), (2, 3), (3, 6), (6, 7), (7, 7), (7, 8), (8, 8)]]))
    assert [t.surfaces[s] for s in t.surface] == ["un", "do", ".", "x"]
    assert list(zip(t.first.tolist(), t.last.tolist(), strict=True)) == [(0, 0), (0, 0), (1, 0), (1, 2), (3, 2), (3, 2), (3, 3), (4, 3)]
    assert t.cell_blank[t.cell].tolist() == [False, False, True, False, True, False, False, False]
    assert t.slot_low.tolist() == [1, 1, 2, 3, 6, 6, 7, 8] and t.slot_high.tolist() == [1, 1, 2, 5, 6, 6, 7, 8]


def test_texts_do_not_touch() -> None:
    a, b = "x ends\r", "\u0301starts \u200d👩"
    assert segment.words(b)[:2] == ["\u0301", "starts"]  # WB4: a mark at the start stands alone
    both = WordTable.build(excerpts([a, b], [[(0, 1), (2, 6)], [(0, 7)]]))
    assert sorted(both.surfaces) == sorted(segment.words(a) + segment.words(b))
    assert both.word_offset.tolist() == [0, len(segment.words(a)), len(segment.words(a)) + len(segment.words(b))]


def test_a_cell_is_the_words_as_written_and_the_token_id() -> None:
    x = excerpts(["Go go", "go Go"], [[(0, 2), (3, 5)], [(0, 2), (3, 5)]])
    t = WordTable.build(x)
    assert len(np.unique(t.cell)) == 4  # ids 0 and 1, spellings Go and go
    assert t.folded == ("go", "go") or set(t.folded) == {"go"}


def test_helpers_against_numpy() -> None:
    rng = np.random.default_rng(0)
    for high in (3, 50, 100_000):
        items = rng.integers(0, high, 40)
        assert np.array_equal(distinct(items), np.unique(items))
        key = rng.integers(0, 6, 40)
        g = Grouped.by(key, items, 7)
        for k in range(7):
            assert g[k].tolist() == sorted(items[key == k].tolist())
        keys = np.array([5, 0, 6, 2])
        assert g.union(keys).tolist() == sorted({i for k in keys for i in g[k].tolist()})
    assert distinct(np.zeros(0, np.int64)).tolist() == []


def test_fifty_thousand_tokens_take_less_than_a_second() -> None:
    texts = [" ".join(f"word{(i * 37 + j * j) % 5000}" for j in range(64)) for i in range(782)]
    x = excerpts(texts, [segment.spans(t) for t in texts])
    best = 1e9
    for _ in range(3):
        start = time.perf_counter()
        WordTable.build(x)
        best = min(best, time.perf_counter() - start)
    assert x.n_tokens >= 50_000 and best < 1
