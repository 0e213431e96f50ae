"""Windows shared by all units: the first in hash order, a uniform random sample because ids are uniform hashes.

From at least 8,192 tokens of explain come the quantiles and the active rate (standard error of a quantile's rank at most .006).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.neurons import QUANTILES

TOKENS = 8192
BLOCK = 128  # units that are sorted at a time: what is made on the way stays in the cache
RECORDS = 10  # windows of the `random` band
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Places:
    """Where the content tokens of the shared windows stand in the spool."""

    first: dict[int, int]  # excerpt id -> row of its first token
    n: int  # rows in all

    @classmethod
    def of(cls, ids: list[int], counts: list[int]) -> Places:
        """Windows in hash order with the tokens of each that count."""
        ends = np.cumsum([0, *counts])
        return cls(dict(zip(ids, ends[:-1].tolist(), strict=True)), int(ends[-1]))


class Spool:
    """x of one site at the shared tokens, float16, in a file of its own (rewriting a row changes nothing: a resumed pass may do it)."""

    def __init__(self, path: Path, places: Places, units: int, *, fresh: bool) -> None:
        self.path, self.places, self.units = path, places, units
        if fresh or not path.exists():
            with path.open("wb") as file:
                file.truncate(places.n * units * 2)

    def add(self, x: Tensor, valid: NDArray[np.bool_], ids: NDArray[np.int64]) -> None:
        """x [B, T, U] content, valid [B, T]."""
        wanted = [b for b, i in enumerate(ids.tolist()) if i in self.places.first]
        if not wanted:
            return
        with self.path.open("r+b") as file:
            for b in wanted:
                rows = x[b].clamp(-_LARGEST, _LARGEST).to(torch.float16).cpu().numpy()[valid[b]]
                file.seek(self.places.first[int(ids[b])] * self.units * 2)
                file.write(np.ascontiguousarray(rows).tobytes())

    def read(self) -> NDArray[np.float16]:
        """[tokens, U]"""
        return np.fromfile(self.path, np.float16).reshape(self.places.n, self.units)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def quantiles(x: NDArray[np.float16], sign: int, tau: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of a = max(sign * x, 0) [tokens, U]: quantiles [U, Q] (linear between order statistics) and the share of a > tau [U]."""
    blocks = [slice(first, first + BLOCK) for first in range(0, x.shape[1], BLOCK)]
    q, active = zip(*(_quantiles(x[:, block], sign, tau[block]) for block in blocks), strict=True)
    return np.concatenate(q), np.concatenate(active)


def _quantiles(x: NDArray[np.float16], sign: int, tau: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bits = x.view(np.int16) if sign > 0 else x.view(np.int16) ^ np.int16(-0x8000)  # floats >= 0 compare as their bits do, and integers fastest
    bits = torch.from_numpy(np.maximum(bits, np.int16(0))).T.contiguous().numpy()  # torch goes by blocks that fit the cache
    bits.sort(axis=1)
    n = bits.shape[1]
    limit = tau.astype(np.float16)  # a > tau is a > the last half float that is not above tau
    below = limit.view(np.int16) - (limit.astype(np.float64) > tau).astype(np.int16)
    active = np.array([n - row.searchsorted(last, "right") for row, last in zip(bits, below, strict=True)]) / n
    a = bits.view(np.float16)
    place = np.array(QUANTILES) * (n - 1)
    low = np.floor(place).astype(np.int64)
    high, share = np.minimum(low + 1, n - 1), place - low
    return a[:, low].astype(np.float64) * (1 - share) + a[:, high].astype(np.float64) * share, active
