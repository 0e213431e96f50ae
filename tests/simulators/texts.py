"""Excerpts made by hand."""

from __future__ import annotations

from autolabel.types import Excerpt, hash63

HARD = ("A", "\t", "tab", "\n", "", " caf\u00e9", "\U0001f600", "", "\u200b", ' "', "\\", "10", " 7", "]]}", "\r\n", " end")


def excerpt(tokens: tuple[str, ...], document: int = 1) -> Excerpt:
    """An excerpt with exactly these token texts (an empty one: a later byte of the character before)."""
    text, offsets = "", []
    for token in tokens:
        start = len(text) if token else max(0, len(text) - 1)
        text += token
        offsets.append((start, len(text)))
    return Excerpt(hash63(document, text), document, 0, tuple(range(len(tokens))), tuple(offsets), text)


def plain(text: str, document: int = 1) -> Excerpt:
    """Tokens are words with the space before them."""
    words = text.split(" ")
    return excerpt((words[0], *(f" {w}" for w in words[1:])), document)
