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
    wanted = (*names, "peak", "peak_low", "peak_high", "score", "ci_low", "ci_high", "unscored")
    columns = {name: [_plain(x) for x in getattr(result, name).tolist()] for name in dict.fromkeys(wanted)}
    for i, explanation in enumerate(result.explanation.tolist()):
        extra: dict[str, Any] = {name: columns[name][i] for name in (*names, "peak", "peak_low", "peak_high")}
        extra |= {"verdict": verdicts.verdict[i], "p": float(verdicts.p[i]), "q": float(verdicts.q[i])}
        unscored = columns["unscored"][i]
        scores.append(Score(explanation, "correlation", "pattern", "test", columns["score"][i] if unscored is None else None,
                            columns["ci_low"][i], columns["ci_high"][i], int(result.n[i]), unscored, extra))
    return scores


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p


def _plain(x: Any) -> Any:
    """nan as None."""
    return None if isinstance(x, float) and x != x else x
