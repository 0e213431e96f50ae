"""Loops over the levels of labels, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.compiled import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def precision_without(first: Ints, tokens: Floats, positives: Floats, less_tokens: Floats, less_positives: Floats) -> Floats:
    """AUPRC [G, P] of P labels, label p on levels first[p] .. first[p + 1] - 1, strongest first, from tokens and positives [L] less those of each
    of G groups [G, L]; nan where a label has no positive token left."""
    out = np.empty((len(less_tokens), len(first) - 1))
    for g in range(len(less_tokens)):
        for p in range(len(first) - 1):
            n, hits, area = 0.0, 0.0, 0.0
            for at in range(first[p], first[p + 1]):
                here = positives[at] - less_positives[g, at]
                n += tokens[at] - less_tokens[g, at]
                hits += here
                if here != 0:
                    area += here * (hits / n)
            out[g, p] = area / hits if hits > 0 else np.nan
    return out
