"""Verdicts over all attempted units of one model, and over each explainer's best labels for the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autolabel.scorers.result import TestResult
from autolabel.types import Score
from autolabel.verdicts import Findings, Verdicts, judge


def judge_all(rows: Sequence[Mapping[str, Any]]) -> Verdicts:
    """Verdicts of rows of `choices` (as dictionaries): all attempted units of one model together, for its false-discovery rate."""
    extra = [json.loads(row["extra"]) for row in rows]
    return judge(Findings(
        p_foreign=np.array([_or_one(row["p_foreign"]) for row in rows]), p_size=np.array([_or_one(row["p_size"]) for row in rows]),
        score=np.array([np.nan if row["score"] is None else row["score"] for row in rows]),
        abstained=[e.get("abstained") for e in extra], failed=[e.get("failed") for e in extra],
        unscored=[e.get("unscored") for e in extra], imprecise=[e.get("imprecise") for e in extra]))


def test_scores(result: TestResult, names: Sequence[str]) -> list[Score]:
    """The test scores of all labels that were looked at; `extra` holds these figures and the verdict among all of its kind."""
    verdicts = judge(Findings(result.p_foreign, result.p_size, result.score, abstained=[None] * len(result),
                              unscored=result.unscored.tolist(), imprecise=result.imprecise.tolist()))
    scores = []
    for i, row in enumerate(result.rows()):
        extra: dict[str, Any] = {name: row[name] for name in (*names, "peak", "peak_low", "peak_high")}
        extra |= {"verdict": verdicts.verdict[i], "p": float(verdicts.p[i]), "q": float(verdicts.q[i])}
        unscored = row["unscored"]
        scores.append(Score(str(row["explanation"]), "correlation", "pattern", "test", _float(row["score"]) if unscored is None else None,
                            _float(row["ci_low"]), _float(row["ci_high"]), int(result.n[i]), None if unscored is None else str(unscored), extra))
    return scores


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p


def _float(x: object) -> float | None:
    return float(x) if isinstance(x, (int, float)) else None
