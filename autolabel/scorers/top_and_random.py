"""The figure of the field, for comparison alone: correlation on top and random excerpts (Bills et al. 2023), without weights.

It is biased upwards, by .04 for dense units and .13 for sparse ones, because the most active excerpts are a far larger share of
it than of the corpus (Oikarinen, Yan and Weng 2025, arXiv 2506.05774).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autolabel.stats import Sampled

EACH = 10  # excerpts of either kind


def top_and_random(x: Sampled, ids: Sequence[int], chance: NDArray[np.bool_]) -> float | None:
    """On the 10 most active of the sampled excerpts `ids` [m] and 10 of those that came by `chance` [m]; None where it does not exist."""
    every = np.array(ids, np.int64)
    best = np.array([x.a[x.excerpt == i].max(initial=0) for i in ids])
    top = every[np.argsort(-best, kind="stable")[:EACH]]
    random = every[chance & ~np.isin(every, top)][:EACH]  # ids are hashes: their order is random
    have = np.isin(x.excerpt, np.concatenate([top, random])) & ~np.isnan(x.c)
    a, c = x.a[have], x.c[have]
    if not len(random) or len(a) < 2 or not np.ptp(a) > 0 or not np.ptp(c) > 0:
        return None
    return float(np.corrcoef(a, c)[0, 1])
