"""Words as Unicode sees them: the segments of UAX 29 that are not white space, and their stems."""

from __future__ import annotations

from functools import lru_cache

import regex

# \b under these flags is the default word boundary of UAX 29 (https://unicode.org/reports/tr29/#Word_Boundaries)
_WORD = regex.compile(r"\b(?!\s)(?s:.)+?\b", regex.V1 | regex.WORD)


def spans(text: str) -> list[tuple[int, int]]:
    """Characters [from, to) of each word of `text`. Punctuation marks are words; white space is not."""
    # behind a line break, because at the very start of a string `regex` glues a combining mark to what follows, against WB4
    return [(m.start() - 1, m.end() - 1) for m in _WORD.finditer("\n" + text)]


def words(text: str) -> list[str]:
    """The words of `text`."""
    return [text[a:b] for a, b in spans(text)]


@lru_cache(maxsize=1 << 16)  # the same words stand in many labels
def is_one_word(text: str) -> bool:
    """Whether `text` is one word and nothing else, so that a word of a text can be equal to it."""
    return bool(text) and ((text.isascii() and text.isalnum()) or spans(text) == [(0, len(text))])


@lru_cache(maxsize=1)
def _stemmer() -> object:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=1 << 17)
def stem(word: str) -> str:
    """The stem of a case-folded word (Snowball's English stemmer)."""
    return str(_stemmer().stemWord(word))  # type: ignore[attr-defined]  # snowballstemmer has no types
