"""Token strings and what they stand for.

A listed token matches a vocabulary entry that is written the same, or that stands for it: the text itself, the text behind
a leading-space marker (`Ġ` of byte-level BPE, `▁` of SentencePiece) or a continuation marker (`##` of WordPiece), or before
an end-of-word marker (`</w>`). So "ing" matches `ing`, `##ing`, `Ġing`; " ing" matches `Ġing` and `▁ing`; `##ing` only itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

_indexed: list[tuple[Sequence[str], int, dict[str, int]]] = []  # the last few vocabularies, newest first


@lru_cache(maxsize=1)
def _byte_letters() -> dict[int, str]:
    """Byte -> the letter that byte-level BPE writes for it (Radford et al. 2019, encoder.py)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in set(plain)]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def byte_level(text: str) -> str:
    """`text` as byte-level BPE writes it: a space becomes Ġ, é becomes Ã©."""
    letters = _byte_letters()
    return "".join(letters[b] for b in text.encode("utf-8", "surrogatepass"))


def spellings(text: str) -> set[str]:
    """The vocabulary entries that stand for `text`."""
    return {text, byte_level(text), byte_level(" " + text), "▁" + text, text.replace(" ", "▁"), "##" + text, text + "</w>"}


def ids(vocabulary: Sequence[str], text: str) -> list[int]:
    """Ids of the tokens that `text` matches."""
    index = _index(vocabulary)
    return sorted({index[s] for s in spellings(text) if s in index})


def _index(vocabulary: Sequence[str]) -> dict[str, int]:
    for known, length, index in _indexed:
        if known is vocabulary and length == len(vocabulary):
            return index
    index = {token: i for i, token in enumerate(vocabulary)}
    _indexed.insert(0, (vocabulary, len(vocabulary), index))
    del _indexed[4:]
    return index
