"""Is the estimate right: unbiased at every n, its interval as good as it says, the same bits for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autolabel.audits.bed import Bed
from autolabel.audits.corrupt import own
from autolabel.audits.metrics import pearson
from autolabel.audits.paired import Finding
from autolabel.stats import Correlation, Sums, correlate

BIAS, COVERAGE = 0.01, 0.93
CLIP = 2e-6  # intervals end that far from 1, where a label without any error has its truth


@dataclass(frozen=True)
class Resampled:
    """One label on one unit, estimated on R samples of about n excerpts."""

    truth: float  # on the whole split
    result: Correlation  # [R]


def resample(bed: Bed, unit: int, n: int, draws: int, first_seed: int = 0, confidence: float = 0.95) -> Resampled:
    """R independent samples; the truth is the full enumeration of the same split. Sums by excerpt are made once for all of them.

    confidence: of the intervals.
    """
    c, s = own(bed, unit), bed.spread(unit)
    a, size = bed.a[:, unit].astype(np.float64), len(bed.excerpts)
    each = np.stack([np.bincount(bed.excerpt, x, size) for x in (np.ones(len(a)), a, a * a, c, c * c, a * c)], 1)  # [N, 6]
    affinity, rows, weights = bed.claim(c), [], []
    for seed in range(first_seed, first_seed + draws):
        sample = bed.frame(seed).draw(bed.stored(unit, seed, s), affinity, n)
        rows.append(sample.row)
        weights.append(sample.weights(s[sample.row]))
    row = np.concatenate(rows)
    draw = np.repeat(np.arange(draws), [len(r) for r in rows])
    documents, document = np.unique(bed.excerpts.block, return_inverse=True)
    _, pair = np.unique(draw * len(documents) + document[row], return_inverse=True)  # (draw, document), ascending
    of_pair = np.zeros(int(pair.max()) + 1, np.int64)
    of_pair[pair] = draw
    group = (np.arange(len(of_pair)) - np.searchsorted(of_pair, np.arange(draws))[of_pair])[pair]
    cell, groups = group * draws + draw, int(group.max()) + 1
    weighted = each[row] * np.concatenate(weights)[:, None]
    s6 = [np.bincount(cell, weighted[:, k], groups * draws).reshape(groups, draws).astype(np.float64) for k in range(6)]
    return Resampled(pearson(a, c, np.ones(len(a))), correlate(Sums(*s6), confidence))


def estimator(bed: Bed, sizes: Sequence[int], draws: int, units: int) -> list[Finding]:
    """Mean |bias| of rho over units, and coverage of its 95 % interval pooled over units, at every n."""
    live = [u for u in range(len(bed)) if (bed.c[:, u] > 0).sum() >= 20 and bed.a[:, u].any()]
    live = live[::max(1, len(live) // units)][:units]
    out, held, total = [], 0, 0
    for n in sizes:
        biases = []
        for u in live:
            r = resample(bed, u, n, draws)
            known = ~np.isnan(r.result.rho)
            biases.append(abs(float(r.result.rho[known].mean()) - r.truth) if known.any() else np.nan)
            held += int(((r.result.low - CLIP <= r.truth) & (r.truth <= r.result.high + CLIP)).sum())
            total += draws
        bias = float(np.nanmean(biases)) if biases else np.nan
        out.append(Finding("expectation flat in n", "rho", f"{bed.what}, n = {n}", f"mean |bias| <= {BIAS}", f"{bias:.4f} over {len(live)} units",
                           bias <= BIAS if live else None, len(live) * draws))
    share = held / total if total else float("nan")
    out.append(Finding("interval coverage", "rho", f"{bed.what}, n = {', '.join(map(str, sizes))}", f">= {COVERAGE}",
                       f"{share:.3f} of {total:,}", share >= COVERAGE if total else None, total))
    return out


def repeatable(bed: Bed, n: int) -> list[Finding]:
    """The same seed draws the same excerpts with the same weights; a larger n contains the smaller sample."""
    wrong = 0
    for unit in range(len(bed)):
        c = own(bed, unit)
        one, two, more = (bed.drawn(unit, [c], k, 5) for k in (n, n, 3 * n))
        same = np.array_equal(one.sample.row, two.sample.row) and np.array_equal(one.weight, two.weight)
        wrong += not (same and set(one.sample.row) <= set(more.sample.row))
    return [Finding("same seed, same bits", "rho", f"{bed.what}, n = {n}", "no exception", f"{wrong} of {len(bed)}", not wrong, len(bed))]
