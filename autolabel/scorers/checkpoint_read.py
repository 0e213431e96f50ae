"""Labels that are only sentences on another checkpoint: read once, on one sample, and held against the units of both.

    fall = rho - rho',  both from the sample that the label was scored on (sampling/two_sided.py), the same excerpts, weights and strengths c;
    its interval is that of `paired_rho`, the document being the unit, at the level of the sample (97 % where it grew)

What the simulator said of an excerpt serves both, so nothing is asked that was not asked on test. `stale` and the planted fall are those of
`scorers/checkpoint.py`; a share .2/rho of the sampled activations is exchanged for draws from the unit's own distribution, as the weighted sample
estimates it: token j with probability w_j / sum w. Where the unit of the other checkpoint came to be active on excerpts that the sample has by
chance alone, the interval is wide. Measured on 240 labels of MiniLM's layer 4 and 2,862 excerpts, at 40 to 120 sampled ones: the interval of rho'
holds its value over all excerpts in .95 of unchanged units and .97 each of exchanged ones, of those with another unit's weights added and of noisy
ones, that of the fall in 1, .98, .92 and .95; no fall below .1 is called stale, and a planted fall of .2 is noticed in 77 % (98 % by patterns over
all excerpts, and by samples of 120).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autolabel.protocols import TestEvidence
from autolabel.registry import name_of
from autolabel.scorers.checkpoint import BAR, PLANTED, Falls
from autolabel.scorers.plans import failed_calls
from autolabel.scorers.reading import Reading
from autolabel.scorers.simulation import SCORER, Read, SimulationScorer
from autolabel.stats import Sampled, correlate, influence, paired_rho
from autolabel.stats.sampled import sums
from autolabel.types import Explanation, Score, hash63

UNKNOWN: dict[str, Any] = {name: np.nan for name, kind in Falls.__annotations__.items() if kind == "Floats"} | {
    "stale": None, "noticed": None, "reason": None, "n": 0}  # Any: the figures of one label


def compare_read(scorer: SimulationScorer, explanations: Sequence[Explanation], own: TestEvidence, other: TestEvidence, *, seed: int = 0) -> Falls:
    """One label a row, in order. Raises PendingError after everything of this round was asked."""
    there, confidence = Reading(other, scorer.seed), scorer.budget.confidence
    scores: list[Score] = []

    def finish(r: Read) -> dict[str, Any]:
        x, n = r.mine.x, len(r.mine.ids) - len(r.mine.failures)
        rho = None if r.reason is not None else float(r.rho.rho[0])
        scores.append(Score(r.explanation.id, SCORER, name_of(scorer.simulator, "simulators"), "test", rho, n=n, reason=r.reason,
                            extra=failed_calls(r.mine.failures)))
        if r.reason is not None:
            return UNKNOWN | {"n": n, "reason": r.reason}
        changed = x.with_activation(np.concatenate([a[:, r.column] for a in there.activations(r.layer, r.mine.ids)]).astype(np.float64))
        after, first = correlate(sums(changed), confidence), influence(sums(x))
        fall = paired_rho(first, influence(sums(changed)), confidence)
        out = UNKNOWN | {"own": rho, "value": after.rho[0], "low": after.low[0], "high": after.high[0], "fall": fall.value[0], "fall_low": fall.low[0],
                         "fall_high": fall.high[0], "n": n, "reason": r.imprecise}
        if r.imprecise is not None:
            return out
        flat = bool(after.flat_a[0])
        out |= {"stale": flat or bool(fall.low[0] > BAR), "reason": "the unit's activation does not vary in the other checkpoint" if flat else None}
        if rho is not None and rho > PLANTED:
            planted = paired_rho(first, influence(sums(exchanged(x, PLANTED / rho, hash63("exchanged", seed, r.explanation.id)))), confidence)
            out |= {"planted": planted.value[0], "planted_low": planted.low[0], "noticed": bool(planted.low[0] > BAR)}
        return out

    rows = scorer.read(explanations, own, finish, lambda e, why: UNKNOWN | {"reason": why})
    figures: dict[str, Any] = {name: np.array([row[name] for row in rows], np.float64) for name, kind in Falls.__annotations__.items() if kind == "Floats"}
    figures |= {name: np.array([*(row[name] for row in rows), None], object)[:-1] for name in ("stale", "noticed", "reason")}
    return Falls(**figures, n=np.array([row["n"] for row in rows], np.int64), scores=scores)


def exchanged(x: Sampled, share: float, seed: int) -> Sampled:
    """The sample with a share of its activations exchanged for draws from the unit's distribution: rho falls by this share of itself, on average."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(x.a, len(x.a), p=x.weight / x.weight.sum())
    return x.with_activation(np.where(rng.random(len(x.a)) < share, drawn, x.a))
