"""Uniform numbers that are a function of an id: the draws of samples, the same in every process and in any order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def uniform(seed: int, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """[n] in (0, 1], by id: two rounds of splitmix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = ids.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & int(_MASK))
        for _ in range(2):
            z = (z + np.uint64(0x9E3779B97F4A7C15)) & _MASK
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 1) / 2.0**53
