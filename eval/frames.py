"""The sentence frames of a set of texts: how often the same mould is used again.

Two measures, both case-folded. The *frame* of a text keeps its function words and punctuation and puts one `_` for each run of
other words, so that "The cat sat on a mat." and "The old king died on a boat." share "the _ on a _ .". The *opening* is its first
four words. The texts of one item (a pair shares its form on purpose) count once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from autolabel.patterns.wordclasses import FUNCTION_CLASSES

FUNCTION_WORDS = frozenset[str]().union(*(words for name, words in FUNCTION_CLASSES.items() if "number" not in name))
_PIECE = re.compile(r"[\w'’-]+|[^\w\s]")
_WORD = re.compile(r"[\w'’-]+")


def frame(text: str) -> str:
    """The text with every run of content words as one `_`."""
    out: list[str] = []
    for piece in _PIECE.findall(text.casefold()):
        kept = piece if piece in FUNCTION_WORDS or not _WORD.match(piece) else "_"
        if kept != "_" or out[-1:] != ["_"]:
            out.append(kept)
    return " ".join(out)


def opening(text: str) -> str:
    """The first four words."""
    return " ".join(_WORD.findall(text.casefold())[:4])


def most_used(texts: Iterable[tuple[object, str]]) -> tuple[int, int]:
    """Of (item, text) pairs: in how many items the commonest frame stands, and the commonest opening."""
    frames: dict[str, set[object]] = defaultdict(set)
    openings: dict[str, set[object]] = defaultdict(set)
    for item, text in texts:
        frames[frame(text)].add(item)
        openings[opening(text)].add(item)
    return max(map(len, frames.values())), max(map(len, openings.values()))
