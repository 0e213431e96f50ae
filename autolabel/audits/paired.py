"""The paired tests: own label against a corrupted copy, both on one sample, by metric and corruption."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autolabel.audits.bed import Bed, Floats
from autolabel.audits.corrupt import CORRUPTIONS, FALLS, STEPS, degraded, own
from autolabel.audits.metrics import OF_THE_STRONG, Metric, Sight

FALL, ENOUGH = 0.001, 0.95
CHANCE = 0.05  # of a metric that just holds to be told that it does not
LEAST = 20  # tokens on which a label fires: of fewer, a quarter is hardly anything
MARKS = {**dict.fromkeys(FALLS, f"falls > {FALL}, >= 95 %"), "degradation": "falls at 4 steps, >= 95 %"}
TOUCH = 1e-9  # relative: what rounding may do


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the audit's table."""

    test: str
    metric: str
    on: str  # planted or real units, and how much was read of them
    expected: str  # the pass mark, in words
    observed: str
    passed: bool | None  # None: not run
    n: int = 0  # pairs, or draws, or whatever was counted
    known: bool = False  # this metric is known to fail this test: it is shown with that mark


def corruptions(bed: Bed, metrics: Mapping[str, Metric], seeds: int, n: int | None, tests: Collection[str] = (*CORRUPTIONS, "degradation")) -> list[Finding]:
    """Corruptions on samples of n excerpts, or on the whole split (n None): the own label must win in 95 % of (unit, seed)."""
    won: dict[tuple[str, str], list[bool]] = {(test, m): [] for test in tests for m in metrics}
    for unit in range(len(bed)):
        c = own(bed, unit)
        if (c > 0).sum() < LEAST:
            continue
        s, about = bed.spread(unit), {m for m in metrics if m not in OF_THE_STRONG or bed.about_the_strong(unit)}
        for seed in range(seeds):
            for test, corrupt in CORRUPTIONS.items():
                worse = corrupt(bed, unit, seed) if test in tests else None
                if worse is None:
                    continue
                first, second = _pair(bed, unit, [c, worse], n, seed, s)
                for m in about:
                    mine, theirs = metrics[m](first), metrics[m](second)
                    if np.isnan(mine) and np.isnan(theirs):
                        continue  # the metric is not defined here (whole splits only)
                    bar = FALL if test in FALLS else 0.0
                    won[test, m].append(bool(mine - (theirs if not np.isnan(theirs) else -np.inf) > bar))
            if "degradation" not in tests:
                continue
            nested = _pair(bed, unit, [c, *(degraded(bed, unit, seed, share) for share in STEPS)], n, seed, s)
            for m in about:
                steps = [metrics[m](x) for x in nested]
                if not all(np.isnan(steps)):
                    won["degradation", m].append(bool((np.diff(steps) < 0).all()))
    on = f"{bed.what}, {f'n = {n}' if n else 'whole split'}"
    out = []
    for (test, m), wins in won.items():
        if wins:
            share = float(np.mean(wins))
            out.append(Finding(test, m, on, MARKS.get(test, "own higher, >= 95 %"), f"{share:.1%} of {len(wins)}", holds(wins), len(wins)))
    return out


def holds(wins: Sequence[bool]) -> bool:
    """Whether the own label wins in ENOUGH of the cases, as far as so many cases can tell.

    It does where the observed share is enough, or so near that a true share of ENOUGH would often give it (one-sided binomial
    test at 5 %): of five cases one miss proves nothing, of a hundred ten do.
    """
    from scipy.stats import binom

    won = int(np.sum(wins))
    return won >= ENOUGH * len(wins) or float(binom.cdf(won, len(wins), ENOUGH)) > CHANCE + 1e-9


def _pair(bed: Bed, unit: int, labels: list[Floats], n: int | None, seed: int, s: Floats) -> list[Sight]:
    if n is None:
        return [bed.whole(unit, c) for c in labels]
    drawn = bed.drawn(unit, labels, n, seed, s)
    return [drawn.sight(c) for c in labels]


def invariance(bed: Bed, metrics: Mapping[str, Metric], n: int) -> list[Finding]:
    """Scale and shift of the activations and the order of the tokens' excerpts must not matter."""
    worst = dict.fromkeys(metrics, 0.0)
    for unit in range(len(bed)):
        x = bed.drawn(unit, [own(bed, unit)], n, 0).sight(own(bed, unit))
        if not x.fires.any():
            continue
        order = np.random.default_rng(unit).permutation(len(x.a))
        others = (Sight(3 * x.a + 0.7, x.c, x.weight, x.positive, x.excerpt, x.whole),
                  Sight(x.a[order], x.c[order], x.weight[order], x.positive[order], x.excerpt[order], x.whole))
        for m, metric in metrics.items():
            base = metric(x)
            for y in others:
                moved = metric(y)
                if not (np.isnan(base) and np.isnan(moved)):
                    worst[m] = max(worst[m], abs(moved - base) if not np.isnan(moved - base) else np.inf)
    return [Finding("scale, shift and order", m, f"{bed.what}, n = {n}", "moves by < 1e-9", f"{w:.1e}", w < TOUCH, len(bed)) for m, w in worst.items()]
