"""Cuts a long text into passages of about 200 words, without ever holding the whole of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LONG = 2_000  # words: a .txt file up to this length is one document
PASSAGE = 200  # words, about, of one passage
BLOCK = 50  # neighbouring passages that share a split, at most
BLOCKS = 60  # a small corpus gets at least about this many blocks, so that each split is filled: .8 ** 60 < 2e-6
END_OF_TEXT = "<|endoftext|>"  # the separator that the field's text dumps use
LONGEST_LINE = 1 << 16  # characters: a longer line is taken in parts, so that a file of one line streams too

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")  # written without spaces
_WORDS = re.compile(r"\S+\s*|\s+")


def n_words(text: str) -> int:
    """Words by white space; two characters count as one in scripts written without spaces (Thai, Khmer, Burmese, Han, kana)."""
    n = len(text.split())
    return n if text.isascii() else n + len(_UNSPACED.findall(text)) // 2


def block_size(passages: int) -> int:
    """Passages per block in a corpus of so many passages."""
    return min(BLOCK, max(1, passages // BLOCKS))


def lines(chunks: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, from text in pieces of any length; a line over 65,536 characters comes in parts cut at white space."""
    rest = ""
    for chunk in chunks:
        parts = (rest + chunk).split("\n")
        rest = parts.pop()
        for part in parts:
            yield from _parts(part + "\n")
        while len(rest) > LONGEST_LINE:
            cut = _seam(rest)
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


def passages(chunks: Iterable[str]) -> Iterator[str]:
    """Passages, cut at blank lines once 200 words are reached; where no blank line comes in time, at a line end, then at white space."""
    kept: list[str] = []
    words = 0
    for line in lines(chunks):
        n = n_words(line)
        if kept and words >= PASSAGE and (not n or words + n > 2 * PASSAGE):
            yield "".join(kept).strip()
            kept, words = [], 0
        if n > 2 * PASSAGE:
            *full, line = _by_words(line)
            for part in full:
                kept.append(part)
                yield "".join(kept).strip()
                kept = []
            n, words = n_words(line), 0
        if n or kept:
            kept.append(line)
            words += n
    if words:
        yield "".join(kept).strip()


def pieces(chunks: Iterable[str], separator: str) -> Iterator[str]:
    """The texts between occurrences of `separator`, white space around them stripped; empty ones are skipped."""
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(separator)
        yield from (piece for part in whole if (piece := part.strip()))
    if piece := rest.strip():
        yield piece


def _parts(line: str) -> Iterator[str]:
    while len(line) > LONGEST_LINE:
        cut = _seam(line)
        yield line[:cut]
        line = line[cut:]
    yield line


def _seam(text: str) -> int:
    """Where to cut near 65,536 characters: after the last white space, or hard where there is none."""
    for cut in range(LONGEST_LINE, LONGEST_LINE // 2, -1):
        if text[cut - 1].isspace():
            return cut
    return LONGEST_LINE


def _by_words(line: str) -> list[str]:
    """A long line in parts of about 200 words."""
    parts: list[str] = []
    kept: list[str] = []
    words = 0
    for match in _WORDS.finditer(line):
        word = match[0]
        n = n_words(word)
        if n > 2 * PASSAGE:  # unspaced script without a break: two characters a word
            parts += ["".join(kept)] if kept else []
            parts += [word[i:i + 2 * PASSAGE] for i in range(0, len(word), 2 * PASSAGE)]
            kept, words = [], 0
            continue
        kept.append(word)
        words += n
        if words >= PASSAGE:
            parts.append("".join(kept))
            kept, words = [], 0
    return parts + (["".join(kept)] if kept else [])
