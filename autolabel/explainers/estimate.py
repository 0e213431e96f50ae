"""How many tokens a prompt has, where no tokenizer is at hand: rather a few too many than one too few."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from autolabel.protocols import Message

PER_MESSAGE = 6  # role and separators
# as the tokenizers of chat models cut before they merge: words with their space, up to three digits, runs of marks, white space
_PIECE = regex.compile(r" ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]|\s")


def tokens_of(messages: Sequence[Message]) -> int:
    """An estimate that errs upwards."""
    return sum(PER_MESSAGE + count(message["content"]) for message in messages)


def count(text: str) -> int:
    """One per piece; long words a token per 5 letters, other scripts and emoji by their bytes."""
    total = 0
    for m in _PIECE.finditer(text):
        piece = m[0].lstrip(" ")
        total += max(1, -(-len(piece) // 5) if piece.isascii() else -(-len(piece.encode("utf-8", "replace")) // 2))
    return total
