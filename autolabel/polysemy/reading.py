"""Excerpts as senses are measured on them: activations, the strengths of labels, and which cluster a token's word belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.explainers.lexicon import align
from autolabel.patterns.syntax import Pattern
from autolabel.protocols import SplitView
from autolabel.scorers.entries import Run
from autolabel.types import Side, Site

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Read:
    """T tokens."""

    a: NDArray[np.float32]  # [T, U] of some units
    c: sp.csr_matrix  # [P, T] strengths of labels
    block: Ints  # [T] document of each token
    word: Ints  # [T] place in `words`, -1 where the token lies on none
    words: tuple[str, ...]  # case-folded

    def strength(self, rows: Sequence[int]) -> Floats:
        """[T, k] of some labels, dense."""
        found: Floats = self.c[list(rows)].toarray().T.astype(np.float64)
        return found

    def owner(self, clusters: Sequence[Sequence[str]]) -> Ints:
        """[T] the cluster (lists of case-folded words) that a token's word belongs to; -1 where it belongs to none."""
        known = {word: k for k, words in enumerate(clusters) for word in words}
        of_word = np.array([known.get(word, -1) for word in self.words] + [-1], np.int64)
        return of_word[self.word]


def read(excerpts: Excerpts, a: NDArray[np.float32], patterns: Sequence[Pattern], run: Run) -> Read:
    """Excerpts with activations a [T, U] in their order."""
    forms, _, of_token, _ = align(excerpts)
    folded = [form.casefold() for form in forms]
    place = {word: i for i, word in enumerate(dict.fromkeys(folded))}
    number = np.array([place[word] for word in folded] + [-1], np.int64)
    found = run(patterns, excerpts)
    cells = found.cells.tocsc()[:, found.cell_of_token] if len(patterns) else sp.csr_matrix((0, excerpts.n_tokens))
    return Read(a, sp.csr_matrix(cells + found.extra) if len(patterns) else cells, excerpts.block[excerpts.excerpt_of_token], number[of_token], tuple(place))


def joined(parts: Sequence[Read]) -> Read:
    """Several as one."""
    place = {word: i for i, word in enumerate(dict.fromkeys(word for part in parts for word in part.words))}
    words = [np.append(np.array([place[word] for word in part.words], np.int64), -1)[part.word] for part in parts]
    return Read(np.concatenate([p.a for p in parts]), sp.csr_matrix(sp.hstack([p.c for p in parts])), np.concatenate([p.block for p in parts]),
                np.concatenate(words), tuple(place))


def activations(view: SplitView, excerpts: Excerpts, site: Site, side: Side, units: Ints | None = None) -> NDArray[np.float32]:
    """a [T, U] of some units of a site, or of all."""
    import torch

    out = np.empty((excerpts.n_tokens, site.width if units is None else len(units)), np.float32)
    sign = 1 if side == "+" else -1
    for batch in excerpts.batches(view.batch_size):
        def visit(_site: Site, x: torch.Tensor, span: slice, where: slice = batch.span) -> None:
            some = x[:, span] if units is None else x[:, span][:, :, torch.from_numpy(units).to(x.device)]
            out[where] = (some.float() * sign).clamp_min(0).reshape(-1, some.shape[-1]).cpu().numpy()
        view.subject.run(batch.tokens, [site], visit)
    return out
