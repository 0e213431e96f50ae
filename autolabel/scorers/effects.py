"""Additive effects of token type and position, fitted on *explain*: what rho_context takes out of a and of c.

    x(t) = alpha[type(t)] + beta[position(t)] + rest,   alpha = M - Nn beta,   beta = P - Nt alpha

M means by type, P means by position (over eligible tokens: types with a row and at least 5 occurrences), N counts of
type x position, Nn = N / n_type, Nt = N' / n_position. Type first, then position, iterated until no effect moves by more
than 1e-4 sd (backfitting: Buja, Hastie and Tibshirani 1989). Because alpha = M - Nn beta, only M and the few beta are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.patterns.syntax import Pattern
from autolabel.protocols import ExplainSplit
from autolabel.scorers.entries import Run
from autolabel.scorers.lookup import Table
from autolabel.scorers.walk import pieces

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SEEN = 5  # occurrences in explain below which a type is left out
STEP = 1e-4  # sd
ROUNDS = 200


@dataclass(frozen=True)
class Design:
    """Which tokens take part, and how types and positions mix on explain."""

    types: Ints  # [R] eligible token ids, ascending
    count: Floats  # [R] their tokens on explain
    position_count: Floats  # [T] eligible tokens by position
    by_type: NDArray[np.float32]  # [R, T] Nn
    mixing: Floats  # [T, T] Nt Nn

    def find(self, token: Ints, position: Ints) -> Ints:
        """The row of each token's type; -1 for tokens that are left out."""
        if not len(self.types):
            return np.full(len(token), -1, np.int64)
        at = np.minimum(np.searchsorted(self.types, token), len(self.types) - 1)
        return np.where((self.types[at] == token) & (position < len(self.position_count)), at, -1)

    def fit(self, by_type: Floats | NDArray[np.float32] | sp.csr_matrix, by_position: Floats, sd: Floats) -> Floats:
        """beta [T, K] of K columns from their means by type [R, K] and by position [T, K], and their sd [K].

        Constant and empty positions get 0. The effects of type follow: alpha = M - Nn beta.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            nt = np.where(self.position_count[:, None] > 0, self.by_type.T * self.count / self.position_count[:, None], 0.0)
        start = np.where(self.position_count[:, None] > 0, by_position - np.asarray(nt @ by_type), 0.0)
        beta: Floats = start.copy()
        limit = STEP * np.where(sd > 0, sd, np.inf)
        for _ in range(ROUNDS):
            new = start + self.mixing @ beta
            moved = np.abs(new - beta).max(0, initial=0.0)
            beta = new
            if (moved <= limit).all():
                break
        return beta


@dataclass(frozen=True)
class PatternEffects:
    """Means of c by type of Q patterns, and their effects of position."""

    patterns: Ints  # [Q] their numbers in the walk, ascending
    by_type: sp.csr_matrix  # [R, Q] float32
    beta: Floats  # [T, Q]


def design_of(explain: ExplainSplit, table: Table) -> Design:
    """Count type x position over the tokens of explain: a stream over the excerpts, no forward pass."""
    types = table.types[table.count >= SEEN]
    width = max(len(table.position_count), 1)
    counts = np.zeros((len(types), width))
    for excerpts in explain.chunks():
        if not len(types):
            break
        position = excerpts.position
        at = np.minimum(np.searchsorted(types, excerpts.tokens), len(types) - 1)
        ok = (types[at] == excerpts.tokens) & (position < width)
        counts += np.bincount(at[ok] * width + position[ok], minlength=counts.size).reshape(counts.shape)
    n_type, n_position = counts.sum(1), counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_type = np.where(n_type[:, None] > 0, counts / n_type[:, None], 0.0)
        by_position = np.where(n_position > 0, counts / n_position, 0.0)
    return Design(types, n_type, n_position, by_type.astype(np.float32), by_position.T @ by_type)


def fit_patterns(explain: ExplainSplit, design: Design, every: Sequence[Pattern], numbers: Ints, run: Run) -> PatternEffects:
    """Run the patterns `numbers` of `every` over the excerpts of explain (tokens alone) and fit the effects of each."""
    patterns = [every[i] for i in numbers]
    n_types, width = len(design.types), len(design.position_count)
    by_type, by_position = sp.csr_matrix((n_types, len(patterns))), np.zeros((width, len(patterns)))
    total, squares, n = np.zeros(len(patterns)), np.zeros(len(patterns)), 0
    for excerpts in pieces(explain):
        s = run(patterns, excerpts)
        position = excerpts.position
        row = design.find(excerpts.tokens, position)
        used = np.flatnonzero(row >= 0)
        n += len(used)
        cell = np.asarray(s.cell_of_token, np.int64)[used]
        ones = np.ones(len(used))
        types_of_cell = sp.csr_matrix((ones, (cell, row[used])), shape=(s.cells.shape[1], n_types))
        positions_of_cell = sp.csr_matrix((ones, (cell, position[used])), shape=(s.cells.shape[1], width))
        types_of_token = sp.csr_matrix((ones, (used, row[used])), shape=(len(row), n_types))
        positions_of_token = sp.csr_matrix((ones, (used, position[used])), shape=(len(row), width))
        by_type = by_type + (s.cells @ types_of_cell + s.extra @ types_of_token).T.tocsr()
        by_position += (s.cells @ positions_of_cell + s.extra @ positions_of_token).toarray().T
        here = np.bincount(cell, minlength=s.cells.shape[1]).astype(np.float64)
        total += s.cells @ here + np.asarray(s.extra[:, used].sum(1)).reshape(-1)
        squares += s.cells.power(2) @ here  # a bound from below where context adds: it only sets the step at which fitting ends
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(design.count > 0, 1 / design.count, 0.0)
        position_mean = np.where(design.position_count[:, None] > 0, by_position / design.position_count[:, None], 0.0)
        mean = total / max(n, 1)
    means = (sp.diags_array(inverse).tocsr() @ by_type).tocsr()
    sd = np.sqrt(np.maximum(squares / max(n, 1) - mean**2, 0.0))
    sd = np.where(sd > 0, sd, np.sqrt(np.maximum(mean * (1 - mean), 0.0)))
    return PatternEffects(numbers, means.astype(np.float32), design.fit(means, position_mean, sd))
