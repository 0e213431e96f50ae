"""The foreign-label null of a label that was read on a sample: both ranks on its own sample and weights, for no further call.

    p = (1 + #{rho_foreign >= rho_own}) / (M + 1)

over the other units of the layer (this label on them), and, where there are at least 200, over the pattern labels of the other units (they on this
unit); the larger of the two counts. Where a layer has fewer than 200 other units, those of all layers are pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.scorers.affinity import strengths
from autolabel.scorers.entries import Run
from autolabel.scorers.foreign import ENOUGH
from autolabel.scorers.labels import Layer, read_patterns
from autolabel.scorers.reading import Reading
from autolabel.stats import Sampled, rank_p
from autolabel.types import Explanation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """One label."""

    p: float
    rank: int  # of the own unit among the units of its layer, 1 is best; ties count against it
    units: int  # M, of the first rank
    labels: int  # of the second rank; 0 where it was not taken
    pooled: bool  # foreign units came from several layers
    one_rank: bool  # fewer than 200 foreign labels: the first rank alone


def foreign_ranks(reading: Reading, run: Run, layers: Sequence[Layer], own: Layer, column: int, ids: Sequence[int], x: Sampled, rho: float,
                  neighbours: Sequence[Explanation] = ()) -> Ranks:
    """Ranks of rho, which this label has on column `column` of layer `own`, on the sample x of the excerpts `ids` (in that order)."""
    have = ~np.isnan(x.c)
    pool = list(layers) if own.width - 1 < ENOUGH else [own]
    beaten, known, rank = 0, 0, 1
    for lay in pool:
        a = np.concatenate(reading.activations(lay, ids))[have].astype(np.float64)
        found = _rho(a, x.c[have], x.weight[have])
        if lay is own or (lay.site.layer, lay.site.name) == (own.site.layer, own.site.name):
            found[column] = np.nan
            rank += int((found >= rho).sum())
        beaten, known = beaten + int((found >= rho).sum()), known + int((~np.isnan(found)).sum())
    p = float(rank_p(beaten, known))
    patterns = [q for q in read_patterns(neighbours)[0] if q is not None]
    if len(patterns) < ENOUGH:
        return Ranks(p, rank, known, 0, len(pool) > 1, True)
    some = reading.columns(ids)
    place = {int(i): slice(int(some.offset[r]), int(some.offset[r + 1])) for r, i in enumerate(some.id)}
    order = np.concatenate([np.arange(place[i].start, place[i].stop) for i in ids])[have]
    c = strengths(run, patterns, some).tocsc()[:, order].toarray().T
    found = _rho(c, x.a[have], x.weight[have])
    count = int((~np.isnan(found)).sum())
    if count < ENOUGH:
        return Ranks(p, rank, known, 0, len(pool) > 1, True)
    return Ranks(max(p, float(rank_p(int((found >= rho).sum()), count))), rank, known, count, len(pool) > 1, False)


def _rho(many: Floats, one: Floats, w: Floats) -> Floats:
    """Weighted correlations [K] of many columns [tokens, K] with one [tokens]; nan where a column does not vary."""
    n = w.sum()
    mean, at = (w @ many) / n, float(w @ one) / n
    second, square = (w @ (many * many)) / n, float(w @ (one * one)) / n
    variance = np.where(second - mean * mean > 1e-12 * second, second - mean * mean, np.nan)
    out: Floats = ((w * one) @ many / n - mean * at) / np.sqrt(variance * (square - at * at))
    return out
