"""Labels as columns: which unit each belongs to, which distinct pattern it runs, which strengths it can predict.

The units of a layer are the neurons of one site, once for each side that has statistics: column k * width + neuron is that
neuron on the k-th side. Labels are sorted by layer, so that a layer's labels are a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import PatternError, UnitError
from autolabel.neurons import LayerStats
from autolabel.patterns.syntax import Atom, Clause, Pattern, parse
from autolabel.protocols import SplitView
from autolabel.stats.levels import Levels
from autolabel.types import Explanation, Side, Site, Unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_PATTERN = "no simulator reads sentences yet"


@dataclass(frozen=True)
class Layer:
    """The units of one site. Arrays are [W], W = neurons times sides."""

    site: Site
    stats: tuple[LayerStats, ...]  # one per side, of explain

    @cached_property
    def sides(self) -> tuple[Side, ...]:
        """The sides that have statistics, in the order of the columns."""
        return tuple(s.side for s in self.stats)

    @property
    def width(self) -> int:
        """W."""
        return self.site.width * len(self.stats)

    @cached_property
    def tau(self) -> Floats:
        """.2 * max of a."""
        return np.concatenate([s.tau for s in self.stats])

    @cached_property
    def tau99(self) -> Floats:
        """The 99th percentile of a."""
        return np.concatenate([s.tau99 for s in self.stats])

    @cached_property
    def mean(self) -> Floats:
        """Mean of a on explain."""
        return np.concatenate([s.mean for s in self.stats])

    @cached_property
    def std(self) -> Floats:
        """Standard deviation of a on explain."""
        return np.concatenate([s.std for s in self.stats])

    @cached_property
    def top(self) -> Floats:
        """Largest a on explain: where the strata of activation end."""
        return np.concatenate([s.max for s in self.stats])

    def column(self, unit: Unit) -> int:
        """The column of a unit. Raises UnitError where there is none."""
        if unit.side not in self.sides or not 0 <= unit.index < self.site.width:
            raise UnitError(f"{unit} does not exist: layer {self.site.layer} has neurons 0 to {self.site.width - 1}, "
                            f"sides {' and '.join(self.sides)}")
        return self.sides.index(unit.side) * self.site.width + unit.index


def layers_of(view: SplitView, wanted: set[tuple[str, str]] | None = None) -> tuple[Layer, ...]:
    """The layers of a view that have statistics, in order; only those (layer, site name) that are wanted."""
    out = []
    for site in sorted(view.subject.sites, key=lambda s: (s.order, s.name)):
        sides: tuple[Side, ...] = ("+", "-")
        stats = tuple(view.stats[site.layer, side] for side in sides if (site.layer, side) in view.stats)
        stats = tuple(s for s in stats if s.site.name == site.name)
        if stats and (wanted is None or (site.layer, site.name) in wanted):
            out.append(Layer(site, stats))
    return tuple(out)


@dataclass(frozen=True)
class Labels:
    """P distinct (unit, pattern) pairs in Q distinct patterns, sorted by layer. Arrays are [P]."""

    layers: tuple[Layer, ...]
    patterns: tuple[Pattern, ...]  # [Q]
    layer: Ints  # which of `layers`
    column: Ints  # which unit of the layer
    pattern: Ints  # which of `patterns`
    levels: Levels  # the strengths each label can predict

    def __len__(self) -> int:
        return len(self.column)

    def of_layer(self, layer: int) -> slice:
        """The labels of one layer."""
        return slice(*np.searchsorted(self.layer, [layer, layer + 1]).tolist())

    def levels_of_layer(self, layer: int) -> slice:
        """The flat levels of one layer's labels."""
        rows = self.of_layer(layer)
        return slice(int(self.levels.first[rows.start]), int(self.levels.first[rows.stop]))

    def subset(self, rows: Ints) -> Labels:
        """Some of the labels (ascending), numbered anew; layers and patterns as they are."""
        return Labels(self.layers, self.patterns, self.layer[rows], self.column[rows], self.pattern[rows], self.levels.take(rows))

    @classmethod
    def build(cls, layers: Sequence[Layer], rows: Sequence[tuple[Unit, Pattern]]) -> tuple[Labels, Ints]:
        """The distinct pairs, and for every row the number of its label."""
        where = {(lay.site.layer, lay.site.name): k for k, lay in enumerate(layers)}
        for unit, _ in rows:
            if (unit.layer, unit.site) not in where:
                raise UnitError(f"{unit} does not exist here: the layers with statistics are {', '.join(f'{a}-{b}' for a, b in where)}")
        # told apart by identity: the same text is read into the same object, and hashing a pattern walks all of it
        keys = list({id(p): p for _, p in rows}.values())
        number = {id(p): i for i, p in enumerate(keys)}
        triples = np.array([(where[u.layer, u.site], layers[where[u.layer, u.site]].column(u), number[id(p)]) for u, p in rows],
                           np.int64).reshape(len(rows), 3)
        span = np.array([1 << 40, max(1, len(keys)), 1], np.int64)
        _, some, label = np.unique(triples @ span, return_index=True, return_inverse=True)
        distinct = triples[some]
        levels = Levels.build([{c.strength for c in p.any} for p in keys]).take(distinct[:, 2])
        return cls(tuple(layers), tuple(keys), distinct[:, 0], distinct[:, 1], distinct[:, 2], levels), label.reshape(-1)


@lru_cache(maxsize=1 << 16)  # the same labels are read on select and on test
def _parsed(text: str) -> Pattern | str:
    try:
        return parse(text)
    except PatternError as error:
        return f"the pattern does not parse: {error}"


def read_patterns(explanations: Sequence[Explanation]) -> tuple[list[Pattern | None], list[str | None]]:
    """The pattern of every explanation, and the reason where there is none to run."""
    patterns: list[Pattern | None] = []
    reasons: list[str | None] = []
    for e in explanations:
        found: Pattern | str
        if e.abstained is not None:
            found = f"abstained: {e.abstained}"
        elif e.pattern is None:
            found = NO_PATTERN
        else:
            found = _parsed(e.pattern)
        patterns.append(None if isinstance(found, str) else found)
        reasons.append(found if isinstance(found, str) else None)
    return patterns, reasons


@lru_cache(maxsize=1 << 16)
def word_list(words: tuple[str, ...]) -> Pattern:
    """The pattern that fires with strength 1 on any of these words."""
    return Pattern((Clause(on=(Atom("word", words),)),))


__all__ = ["NO_PATTERN", "Labels", "Layer", "layers_of", "read_patterns", "word_list"]
