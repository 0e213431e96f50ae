"""Cosines between texts, each distinct text embedded once per process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MAX_TEXTS = 200_000  # per embedding model; 300 MB at 384 dimensions. The oldest go first

_store: dict[str, dict[str, Floats]] = {}
_lock = threading.Lock()


class Embedder(Protocol):
    """Turns texts into vectors. `hash` tells one model from another and is stored beside every pattern that needs one."""

    @property
    def hash(self) -> str:
        """Of weights and tokenizer."""

    def embed(self, texts: list[str], /) -> Floats:
        """[n, d], unit length."""


def vectors(embedder: Embedder, texts: Sequence[str]) -> Floats:
    """[n, d] of unit length, from the process's memory where they have been embedded before."""
    with _lock:
        known = _store.setdefault(embedder.hash, {})
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            new = np.asarray(embedder.embed(missing), np.float32)
            norm = np.linalg.norm(new, axis=1, keepdims=True)
            known.update(zip(missing, new / np.where(norm > 0, norm, 1), strict=True))
        out = np.stack([known[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)
        for text in list(known)[:max(0, len(known) - MAX_TEXTS)]:
            del known[text]
    return out


def products(embedder: Embedder, terms: Sequence[str], matrix: Floats) -> Floats:
    """[terms, n] cosines of `terms` with the unit rows of `matrix`."""
    return np.asarray(vectors(embedder, terms) @ matrix.T) if len(matrix) else np.zeros((len(terms), 0), np.float32)
