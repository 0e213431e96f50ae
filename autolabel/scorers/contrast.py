"""Excerpts in which a unit is active and excerpts in which it is silent: what the scorers that ask "which?" show.

Active: the largest a is above tau = .2 max; drawn from the unit's priority sample, so in proportion to how much goes on there,
not from the very top alone. Silent: never above tau; drawn evenly. One excerpt of a document at most, so that every answer is
an independent trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autolabel.scorers.labels import Layer
from autolabel.scorers.reading import Reading
from autolabel.types import ActivationRecord, Unit

STEP = 32  # excerpts looked at together
LOOKS = 16  # times that many are looked at for silent ones: a unit that is nearly never silent has too few


@dataclass(frozen=True)
class Contrast:
    """Records of one unit in random order; `band` is `active` or `silent`."""

    active: tuple[ActivationRecord, ...]
    silent: tuple[ActivationRecord, ...]
    tau: float  # what tells them apart


def contrast(reading: Reading, layer: Layer, unit: Unit, n_active: int, n_silent: int) -> Contrast:
    """As many as there are, up to the numbers given."""
    column = layer.column(unit)
    tau = float(layer.tau[column])
    blocks: set[int] = set()

    def take(ids: Iterator[Sequence[int]], wanted: int, band: str) -> tuple[ActivationRecord, ...]:
        found: list[ActivationRecord] = []
        for some in ids:
            for excerpt, block, a in zip(reading.excerpts(some), reading.blocks(some), reading.activations(layer, some), strict=True):
                mine = a[:, column]
                if len(found) < wanted and block not in blocks and (mine.max(initial=0) > tau) == (band == "active"):
                    blocks.add(block)
                    found.append(ActivationRecord(excerpt, tuple(mine.tolist()), band))
            if len(found) == wanted:
                break
        return tuple(found)

    stored = reading.stored(layer, unit).excerpt.tolist()
    active = take(_steps(stored), n_active, "active") if tau > 0 else ()
    frame = reading.frame
    evenly = frame.ids[np.argsort(frame.u_chance, kind="stable")[:STEP * LOOKS]].tolist()
    return Contrast(active, take(_steps(evenly), n_silent, "silent"), tau)


def _steps(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[i:i + STEP] for i in range(0, len(ids), STEP))
