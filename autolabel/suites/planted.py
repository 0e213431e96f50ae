"""Planted truth: does the true label outrank every corrupted version of itself, kind by kind, rules beyond the pattern language included."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autolabel.audits.bed import Bed
from autolabel.audits.corrupt import CORRUPTIONS, STEPS, degraded, own
from autolabel.audits.metrics import METRICS
from autolabel.audits.paired import ENOUGH, FALL, corruptions
from autolabel.subjects.suite import BEYOND
from autolabel.suites.world import Line, world

SCORES = {name: METRICS[name] for name in ("rho", "peak")}


def run(*, subject: str, corpus: list[str], max_tokens: int, units: int, n: int, seeds: int, rhos: list[float], seed: int) -> Iterator[Line]:
    """Each pair on one shared sample of about n excerpts, drawn with the mean of both labels' affinities."""
    bed = world(subject, corpus, max_tokens).planted(units, seed, rhos=tuple(rhos))
    yield Line("planted units that fire, kinds", f"{len(bed)}, {len(set(bed.kinds))}")
    for f in corruptions(bed, SCORES, seeds, n, tuple(CORRUPTIONS)):
        yield Line(f"{f.metric}, {f.test}", f.observed, f.expected, f.passed)
    beyond = [u for u in range(len(bed)) if bed.kinds[u] in BEYOND]
    wins = [w for test in CORRUPTIONS for u in beyond for w in _wins(bed, u, test, n, seeds)]
    yield Line(f"rho, all of these, on the {len(beyond)} units that no pattern can say ({', '.join(BEYOND)})", f"{np.mean(wins):.1%} of {len(wins)}",
               ">= 95 %", bool(np.mean(wins) >= ENOUGH))


def _wins(bed: Bed, unit: int, test: str, n: int, seeds: int) -> Iterator[bool]:
    for seed in range(seeds):
        worse = CORRUPTIONS[test](bed, unit, seed)
        if worse is not None:
            drawn = bed.drawn(unit, [own(bed, unit), worse], n, seed)
            one, two = (SCORES["rho"](drawn.sight(c)) for c in (own(bed, unit), worse))
            yield bool(one - (two if not np.isnan(two) else -1.0) > (FALL if test in ("missing half", "extra") else 0))


def degrade(*, subject: str, corpus: list[str], max_tokens: int, units: int, n: int, seeds: int, rhos: list[float], seed: int) -> Iterator[Line]:
    """The score of a label of which 0 to 100 % is made false, in five nested steps."""
    bed = world(subject, corpus, max_tokens).planted(units, seed, rhos=tuple(rhos))
    steps: dict[str, list[list[float]]] = {name: [] for name in SCORES}
    for u in range(len(bed)):
        for k in range(seeds):
            labels = [own(bed, u), *(degraded(bed, u, k, share) for share in STEPS)]
            drawn = bed.drawn(u, labels, n, k)
            for name, metric in SCORES.items():
                if name == "rho" or bed.about_the_strong(u):
                    steps[name].append([metric(drawn.sight(c)) for c in labels])
    for name, rows in steps.items():
        x = np.array(rows)
        falls = np.all(np.diff(x, axis=1) < 0, axis=1)
        yield Line(f"{name}, n = {n}: mean at 0, 25, 50, 75, 100 % false", ", ".join(f"{v:.3f}" for v in np.nanmean(x, 0)))
        yield Line(f"{name}: falls at every step (Kendall tau = 1)", f"{falls.mean():.1%} of {len(x)}", ">= 95 %", bool(falls.mean() >= ENOUGH))
