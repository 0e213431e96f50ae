"""Nothing found where there is nothing: foreign labels on real units, and planted catalogues of which half the labels are false."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from autolabel.audits.beds import joined
from autolabel.audits.nulls import Pool, correlations, false_discoveries
from autolabel.stats import rank_p
from autolabel.subjects.rules import Reading, word_rule
from autolabel.suites.world import Line, World, world

LEVELS = (0.01, 0.05, 0.1)


def run(*, subject: str, corpus: list[str], max_tokens: int, tokens: int, layers: list[str], pairs: int, labels: int, catalogues: int,
        catalogue_units: int, ratio: int, seed: int) -> Iterator[Line]:
    """`pairs` of a label and a unit that is not its own, one each, from several layers; then the realised false-discovery rate."""
    from scipy.stats import binom

    whole = world(subject, corpus, max_tokens)
    here = whole.part(tokens)
    yield Line("tokens of explain and test, for foreign labels", f"{here.explain.n_tokens:,} and {here.test.n_tokens:,}")
    rng = np.random.default_rng(seed)
    foreign, own = (np.concatenate(x) for x in zip(*(_layer(here, layer, -(-pairs // len(layers)), labels, rng) for layer in layers), strict=True))
    for name, p, null in (("foreign", foreign[:pairs], True), ("own labels, the null broken on purpose:", own[:pairs], False)):
        for x in LEVELS:
            share = float((p <= x).mean())
            limit = binom.ppf(0.995, len(p), x) / len(p)
            held = share <= limit
            yield Line(f"{name} P(p <= {x}), {len(p)} pairs from {len(layers)} layers", f"{share:.3f}",
                       f"<= {limit:.3f}" if null else f"> {limit:.3f}: the test must fail", held if null else not held)
    for f in false_discoveries(_pool(whole, rng, catalogue_units), catalogues, catalogue_units, ratio, seed):
        yield Line(f"{f.test}: {f.on}, documents a {ratio}th of the corpus", f.observed, f.expected, f.passed)


def _layer(here: World, layer: str, pairs: int, labels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """p of `pairs` foreign labels, and of the same labels on their own units: the larger of the two ranks."""
    width = next(s.width for s in here.subject.sites if s.layer == layer)
    bed = here.real(layer, np.arange(width))
    owner = rng.choice(width, min(labels, width), replace=False)
    matrix = np.nan_to_num(correlations(bed.a.astype(np.float64), bed.c[:, owner].astype(np.float64)), nan=0.0)  # [labels, units]
    some = rng.permutation(len(owner))[:pairs]
    target = np.roll(owner[some], 1)

    def p(label: int, unit: int) -> float:
        mine = matrix[label, unit]
        units = np.delete(matrix[label], [unit, int(owner[label])])
        column = np.delete(matrix[:, unit], [label, *np.flatnonzero(owner == unit)])
        return float(max(rank_p((units >= mine).sum(), len(units)), rank_p((column >= mine).sum(), len(column))))
    return (np.array([p(int(k), int(u)) for k, u in zip(some, target, strict=True)]), np.array([p(int(k), int(owner[k])) for k in some]))


def _pool(here: World, rng: np.random.Generator, rules: int) -> Pool:
    """Word lists on all excerpts of explain and test, documents one after the other."""
    excerpts = joined([here.explain, here.test])
    reading = Reading(here.speller.respelt(excerpts), here.speller.vocabulary)
    block = excerpts.block[excerpts.excerpt_of_token]
    order = np.argsort(block, kind="stable")
    made = [word_rule(here.garden.some_words(rng, int(rng.integers(3, 10)), 3e-4, 2e-2)) for _ in range(rules)]
    c = sp.hstack([sp.csc_matrix(rule.strength(reading)[order][:, None]) for rule in made]).tocsc()
    return Pool(c[:, np.diff(c.indptr) > 0], block[order])
