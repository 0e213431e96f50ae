"""Senses: how many of planted units of one to four senses are found, which, and how often a unit of one sense is torn apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.audits.beds import views_of
from autolabel.patterns.syntax import parse
from autolabel.pipeline.labels import embedder, hierarchy, runner
from autolabel.polysemy.find import Sense, UnitSenses, find_senses
from autolabel.protocols import SelectEvidence
from autolabel.stats import benjamini_hochberg
from autolabel.subjects.planted import Plant, Planted, Silent
from autolabel.subjects.rules import Reading
from autolabel.subjects.suite import suite
from autolabel.suites.world import Line, World, world
from autolabel.types import Unit

Floats = NDArray[np.float64]
ALIKE = 0.5  # correlation of a sense's label with a planted sense, on test, from which it is that sense's label


@dataclass(frozen=True)
class Outcome:
    """One planted unit."""

    kind: str
    planted: int  # senses
    clusters: int  # that the words fell into
    real: int  # senses that are real on select
    confirmed: int  # of them, on test
    matched: int  # planted senses that have a real label of their own
    strength: Floats  # [planted, real] correlation of the rules with the labels, on test


def run(*, subject: str, corpus: list[str], max_tokens: int, units: int, kinds: list[str], rhos: list[float], seed: int) -> Iterator[Line]:
    """`units` of every kind on a silent layer, the first sense at a correlation drawn from `rhos`; everything else as `autolabel senses` does it."""
    here = world(subject, corpus, max_tokens)
    outcomes = plant_and_find(here, suite(here.garden, units * len(kinds), seed, kinds=kinds, rhos=rhos), seed)
    yield Line("tokens of explain, select and test", f"{here.explain.n_tokens:,}, {here.select.n_tokens:,} and {here.test.n_tokens:,}")
    one = [o for o in outcomes if o.planted == 1]
    for kind in kinds:
        mine = [o for o in outcomes if o.kind == kind]
        told = f"{mine[0].planted} sense{'s' if mine[0].planted > 1 else ''} ({kind}), {len(mine)} units"
        yield Line(f"{told}: real senses found, 0, 1, 2, 3, 4 or more", counted([o.real for o in mine]))
        yield Line(f"{told}: planted senses with a real label of their own", _share(sum(o.matched for o in mine), sum(o.planted for o in mine)))
        yield Line(f"{told}: clusters of words, 0, 1, 2, 3, 4 or more", counted([o.clusters for o in mine]))
        yield Line(f"{told}: polysemantic (two or more senses confirmed on test)", _share(sum(o.confirmed >= 2 for o in mine), len(mine)))
    torn = sum(o.real >= 2 for o in one)
    yield Line("units of one sense that are torn apart (two or more real senses)", _share(torn, len(one)), "<= 5 %", torn <= 0.05 * len(one))
    false = sum(o.confirmed >= 2 for o in one)
    yield Line("units of one sense that are called polysemantic", _share(false, len(one)), "<= 5 %", false <= 0.05 * len(one))
    many = [o for o in outcomes if o.kind.startswith("families") and o.planted > 1]
    if many:
        yield Line("units of several families: exactly the planted number found", _share(sum(o.real == o.planted for o in many), len(many)))
        yield Line("units of several families: two or more senses found", _share(sum(o.real >= 2 for o in many), len(many)))


def plant_and_find(here: World, plants: Sequence[Plant], seed: int) -> list[Outcome]:
    """Plant units on a silent layer of their own, look for their senses, and compare."""
    planted = Planted(Silent(here.subject, len(plants)), tuple(plants))
    views = views_of(planted, here.explain, here.test)
    select = SelectEvidence(planted, lambda: iter([here.select]), len(here.select), here.select.n_tokens, views.explain.stats, 64)
    used = embedder()
    if used is None:
        raise RuntimeError("the embedding model is not installed")
    units = [Unit(planted.name, "0", planted.sites[0].name, p.index) for p in plants]
    run_patterns = runner(here.subject, hierarchy())
    found = list(find_senses(units, views.explain, select, views.test, run=run_patterns, embedder=used, seed=seed))
    real = [[s for s in f.senses if s.real] for f in found]
    confirmed = _confirmed(found)
    reading = Reading(here.speller.respelt(here.test), here.speller.vocabulary)
    c: Any = run_patterns([parse(s.label.pattern or "") for senses in real for s in senses], here.test)
    said, at, out = c.csr().tocsr(), 0, []
    for plant, f, senses, sure in zip(plants, found, real, confirmed, strict=True):
        labels = said[at:at + len(senses)].toarray()
        at += len(senses)
        pairs = [correlation(rule.strength(reading), label) for rule, _ in plant.senses for label in labels]
        strength = np.array(pairs).reshape(len(plant.senses), len(senses))
        out.append(Outcome(plant.kind, len(plant.senses), f.clusters, len(senses), sure, matched(strength), strength))
    return out


def matched(strength: Floats) -> int:
    """Planted senses with a label of their own: the best one-to-one pairs of rules and labels [planted, real], those of at least ALIKE."""
    from scipy.optimize import linear_sum_assignment

    if not strength.size:
        return 0
    rows, columns = linear_sum_assignment(-strength)
    return int((strength[rows, columns] >= ALIKE).sum())


def correlation(x: Floats, y: Floats) -> float:
    """Pearson; 0 where one does not vary."""
    if not x.std() or not y.std():
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def counted(values: Sequence[int]) -> str:
    """How many are 0, 1, 2, 3, at least 4."""
    return ", ".join(str(n) for n in np.bincount(np.minimum(values, 4), minlength=5).tolist())


def _confirmed(found: Sequence[UnitSenses]) -> list[int]:
    senses = [s for f in found for s in f.senses]
    q = dict(zip(map(id, senses), benjamini_hochberg(np.array([s.proof.p for s in senses])).tolist(), strict=True))

    def sure(s: Sense) -> bool:
        return s.real and s.proof.unscored is None and s.proof.imprecise is None and q[id(s)] < 0.05
    return [sum(sure(s) for s in f.senses) for f in found]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / max(1, whole):.0%})"
