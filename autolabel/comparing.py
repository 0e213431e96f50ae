"""Two explainers on the units that both have labelled: mean differences on test with intervals over units, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autolabel.catalogue import Catalogue

FIGURES = ("rho", "peak", "rho_new")
ENOUGH = 10  # units that both have a figure for
_SCORES = """
    SELECT e.layer, e.site, e.neuron, e.side, e.explainer, arg_max(struct_pack(rho := s.value, peak := s.peak,
           rho_new := try_cast(s.extra ->> 'rho_new' AS DOUBLE)), coalesce(s.value, -2))
    FROM explanations e JOIN scores s ON s.explanation = e.id
    WHERE e.model = ? AND e.explainer IN (?, ?) AND s.split = 'test' AND s.scorer IN ('correlation', 'simulation')
    GROUP BY e.layer, e.site, e.neuron, e.side, e.explainer"""


@dataclass(frozen=True, slots=True)
class Pairs:
    """One figure of two explainers, over the units for which both have it."""

    figure: str  # rho, peak or rho_new, on test
    first: str  # explainer
    second: str
    units: int
    mean_first: float
    mean_second: float
    difference: float  # first minus second
    low: float  # 95 % interval of the mean difference: Student's t over units
    high: float
    better: int  # units on which the first is ahead


def compare(catalogue: Catalogue, model: str, first: str, second: str) -> list[Pairs]:
    """The figures for which at least ENOUGH units have a value of both."""
    from scipy.stats import t as student

    found: dict[tuple[object, ...], dict[str, dict[str, float | None]]] = {}
    for *key, explainer, figures in catalogue.read(_SCORES, [model, first, second]):
        found.setdefault(tuple(key), {})[explainer] = figures
    out = []
    for figure in FIGURES:
        pairs = [(a, b) for both in found.values() if len(both) == 2
                 and (a := both[first][figure]) is not None and (b := both[second][figure]) is not None]
        if len(pairs) < ENOUGH:
            continue
        one, two = np.array(pairs, np.float64).T
        d = one - two
        half = float(student.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)))
        out.append(Pairs(figure, first, second, len(d), float(one.mean()), float(two.mean()), float(d.mean()), float(d.mean()) - half,
                         float(d.mean()) + half, int((d > 0).sum())))
    return out
