"""From scores to verdicts: a total function, the same for every label, the first that holds.

    abstained     the explainer gave no label
    failed        something went wrong on the way (the raw reply is kept)
    unscored      there is a label and no score for it
    imprecise     the score rests on too little to be relied on
    polysemantic  two or more senses, each confirmed on its own cluster
    contested     another scorer of the same label lies wholly on the other side of its chance level
    confirmed     q < .05: Benjamini-Hochberg over p = max(p_foreign, p_size) of all attempted units of one model
    partial       Benjamini-Hochberg on p_foreign alone < .05: it is about this unit, but weak
    rejected      none of these

Identifiability, mass recall, `informative`, `contextual` and peak stand beside the verdict, never inside it.

Contested: rho's own interval lies wholly on one side of 0, and the interval of another scorer of the same label wholly on the other
side of that scorer's chance level. An interval that holds its chance level says nothing, and contests nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autolabel.stats import benjamini_hochberg
from autolabel.types import Verdict

Floats = NDArray[np.float64]
LEVEL = 0.05  # of the false discovery rate
Reasons = Sequence[str | None]


@dataclass(frozen=True)
class Findings:
    """All attempted units of one model, one row each. A reason that is not None says that the state holds."""

    p_foreign: ArrayLike  # [N]
    p_size: ArrayLike  # [N]
    score: ArrayLike  # [N] rho, nan where unscored
    abstained: Reasons  # [N]
    failed: Reasons = ()  # [N], or empty where nothing failed; the same for those below
    unscored: Reasons = ()
    imprecise: Reasons = ()
    polysemantic: Reasons = ()
    contested: Reasons = ()
    adaptive: Sequence[bool] = field(default=())  # [N] p_size is to be taken times 5/3: the sample grew until it was precise


@dataclass(frozen=True, slots=True)
class Rival:
    """What another scorer says of a label."""

    scorer: str  # registered name
    judge: str  # the simulator or the model that judged
    split: str  # where it was measured
    value: float
    low: float  # 95 % interval
    high: float
    chance: float  # what a label that says nothing gets


def contest(low: float | None, high: float | None, rivals: Sequence[Rival]) -> str | None:
    """Why a label whose rho has the interval [low, high] is contested by these scorers, in words; None where it is not.

    The one farthest beyond its chance level is described, the others are named.
    """
    if low is None or high is None or low <= 0 <= high:
        return None
    above = low > 0
    against = sorted((r for r in rivals if (r.high < r.chance if above else r.low > r.chance)),
                     key=lambda r: r.high - r.chance if above else r.chance - r.low)
    if not against:
        return None
    r, others = against[0], ", ".join(dict.fromkeys(r.scorer for r in against[1:]))
    return (f"{r.scorer} by {r.judge} on {r.split} is {r.value:.2f} [{r.low:.2f}, {r.high:.2f}], wholly {'below' if above else 'above'} its chance "
            f"level {r.chance:g}, while rho is {'above' if above else 'below'} 0" + (f"; so say {others}" if others else ""))


@dataclass(frozen=True)
class Verdicts:
    """[N] each."""

    verdict: NDArray[np.object_]  # one of types.Verdict
    reason: NDArray[np.object_]  # in words
    p: Floats  # max(p_foreign, p_size); 1 for abstained, failed, unscored
    q: Floats  # Benjamini-Hochberg over p
    q_foreign: Floats  # the same over p_foreign alone


def judge(found: Findings) -> Verdicts:
    """The verdict on every attempted unit of one model, with its reason.

    Raises ValueError where the columns differ in length or a p-value is no probability.
    """
    p_foreign, p_size, score = (np.asarray(x, np.float64) for x in (found.p_foreign, found.p_size, found.score))
    n = len(score)
    given: tuple[tuple[Verdict, Reasons], ...] = (
        ("abstained", found.abstained), ("failed", found.failed), ("unscored", found.unscored), ("imprecise", found.imprecise),
        ("polysemantic", found.polysemantic), ("contested", found.contested))
    states = [(name, column if len(column) else (None,) * n) for name, column in given]
    if any(len(x) != n for x in (p_foreign, p_size, *(column for _, column in states))):
        raise ValueError("the columns of the findings differ in length")
    if len(found.adaptive):
        p_size = np.minimum(1.0, np.where(np.asarray(found.adaptive, bool), p_size * 5 / 3, p_size))
    nothing = np.array([any(column[i] is not None for _, column in states[:3]) for i in range(n)], bool) | np.isnan(score)
    p_foreign, p_size = np.where(nothing, 1.0, p_foreign), np.where(nothing, 1.0, p_size)
    if not (((p_foreign >= 0) & (p_foreign <= 1)).all() and ((p_size >= 0) & (p_size <= 1)).all()):
        raise ValueError("a p-value of a scored label is no probability")
    p = np.maximum(p_foreign, p_size)
    q, q_foreign = benjamini_hochberg(p), benjamini_hochberg(p_foreign)
    verdict, reason = np.full(n, None, object), np.full(n, None, object)
    for i in range(n):
        verdict[i], reason[i] = _first(i, states, bool(np.isnan(score[i])), float(q[i]), float(q_foreign[i]), p_foreign, p_size)
    return Verdicts(verdict, reason, p, q, q_foreign)


def _first(i: int, states: Sequence[tuple[Verdict, Reasons]], no_score: bool, q: float, q_foreign: float, p_foreign: Floats,
           p_size: Floats) -> tuple[Verdict, str]:
    for name, column in states:
        why = column[i]
        if why is not None:
            return name, why
        if name == "unscored" and no_score:
            return name, "there is no score and no reason was recorded"
    if q < LEVEL:
        return "confirmed", f"q = {q:.3g}: rho is above .2 and above that of foreign units and labels"
    if q_foreign < LEVEL:
        but = (f"rho is not shown to be above .2 (p_size = {p_size[i]:.3g})" if p_size[i] >= p_foreign[i]
               else f"not clearly enough for a discovery among all attempted units (q = {q:.3g})")
        return "partial", f"it is about this unit (p_foreign = {p_foreign[i]:.3g}), but {but}"
    weaker = "no better than foreign labels" if p_foreign[i] >= p_size[i] else "rho is not shown to be above .2"
    return "rejected", f"{weaker} (p_foreign = {p_foreign[i]:.3g}, p_size = {p_size[i]:.3g})"
