"""How much a label claims of every excerpt of a split, cheaply: what the label's side of a two-sided sample is drawn by.

The pattern's own prediction where the label has one, sqrt(sum_t c^2); else likeness and trigger words in equal parts: the
cosine of the label with the excerpt above its 99th percentile over the split, and how often the excerpt holds a word that the
label quotes. It decides where a score looks, not what it finds: any affinity gives an unbiased score, a good one a short interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.patterns import segment
from autolabel.patterns.embedded import Embedder, vectors
from autolabel.patterns.syntax import Pattern
from autolabel.protocols import SplitView
from autolabel.sampling.two_sided import claim, shared_affinity
from autolabel.scorers.entries import Run
from autolabel.simulators.embedding import quoted_words
from autolabel.simulators.text import clean

Floats = NDArray[np.float64]
PERCENTILE = 99


def strengths(run: Run, patterns: Sequence[Pattern], excerpts: Excerpts) -> sp.csr_matrix:
    """c [P, tokens] of patterns."""
    found = run(patterns, excerpts)
    cell = np.asarray(found.cell_of_token, np.int64)
    return sp.csr_matrix(found.cells.tocsc()[:, cell] + found.extra)


def affinities(texts: Sequence[str], patterns: Sequence[Pattern | None], view: SplitView, ids: NDArray[np.int64], run: Run,
               embedder: Embedder | None) -> Floats:
    """[P, N] >= 0 for P labels and the excerpts `ids` (ascending): one pass over the split."""
    plain = [p for p, pattern in enumerate(patterns) if pattern is None]
    runnable = [(p, pattern) for p, pattern in enumerate(patterns) if pattern is not None]
    labels = [clean(texts[p]) for p in plain]
    triggers = [{w.casefold() for quote in quoted_words(label) for w in segment.words(quote)} for label in labels]
    out, cosine, words = (np.zeros((n, len(ids))) for n in (len(texts), len(plain), len(plain)))
    sought = vectors(embedder, labels) if embedder is not None and labels else None
    for chunk in view.chunks():
        at = np.searchsorted(ids, chunk.id)
        if runnable:
            found = strengths(run, [pattern for _, pattern in runnable], chunk)
            for row, (p, _) in enumerate(runnable):
                out[p, at] = claim(found[[row]].toarray()[0], chunk.excerpt_of_token, len(chunk))
        if embedder is not None and sought is not None:
            cosine[:, at] = sought @ vectors(embedder, chunk.text).T
        if any(triggers):
            for i, text in zip(at.tolist(), chunk.text, strict=True):
                held = [w.casefold() for w in segment.words(text)]
                words[:, i] = [sum(w in trigger for w in held) if trigger else 0 for trigger in triggers]
    if sought is not None:
        cosine = np.maximum(cosine - np.percentile(cosine, PERCENTILE, axis=1, keepdims=True), 0)
    for row, p in enumerate(plain):
        out[p] = shared_affinity([cosine[row], np.sqrt(words[row])])
    return out
