"""Labels of one checkpoint on another of the same architecture: whose rho has fallen, and what fall could have been seen.

    fall = rho - rho',  both over the whole test split, the same documents; its interval is that of `paired_rho` at 95 %:
    the influence sums of the two are subtracted group by group, so that what both checkpoints share cancels
    stale: the interval lies above .1; or the unit's activation does not vary in the other checkpoint

.1 keeps small drifts out, and half of what a planted fall of .2 has; a fall of exactly .1 is called stale in 2.5 % of cases. *Power* is
measured, not assumed: of each label whose rho is above .2, a share .2/rho of its unit's activations is exchanged for those of
other tokens of the batch, which keeps their distribution and lowers rho by .2 on average; how often that is noticed is the power.
An unchanged unit has a fall of exactly 0 with no width, so its own interval would say nothing about what could have been seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.protocols import TestEvidence
from autolabel.scorers.block import Block
from autolabel.scorers.correlation import default_run, unscored_reason
from autolabel.scorers.entries import Run, Strengths
from autolabel.scorers.labels import Labels, layers_of, read_patterns
from autolabel.scorers.own import OwnSums
from autolabel.scorers.report import imprecision
from autolabel.scorers.walk import walk
from autolabel.stats import Correlation, correlate, influence, paired_rho
from autolabel.types import Explanation, Score, hash63

Floats = NDArray[np.float64]
BAR = 0.1  # a fall is told from drift where its interval lies above this
PLANTED = 0.2  # the fall whose power is reported


@dataclass(frozen=True)
class Falls:
    """N labels. Arrays are [N]; nan: there is no such figure."""

    own: Floats  # rho on the checkpoint that was labelled
    value: Floats  # rho on the other
    low: Floats  # its 95 % interval
    high: Floats
    fall: Floats  # own - value
    fall_low: Floats  # its paired 95 % interval
    fall_high: Floats
    planted: Floats  # the fall that was planted, as it was measured; nan where rho is not above .2
    planted_low: Floats
    stale: NDArray[np.object_]  # True, False; None where it cannot be said
    noticed: NDArray[np.object_]  # whether the planted fall was; None where none was planted
    reason: NDArray[np.object_]  # why it cannot be said, or what the interval does not; None else
    n: NDArray[np.int64]  # excerpts read
    scores: Sequence[Score] = ()  # of labels that a simulator read on their own checkpoint, with the calls that failed


class Exchanged:
    """A part of the walk: hands `inner` activations of which a share is exchanged for those of other tokens of the batch.

    share: [W] of each layer, by column.
    """

    def __init__(self, inner: OwnSums, share: Sequence[Floats], seed: int) -> None:
        import torch

        self.inner, self._batches = inner, 0
        self._share = [torch.from_numpy(x.astype(np.float32)) for x in share]
        self._generator = [torch.Generator().manual_seed(hash63("exchanged", seed, k)) for k in range(len(share))]

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """As of the inner part."""
        self.inner.chunk(excerpts, strengths)

    def add(self, block: Block) -> None:
        """One layer of one batch, exchanged."""
        import torch

        flat, made = torch.from_numpy(block.flat), self._generator[block.layer]
        other = flat[torch.randperm(len(flat), generator=made)]
        mixed = torch.where(torch.rand(flat.shape, generator=made) < self._share[block.layer], other, flat).numpy()
        self.inner.add(replace(block, x=mixed, rows=np.arange(len(mixed)), signs=np.ones(1, np.float32)))

    def end_chunk(self) -> None:
        """As of the inner part."""
        self.inner.end_chunk()


def compare_checkpoints(explanations: Sequence[Explanation], rho: Sequence[float | None], own: TestEvidence, other: TestEvidence, *,
                        run: Run | None = None, seed: int = 0) -> Falls:
    """`rho`: what is known of each label on its own checkpoint, from which the planted share is taken. Labels without a pattern come back with the reason."""
    patterns, reasons = read_patterns(explanations)
    rows = np.array([i for i, p in enumerate(patterns) if p is not None], np.int64)
    asked = [(explanations[i].unit, p) for i in rows if (p := patterns[i]) is not None]
    layers = layers_of(own, {(u.layer, u.site) for u, _ in asked})
    labels, label = Labels.build(layers, asked)
    mine, theirs, changed = (OwnSums(labels, mass=False) for _ in range(3))
    share = [np.zeros(lay.width) for lay in layers]
    known = np.array([np.nan if rho[i] is None else rho[i] for i in rows], np.float64)
    for p, r in zip(label, known, strict=True):
        if r > PLANTED:
            share[labels.layer[p]][labels.column[p]] = PLANTED / r
    runner = run or default_run(own)
    if layers:
        walk(own, layers, labels.patterns, runner, [mine, Exchanged(changed, share, seed)])
        walk(other, layers, labels.patterns, runner, [theirs])
    sums = [part.sums() for part in (_finished(mine), _finished(theirs), _finished(changed))]
    first, second, third = (influence(s) for s in sums)
    before, after = correlate(sums[0]), correlate(sums[1])
    fall, planted = paired_rho(first, second, 0.95), paired_rho(first, third, 0.95)
    found = _empty(len(explanations), reasons)
    for name, x in (("own", before.rho), ("value", after.rho), ("low", after.low), ("high", after.high), ("fall", fall.value),
                    ("fall_low", fall.low), ("fall_high", fall.high), ("planted", planted.value), ("planted_low", planted.low)):
        found[name][rows] = x[label]
    why = _reasons(before, mine, label)
    for i, p, r, reason in zip(rows.tolist(), label.tolist(), known.tolist(), why, strict=True):
        found["reason"][i] = reason
        if reason is None:
            found["stale"][i] = bool(after.flat_a[p]) or bool(fall.low[p] > BAR)
            found["reason"][i] = "the unit's activation does not vary in the other checkpoint" if after.flat_a[p] else None
        if reason is None and r > PLANTED:
            found["noticed"][i] = bool(planted.low[p] > BAR)
        else:
            found["planted"][i] = found["planted_low"][i] = np.nan
    found["n"][rows] = mine.n_excerpts
    return Falls(**found)


def unread(reasons: Sequence[str]) -> Falls:
    """Labels that nothing reads, each with its reason."""
    return Falls(**_empty(len(reasons), reasons))


def _finished(part: OwnSums) -> OwnSums:
    part.finish()
    return part


def _reasons(before: Correlation, mine: OwnSums, label: NDArray[np.int64]) -> list[str | None]:
    """Why nothing can be said of a label: it has no rho of its own, or one that is not to be relied on."""
    loose = imprecision(before.df[label], mine.documents.count[label])
    return [unscored_reason(bool(before.flat_a[p]), bool(before.flat_c[p]), mine.n_excerpts, "test") or why for p, why in zip(label, loose, strict=True)]


def _empty(n: int, reasons: Sequence[str | None]) -> dict[str, Any]:
    """All figures as unknown. Any: the keyword arguments of Falls."""
    out: dict[str, Any] = {name: np.full(n, np.nan) for name, kind in Falls.__annotations__.items() if kind == "Floats"}
    out |= {name: np.full(n, None, object) for name in ("stale", "noticed")}
    out["n"] = np.zeros(n, np.int64)
    out["reason"] = np.array([*reasons, None], object)[:-1]
    return out
