"""The two-sided estimator against full enumeration on real units: bias at one n, coverage at several."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autolabel.audits.estimates import CLIP, resample
from autolabel.suites.world import Line, world


def run(*, subject: str, corpus: list[str], max_tokens: int, layers: list[str], units: int, n: int, draws: int, coverage_units: int, sizes: list[int],
        seed: int) -> Iterator[Line]:
    """`units` in equal parts from `layers`; labels are the 16 token types with the largest mean activation on explain."""
    here = world(subject, corpus, max_tokens)
    yield Line("excerpts and tokens of test", f"{len(here.test):,} and {here.test.n_tokens:,}")
    rng = np.random.default_rng(seed)
    biases, skipped = [], 0
    held, total = dict.fromkeys(sizes, 0), dict.fromkeys(sizes, 0)
    for layer in layers:
        width = next(s.width for s in here.subject.sites if s.layer == layer)
        bed = here.real(layer, np.sort(rng.choice(width, units // len(layers), replace=False)))
        live = [u for u in range(len(bed)) if bed.a[:, u].any() and bed.c[:, u].any()]
        skipped += len(bed) - len(live)
        for u in live:
            r = resample(bed, u, n, draws, first_seed=seed)
            biases.append(float(np.nanmean(r.result.rho)) - r.truth)
        for u in live[:max(1, coverage_units // len(layers))]:
            for size in sizes:
                r = resample(bed, u, size, draws, first_seed=seed + draws)
                held[size] += int(((r.result.low - CLIP <= r.truth) & (r.truth <= r.result.high + CLIP)).sum())
                total[size] += draws
    bias = np.array(biases)
    yield Line(f"mean |bias| of rho, n = {n}, {len(bias):,} units x {draws} samples", f"{np.abs(bias).mean():.4f}", "<= .01", bool(np.abs(bias).mean() <= 0.01))
    yield Line("units within .03", f"{(np.abs(bias) <= 0.03).mean():.1%}", ">= 95 %", bool((np.abs(bias) <= 0.03).mean() >= 0.95))
    yield Line("mean bias", f"{bias.mean():+.4f}")
    yield Line("units without activation or label on test", str(skipped))
    for size in sizes:
        share = held[size] / total[size]
        yield Line(f"coverage of the 95 % interval, n = {size}, {total[size]:,} samples", f"{share:.3f}", ">= .93", share >= 0.93)
