"""Senses on test: the rules of any label, on the tokens that are in no other cluster of the unit.

rho with its interval, p_size (rho <= .2), and p_foreign, the larger of two ranks: this label on the layer's other units, and the
labels of other units on this one (with fewer than 200 of them the first rank alone), all on the same tokens. `imprecise`: df
< 6, or the label fires there in fewer than 20 documents. p = max(p_foreign, p_size).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.explainers.gather import Layer
from autolabel.patterns.syntax import Pattern
from autolabel.polysemy.reading import activations, read
from autolabel.protocols import TestEvidence
from autolabel.scorers.correlation import ENOUGH_DF, ENOUGH_DOCUMENTS, unscored_reason
from autolabel.scorers.entries import Run
from autolabel.scorers.foreign import ENOUGH
from autolabel.scorers.walk import GROUPS, pieces
from autolabel.stats import correlate, p_size, rank_p
from autolabel.stats.correlation import Sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Claim:
    """A label and the cluster on which it is to be proved."""

    unit: int  # neuron number
    pattern: Pattern
    clusters: tuple[tuple[str, ...], ...]  # of the unit: case-folded words
    own: int  # which of them is this label's


@dataclass(frozen=True)
class Proof:
    """One claim on test; nan and 1 where unscored."""

    score: float
    low: float
    high: float
    p_foreign: float
    p_size: float
    n: int  # tokens of the cluster's world
    unscored: str | None
    imprecise: str | None

    @property
    def p(self) -> float:
        """The larger of the two."""
        return max(self.p_foreign, self.p_size)


def prove(test: TestEvidence, layer: Layer, claims: Sequence[Claim], foreign: Sequence[tuple[int, Pattern]], run: Run) -> list[Proof]:
    """All claims about units of one layer and side, in one pass. foreign: labels of units of the layer, by neuron number."""
    if not claims:
        return []
    units = np.array([c.unit for c in claims], np.int64)
    k, width, m = len(claims), layer.site.width, len(foreign)
    own = np.zeros((6, GROUPS, k))  # n, a, a2, c, c2, ac by group of documents
    all_units = np.zeros((3, k, width))  # a, a2, ac over each claim's tokens
    others = np.zeros((3, m, k))  # c, c2, ac of foreign labels over each claim's tokens
    documents: list[set[int]] = [set() for _ in claims]
    n_excerpts = 0
    patterns = [c.pattern for c in claims] + [p for _, p in foreign]
    for piece in pieces(test):
        n_excerpts += len(piece)
        r = read(piece, activations(test, piece, layer.site, layer.side), patterns, run)
        inside = np.ones((len(r.block), k), np.float32)  # tokens that are in no other cluster
        for i, claim in enumerate(claims):
            if len(claim.clusters) > 1:
                owner = r.owner(claim.clusters)
                inside[:, i] = (owner == claim.own) | (owner < 0)
        c = r.c[:k].toarray().T * inside
        a = r.a[:, units] * inside
        group = r.block % GROUPS
        by_group = sp.csr_matrix((np.ones(len(group)), (group, np.arange(len(group)))), shape=(GROUPS, len(group)))
        own += np.stack([np.asarray(by_group @ x.astype(np.float64)) for x in (inside, a, np.square(a, dtype=np.float64), c, c * c, a * c)])
        square = np.square(r.a)
        all_units[0] += inside.T @ r.a
        all_units[1] += inside.T @ square
        all_units[2] += c.T.astype(np.float32) @ r.a
        if m:
            rest = r.c[k:]
            others += np.stack([np.asarray(rest @ inside), np.asarray(rest.multiply(rest).tocsr() @ inside), np.asarray(rest @ a)])
        for i in range(k):
            if len(documents[i]) < ENOUGH_DOCUMENTS:
                documents[i].update(np.unique(r.block[c[:, i] > 0]).tolist())
    found = correlate(Sums(*own))
    size = p_size(found.rho, found.se, found.df)
    foreign_p = _foreign(own.sum(1), all_units, others, units, np.array([u for u, _ in foreign], np.int64), found.rho)
    out = []
    for i in range(k):
        reason = unscored_reason(bool(found.flat_a[i]), bool(found.flat_c[i]), n_excerpts, "test")
        few = None
        if reason is None and len(documents[i]) < ENOUGH_DOCUMENTS:
            few = f"it fires in {len(documents[i])} test documents, fewer than {ENOUGH_DOCUMENTS}"
        elif reason is None and not found.df[i] >= ENOUGH_DF:
            few = f"df = {found.df[i]:.1f}, below {ENOUGH_DF}"
        p = (1.0, 1.0) if reason else (float(foreign_p[i]), float(size[i]))
        out.append(Proof(float(found.rho[i]), float(found.low[i]), float(found.high[i]), *p, int(own[0, :, i].sum()), reason, few))
    return out


def _foreign(own: Floats, all_units: Floats, others: Floats, units: Ints, foreign: Ints, rho: Floats) -> Floats:
    """[K] the larger of two ranks; own [6, K] sums of each claim over its tokens."""
    n, _, _, c, c2, _ = own
    a, a2, ac = all_units
    on_units = _rho(n[:, None], a, a2, c[:, None], c2[:, None], ac)  # [K, U]
    out = np.ones(len(units))
    for i, unit in enumerate(units.tolist()):
        if np.isnan(rho[i]):
            continue
        rest = np.delete(on_units[i], unit)
        out[i] = rank_p(int((rest >= rho[i]).sum()), len(rest))
        mine = foreign != unit
        if mine.sum() >= ENOUGH:
            labels = _rho(n[i], own[1, i], own[2, i], others[0, mine, i], others[1, mine, i], others[2, mine, i])
            out[i] = max(out[i], rank_p(int((labels >= rho[i]).sum()), int(mine.sum())))
    return out


def _rho(n: Floats, a: Floats, a2: Floats, c: Floats, c2: Floats, ac: Floats) -> Floats:
    """Correlations from sums; -1 where one of the two does not vary: it is above nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        va, vc = a2 / n - (a / n) ** 2, c2 / n - (c / n) ** 2
        found: Floats = (ac / n - a * c / n**2) / np.sqrt(np.maximum(va, 0) * np.maximum(vc, 0))
    return np.nan_to_num(found, nan=-1.0, posinf=-1.0, neginf=-1.0)
