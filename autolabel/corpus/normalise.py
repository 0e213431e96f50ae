"""What makes two texts the same document, and which split a document belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unicodedata import normalize

from autolabel.types import Document, Split, hash63

EXPLAIN, SELECT = 0.5, 0.7  # upper ends of the shares: explain 50 %, select 20 %, test the remaining 30 %


def normalise(text: str) -> str:
    """NFC, case-folded, white space collapsed to single spaces and stripped: texts that agree in this are one document."""
    if not text.isascii():
        text = normalize("NFC", normalize("NFC", text).casefold())  # folding can leave a form that is not composed
        return " ".join(text.split())
    return " ".join(text.casefold().split())


def split_of(block: int) -> Split:
    """The split of a block, from a second hash of its id.

    Not from the id itself: a group of near-duplicates takes the split of its smallest id, and the smallest of several
    uniform numbers is small, which would pull every group into *explain*.
    """
    u = hash63("split", block) / 2**63
    return "explain" if u < EXPLAIN else "select" if u < SELECT else "test"


def document(text: str, corpus: str, metadata: Mapping[str, Any] | None = None, block: int | None = None) -> Document:
    """A document with its id; alone in its block unless a block is given."""
    id = hash63(normalise(text))
    return Document(id, id if block is None else block, corpus, text, metadata or {})
