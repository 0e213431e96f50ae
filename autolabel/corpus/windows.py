"""Cuts the tokens of one document into excerpts: consecutive windows of a fixed number of content tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.types import hash63

SHORTEST = 8  # a shorter last window says too little, unless it is all that the document has


@dataclass(frozen=True, slots=True)
class Window:
    """One excerpt of a document, before it has an id."""

    start: int  # number of its first token within the document
    tokens: list[int]  # [T] token ids
    char_start: list[int]  # [T] first character of each token in `text`
    char_end: list[int]  # [T] one past its last character; equal to the start where a token has no character of its own
    text: str  # the exact text between the first and the last character that its tokens cover
    joined: bool  # no white space stands between the window before and this one: it begins inside a word


def cut(text: str, tokens: Sequence[int], offsets: Sequence[tuple[int, int]], context: int) -> tuple[list[Window], int]:
    """Windows of `context` tokens from the start of the document, and how many tokens were left over.

    tokens, offsets: [n] content tokens and their characters [from, to) in `text`. The last, shorter window is kept if it has
    at least 8 tokens or is the only one. Tokens that split a character (byte-level BPE, byte fallback) share its span, so a
    character that falls on the seam of two windows is in the text of both.
    """
    windows: list[Window] = []
    before = 0  # one past the last character of the window before
    for first in range(0, len(tokens), context):
        span = offsets[first:first + context]
        if len(span) < min(SHORTEST, context) and first:
            return windows, len(span)
        starts, ends = [a for a, _ in span], [b for _, b in span]
        low, high = min(starts), max(ends)
        gap = text[before:low]
        # Byte-level BPE keeps the space inside the token; WordPiece leaves it between tokens.
        joined = bool(first) and not any(c.isspace() for c in gap)
        windows.append(Window(first, list(tokens[first:first + context]), [a - low for a in starts], [b - low for b in ends],
                              text[low:high], joined))
        before = high
    return windows, 0


def excerpt_id(document: int, start: int, tokenizer_hash: str, context: int) -> int:
    """Excerpt.id: the same window of the same document under the same tokenizer has the same id in every catalogue."""
    return hash63(document, start, tokenizer_hash, context)
