"""The secondary figures of a label on *test* that use what *select* fitted: F1 at its cut, R2 of its calibrations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.scorers.own import OwnSums
from autolabel.stats import Sums, at_cut, r2_levels, r2_linear
from autolabel.types import Score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def secondary(result: dict[str, Any], rows: Ints, label: Ints, own: OwnSums, sums: Sums, selected: Sequence[Score | None]) -> None:
    """Fill f1, precision, recall, r2_linear, r2_isotonic of `rows`; those without a score on select stay nan.

    Labels shared by several explanations share what select says of them, so the figures are computed once per label.
    """
    levels, n = own.labels.levels, len(own.labels)
    cut, slope, intercept = (np.full(n, np.nan) for _ in range(3))
    fitted = np.full(len(levels.value), np.nan)
    for p, score in zip(label.tolist(), selected, strict=True):
        if score is None or score.value is None:
            continue
        if score.split != "select":
            raise ValueError("cuts and calibrations come from select")
        for kept, name in ((cut, "cut"), (slope, "slope"), (intercept, "intercept")):
            value = score.extra.get(name)
            kept[p] = np.nan if value is None else float(value)
        steps = json.loads(str(score.extra.get("isotonic", "[]")))
        if len(steps) == levels.first[p + 1] - levels.first[p]:
            fitted[levels.first[p]:levels.first[p + 1]] = [np.nan if v is None else v for _, v in steps]
    tokens, positives, total = own.tokens.sum(0), own.positives.sum(0), own.a_level
    found = at_cut(levels, tokens, positives, cut)
    known = ~np.isnan(cut)
    for name, x in (("f1", np.where(known, found.f1, np.nan)), ("precision", np.where(known, found.precision, np.nan)),
                    ("recall", np.where(known, found.recall, np.nan)), ("r2_linear", r2_linear(sums, slope, intercept)),
                    ("r2_isotonic", r2_levels(levels, tokens, total, sums.a2.sum(0), fitted))):
        result[name][rows] = x[label]
