"""Would it come out the same again: the same labels on other documents, and labels made anew from other documents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autolabel.audits.metrics import Sight, peak
from autolabel.audits.nulls import GROUPS, correlations
from autolabel.excerpts import Excerpts
from autolabel.explainers.induce import Induce
from autolabel.sampling.scout import take
from autolabel.stats import Correlation, Sums, correlate
from autolabel.stats.uniform import uniform
from autolabel.suites.world import Line, World, world

Floats = NDArray[np.float64]
HELD = 0.93


def run(*, subject: str, corpus: list[str], max_tokens: int, layers: list[str], units: int, seed: int) -> Iterator[Line]:
    """`units` neurons of each layer, labelled by `induce` on explain, and on each half of its documents; scored on halves of test."""
    here = world(subject, corpus, max_tokens)
    yield Line("tokens of explain and test", f"{here.explain.n_tokens:,} and {here.test.n_tokens:,}")
    rng = np.random.default_rng(seed)
    rows = [_layer(here, layer, np.sort(rng.choice(here.site(layer).width, units, replace=False)), seed) for layer in layers]
    first, second, low, high = (np.concatenate([r[name] for r in rows]) for name in ("rho0", "rho1", "low", "high"))
    yield from _same(first, second, low, high)
    yield _again("peak of a label on two halves of the test documents", *(np.concatenate([r[name] for r in rows]) for name in ("peak0", "peak1")))
    yield from _anew(*(np.concatenate([r[name] for r in rows]) for name in ("new0", "new1", "alike", "other", "named")))


def _layer(here: World, layer: str, units: NDArray[np.int64], seed: int) -> dict[str, Floats]:
    """[units] each: figures of the labels made on explain on both halves of test, and of those made on its halves on all of test."""
    a = here.activations(here.test, layer, units).astype(np.float64)
    views = here.views(layer, units)
    c = here.strengths([e.pattern for e in here.labels(Induce(), views)], here.test).astype(np.float64)
    tau99 = views.explain.stats[layer, "+"].tau99
    block, excerpt = here.test.block[here.test.excerpt_of_token], here.test.excerpt_of_token
    half = uniform(seed, block) <= 0.5
    out: dict[str, Floats] = {}
    parts = [_correlate(a[rows], c[rows], block[rows]) for rows in (half, ~half)]
    for k, (part, rows) in enumerate(zip(parts, (half, ~half), strict=True)):
        out[f"rho{k}"] = part.rho
        out[f"peak{k}"] = np.array([peak(Sight(a[rows, u], c[rows, u], np.ones(rows.sum()), a[rows, u] > tau99[u], excerpt[rows], True))
                                    if c[rows, u].any() else np.nan for u in range(len(units))])
    out["low"], out["high"] = _combined(parts)
    new = [here.strengths([e.pattern for e in here.labels(Induce(), here.views(layer, units, e))], here.test).astype(np.float64)
           for e in halves(here.explain, seed)]
    out |= {f"new{k}": _correlate(a, x, block).rho for k, x in enumerate(new)}
    matrix = correlations(new[0], new[1])  # [of the second, of the first]
    out["alike"] = np.diag(matrix)
    both = ~np.isnan(matrix)
    out["other"] = np.array([np.mean(np.delete(row, u)[np.delete(ok, u)]) if np.delete(ok, u).any() else np.nan
                             for u, (row, ok) in enumerate(zip(matrix, both, strict=True))])
    best = np.where(both, matrix, -np.inf)
    out["named"] = np.where(np.isnan(out["alike"]), np.nan, best.argmax(1) == np.arange(len(units)))
    return out


def halves(e: Excerpts, seed: int) -> tuple[Excerpts, Excerpts]:
    """Two halves of the documents."""
    mine = uniform(seed + 1, e.block) <= 0.5
    return take(e, np.flatnonzero(mine)), take(e, np.flatnonzero(~mine))


def _correlate(a: Floats, c: Floats, block: NDArray[np.int64]) -> Correlation:
    return correlate(Sums.of(a, c, block % GROUPS, GROUPS))


def _combined(parts: list[Correlation]) -> tuple[Floats, Floats]:
    """95 % interval of atanh(rho1) - atanh(rho0), from both intervals."""
    z = [np.arctanh(np.clip(p.rho, -1 + 1e-6, 1 - 1e-6)) for p in parts]
    half = [np.arctanh(np.clip(p.high, -1 + 1e-6, 1 - 1e-6)) - zz for p, zz in zip(parts, z, strict=True)]
    d, wide = z[1] - z[0], np.hypot(half[0], half[1])
    return d - wide, d + wide


def _same(first: Floats, second: Floats, low: Floats, high: Floats) -> Iterator[Line]:
    yield _again("rho of a label on two halves of the test documents", first, second)
    known = ~np.isnan(first + second + low + high)
    held = float(((low <= 0) & (high >= 0))[known].mean())
    yield Line("the 95 % interval of the difference holds 0", f"{held:.1%} of {int(known.sum()):,}", f">= {HELD:.0%}", held >= HELD)


def _again(what: str, first: Floats, second: Floats) -> Line:
    known = ~np.isnan(first + second)
    x, y = first[known], second[known]
    return Line(what, f"{len(x):,} labels: correlation {np.corrcoef(x, y)[0, 1]:.3f}, mean {x.mean():.3f} and {y.mean():.3f}, "
                      f"mean |difference| {np.abs(x - y).mean():.3f}")


def _anew(first: Floats, second: Floats, alike: Floats, other: Floats, named: Floats) -> Iterator[Line]:
    yield _again("rho of the labels that two halves of the explain documents give", first, second)
    known = ~np.isnan(alike)
    yield Line("correlation of what both say of each token: same unit, two units of a layer",
               f"{np.mean(alike[known]):.3f}, {np.nanmean(other):.3f}; {int(known.sum()):,} units labelled by both, {int((~known).sum()):,} not")
    yield Line("the other half's label of the same unit is the most alike of the layer's", f"{np.mean(named[known]):.1%}")
    agree = (first > 0.2) == (second > 0.2)
    both = ~np.isnan(first + second)
    yield Line("both or neither above rho .2", f"{np.mean(agree[both]):.1%}")
