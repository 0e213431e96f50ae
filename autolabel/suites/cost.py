"""What a label costs to make, and what a score costs for how much certainty."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from autolabel.audits.bed import Bed
from autolabel.audits.corrupt import own
from autolabel.audits.estimates import CLIP, Resampled, resample
from autolabel.audits.metrics import Sight, peak, rho
from autolabel.registry import build
from autolabel.stats import Budget, Correlation, half_width, sequential
from autolabel.suites.world import Line, World, world

Ints = NDArray[np.int64]
PRECISE = 0.1


def run(*, subject: str, corpus: list[str], max_tokens: int, layer: str, units: int, explainers: list[str], sizes: list[int], scored: int, draws: int,
        seed: int) -> Iterator[Line]:
    """`units` neurons of one layer are labelled; `scored` of them are scored on samples of test, `draws` times."""
    here = world(subject, corpus, max_tokens)
    yield Line("tokens of explain and test", f"{here.explain.n_tokens:,} and {here.test.n_tokens:,}")
    some = np.sort(np.random.default_rng(seed).choice(here.site(layer).width, units, replace=False))
    yield from _labels(here, layer, some, explainers)
    bed = here.real(layer, some[:scored])
    yield from _scores(bed, sizes, draws, seed)


def _labels(here: World, layer: str, units: Ints, explainers: list[str]) -> Iterator[Line]:
    """CPU time of each explainer, what its labels are worth, and what it takes to run them on all of test."""
    a = here.activations(here.test, layer, units).astype(np.float64)
    excerpt, ones = here.test.excerpt_of_token, np.ones(len(a))
    for name in explainers:
        views = here.views(layer, units)
        began = time.process_time()
        found = here.labels(build("explainers", name), views)
        made = time.process_time()
        c = here.strengths([e.pattern for e in found], here.test).astype(np.float64)
        ran = time.process_time()
        tau99 = views.explain.stats[layer, "+"].tau99
        sights = [Sight(a[:, u], c[:, u], ones, a[:, u] > tau99[u], excerpt, True) for u in range(len(units)) if c[:, u].any()]
        yield Line(f"{name}: CPU time per 1,000 labels, to make and to run them", f"{1000 * (made - began) / len(units):.1f} s and "
                   f"{1000 * (ran - made) / len(units):.1f} s; {len(sights)} of {len(units)} labelled, mean rho {np.nanmean([rho(s) for s in sights]):.3f}, "
                   f"peak {np.nanmean([peak(s) for s in sights]):.3f}; no call, $0")


def _scores(bed: Bed, sizes: list[int], draws: int, seed: int) -> Iterator[Line]:
    """One call per excerpt: how wide the interval is after so many, and how far from the whole split's figure the estimate lies."""
    live = [u for u in range(len(bed)) if bed.a[:, u].any() and own(bed, u).any()]
    for n in sizes:
        wide, errors = [], []
        for u in live:
            r = resample(bed, u, n, draws, first_seed=seed)
            wide.append(np.nanmean(half_width(r.result)))
            errors.append(np.nanmean((r.result.rho - r.truth) ** 2))
        yield Line(f"a score on {n} excerpts, one call each", f"half-width of the interval {np.mean(wide):.3f} (at most {PRECISE} for "
                   f"{np.mean(np.array(wide) <= PRECISE):.0%} of labels), error {np.sqrt(np.mean(errors)):.3f} (root mean square)")
    budget, asked, held = Budget(), [], []
    for u in live:
        results = {n: resample(bed, u, n, draws, first_seed=seed, confidence=budget.confidence) for n in budget.sizes}
        truth = results[budget.cap].truth

        def measure(labels: Ints, n: int, _confidence: float, results: dict[int, Resampled] = results) -> Correlation:
            r = results[n].result
            return Correlation(**{f.name: getattr(r, f.name)[labels] for f in fields(Correlation)})
        grown = sequential(measure, draws, budget)
        asked.append(grown.n.mean())
        held.append(((grown.result.low - CLIP <= truth) & (truth <= grown.result.high + CLIP)).mean())
    yield Line(f"a score that stops at a half-width of {budget.half_width}, or at {budget.cap}", f"{np.mean(asked):.0f} excerpts on average "
               f"({np.min(asked):.0f} to {np.max(asked):.0f} by label); the interval holds the truth in {np.mean(held):.1%}")
