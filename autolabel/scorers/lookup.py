"""The token lookup table: what a unit does to each token type on the average, from *explain*. The `ceiling` of token labels.

L(t) = mean of a over the type of t on explain; types without a row get the unit's mean. It is 30,000 numbers and no label;
its rho says how far labels that only name tokens could go, and a label's share of it how far this one went.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.neurons import TypeMeans
from autolabel.protocols import ExplainSplit
from autolabel.scorers.foreign import CellWatcher
from autolabel.scorers.labels import Layer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """The tables of one layer, all sides side by side."""

    types: Ints  # [R] token ids, ascending
    count: Ints  # [R] occurrences in explain
    mean: NDArray[np.float16] | NDArray[np.float32]  # [R, W]; float16 where that loses nothing
    position_count: Ints  # [T]
    position_mean: NDArray[np.float32]  # [T, W]

    def find(self, token: Ints) -> Ints:
        """The row of each token's type, -1 where it has none."""
        at = np.minimum(np.searchsorted(self.types, token), max(0, len(self.types) - 1))
        return np.where(self.types[at] == token, at, -1) if len(self.types) else np.full(len(token), -1, np.int64)


def load(explain: ExplainSplit, layer: Layer) -> Table | None:
    """The tables of all sides of a layer; None where the catalogue has none."""
    if explain.type_means is None:
        return None
    sides: list[TypeMeans] = [explain.type_means(layer.site.layer, side) for side in layer.sides]
    first = sides[0]
    mean = np.concatenate([s.mean for s in sides], axis=1) if len(sides) > 1 else first.mean
    with np.errstate(over="ignore"):
        small = mean.astype(np.float16)
    exact = bool(np.array_equal(small.astype(np.float32), mean))
    position = np.concatenate([s.position_mean for s in sides], axis=1)
    return Table(first.types, first.count, small if exact else mean.astype(np.float32), first.position_count, position.astype(np.float32))


class Ceiling(CellWatcher):
    """Sums of L, L^2 and a L over a split, per unit, from sums of a by type."""

    def __init__(self, layers: tuple[Layer, ...], tables: list[Table | None]) -> None:
        self.layers, self.tables = layers, tables
        self.known = [t is not None for t in tables]
        self.l, self.l2, self.al = ([np.zeros(lay.width) for lay in layers] for _ in range(3))

    def rows(self, layer: int, token: Ints, count: Floats, total: NDArray[np.float32]) -> None:
        """Some types (or cells, or tokens) with their sums of a."""
        table = self.tables[layer]
        if table is None:
            return
        where = table.find(token)
        unseen = where < 0
        mean = self.layers[layer].mean
        n_unseen = count[unseen].sum()
        self.l[layer] += n_unseen * mean
        self.l2[layer] += n_unseen * mean * mean
        self.al[layer] += mean * total[unseen].sum(0, dtype=np.float64)
        for first in range(0, len(token), 2048):
            rows = np.flatnonzero(~unseen[first:first + 2048]) + first
            value = table.mean[where[rows]].astype(np.float32)
            weight = count[rows].astype(np.float32)
            self.l[layer] += weight @ value
            self.l2[layer] += np.einsum("r,ru,ru->u", weight, value, value)
            self.al[layer] += np.einsum("ru,ru->u", value, total[rows])

    def rho(self, layer: int, n: float, a: Floats, a2: Floats) -> Floats:
        """[W] correlation of a with L, from the unit's sums of a and a^2 over the same n tokens; nan where it does not exist."""
        if not self.known[layer]:
            return np.full(len(a), np.nan)
        ml, ma = self.l[layer] / n, a / n
        vl, va = self.l2[layer] / n - ml * ml, a2 / n - ma * ma
        good = (vl > 1e-9 * ml * ml) & (va > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(good, (self.al[layer] / n - ml * ma) / np.sqrt(vl * va), np.nan)
