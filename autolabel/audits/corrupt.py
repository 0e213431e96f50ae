"""Labels made worse on purpose. Each takes strengths [tokens] of the true label and gives those of a corrupted copy.

What is taken away or added is a hash of (seed, token), so a corruption of 50 % contains the one of 25 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from autolabel.audits.bed import Bed
from autolabel.stats.uniform import uniform
from autolabel.types import hash63

Floats = NDArray[np.float64]
Corruption = Callable[[Bed, int, int], Floats | None]  # (bed, unit, seed) -> c; None where it cannot be made of this label
STEPS = (0.25, 0.5, 0.75, 1.0)


def own(bed: Bed, unit: int) -> Floats:
    """The true label."""
    return bed.c[:, unit].astype(np.float64)


def _draw(bed: Bed, unit: int, seed: int, what: str) -> Floats:
    return uniform(hash63(seed, unit, what), np.arange(len(bed.c)))


def thin(bed: Bed, unit: int, seed: int, share: float) -> Floats:
    """A share of the positives is taken away."""
    c = own(bed, unit)
    return np.where(_draw(bed, unit, seed, "thin") <= share, 0.0, c)


def grow(bed: Bed, unit: int, seed: int, share: float) -> Floats:
    """False positives are added, `share` times as many as there are positives, each as strong as some positive."""
    c = own(bed, unit)
    on = c > 0
    if not on.any() or on.all():
        return c
    rate = share * on.sum() / (~on).sum()
    strengths = c[on]
    some = strengths[(_draw(bed, unit, seed, "how strong") * len(strengths)).astype(np.int64).clip(max=len(strengths) - 1)]
    return np.where(~on & (_draw(bed, unit, seed, "grow") <= rate), some, c)


def missing_half(bed: Bed, unit: int, seed: int) -> Floats | None:
    """Half of the positives is taken away."""
    return thin(bed, unit, seed, 0.5)


def extra(bed: Bed, unit: int, seed: int) -> Floats | None:
    """As many false positives as there are positives are added; None where there is no room for them."""
    return None if (bed.c[:, unit] > 0).mean() > 0.4 else grow(bed, unit, seed, 1.0)


def sibling(bed: Bed, unit: int) -> int | None:
    """Another unit of the same kind (any other where there is none) whose label is another."""
    others = [*range(unit + 1, len(bed)), *range(unit)]
    fit = [o for o in others if bed.c[:, o].any() and not np.array_equal(bed.c[:, o], bed.c[:, unit])]
    return next((o for o in fit if bed.kinds[o] == bed.kinds[unit]), fit[0] if fit else None)


def swapped(bed: Bed, unit: int, _seed: int) -> Floats | None:
    """The label of a sibling."""
    other = sibling(bed, unit)
    return None if other is None else own(bed, other)


def foreign(bed: Bed, unit: int, seed: int) -> Floats | None:
    """The label of a unit of another kind; None where all are of one kind."""
    fit = [o for o in range(len(bed)) if bed.kinds[o] != bed.kinds[unit] and bed.c[:, o].any() and not np.array_equal(bed.c[:, o], bed.c[:, unit])]
    return own(bed, fit[hash63(seed, unit, "foreign") % len(fit)]) if fit else None


def negated(bed: Bed, unit: int, _seed: int) -> Floats | None:
    """1 - c."""
    return 1 - own(bed, unit)


def parent(bed: Bed, unit: int, _seed: int) -> Floats | None:
    """A wider label: the own one or a sibling's."""
    other = sibling(bed, unit)
    if other is None:
        return None
    wider = np.maximum(own(bed, unit), own(bed, other))
    return None if np.array_equal(wider, own(bed, unit)) else wider


def child(bed: Bed, unit: int, _seed: int) -> Floats | None:
    """A narrower label: the own one on half of the token types."""
    c = own(bed, unit)
    kept = np.where(bed.halves, c, 0.0)
    share = (kept > 0).sum() / max(1, (c > 0).sum())
    return kept if 0.1 <= share <= 0.9 else None  # else it is nearly the same label, or nearly none


def degraded(bed: Bed, unit: int, seed: int, share: float) -> Floats:
    """A share of the positives is taken away and as many false ones are added."""
    c, without = own(bed, unit), thin(bed, unit, seed, share)
    return np.maximum(without, np.where(c > 0, 0.0, grow(bed, unit, seed, share)))


CORRUPTIONS: Mapping[str, Corruption] = {
    "missing half": missing_half, "extra": extra, "swapped": swapped, "foreign": foreign, "negated": negated, "parent": parent, "child": child}
FALLS = ("missing half", "extra")  # the score must fall by more than .001; for the others the own label must be higher
