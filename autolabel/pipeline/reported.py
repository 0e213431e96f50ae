"""Chosen labels without a pattern: a simulator reads them on test, and what it finds stands in the columns of any label."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.errors import PendingError, SettingsError
from autolabel.types import Explanation, Score
from autolabel.verdicts import Findings, judge

COLUMNS = ("p_foreign", "p_size", "baseline", "peak", "peak_low", "peak_high", "peak_baseline", "mass_recall", "informative")
EXTRA = ("se", "df", "base_rate", "f1", "precision", "recall", "r2_linear", "r2_isotonic", "rho_over_baseline_low", "rho_over_baseline_high",
         "peak_over_baseline_low", "peak_over_baseline_high", "n_documents", "foreign_pooled", "foreign_one_rank", "top_and_random",
         "missing_tokens", "adaptive", "imprecise")
NOTHING = ("rho_context", "rho_context_low", "rho_context_high", "rho_new", "rho_new_low", "rho_new_high", "contextual", "carries_over")
# of a label that is no pattern and was not run on explain


def selected_by(rows: Sequence[tuple[Any, ...]], simulator: str) -> dict[str, Score]:
    """Scores on select by explanation, from rows (explanation, scorer, simulator, value, low, high, n, reason, peak, extra).

    A pattern's exact score counts; where there is none, that of `simulator`, or of the only simulator there is. Raises
    SettingsError where several have read the same labels and none is named.
    """
    scores = [Score(e, scorer, by, "select", value, low, high, n, reason, {"peak": top, **json.loads(extra or "{}")})
              for e, scorer, by, value, low, high, n, reason, top, extra in rows]
    chosen = {s.explanation: s for s in scores if s.scorer == "correlation"}
    read = [s for s in scores if s.scorer == "simulation" and (s.explanation not in chosen or chosen[s.explanation].value is None)]
    names = sorted({s.simulator for s in read})
    if not simulator and len(names) > 1:
        raise SettingsError(f"labels were read by several simulators: choose one with --simulator ({', '.join(names)})")
    return chosen | {s.explanation: s for s in read if s.simulator == (simulator or names[0])}


def read_on_test(scorer: Any, labels: Sequence[Explanation], evidence: Any) -> tuple[dict[str, Score], int]:
    """Scores on test by explanation, with the verdict each would have among these alone; how many are pending.

    scorer: the plug-in `simulation`, built for test evidence.
    """
    try:
        scores = scorer.score(labels, evidence) if labels else []
    except PendingError:
        return {}, len(labels)
    verdicts = judge(Findings([_or_one(s.extra.get("p_foreign")) for s in scores], [_or_one(s.extra.get("p_size")) for s in scores],
                              [float("nan") if s.value is None else s.value for s in scores], abstained=[None] * len(scores),
                              unscored=[s.reason for s in scores], imprecise=[_text(s.extra.get("imprecise")) for s in scores]))
    out = {}
    for i, s in enumerate(scores):
        extra = {**s.extra, "verdict": str(verdicts.verdict[i]), "q": float(verdicts.q[i])}
        out[s.explanation] = Score(s.explanation, s.scorer, s.simulator, s.split, s.value, s.low, s.high, s.n, s.reason, extra)
    return out, 0


def columns_of(score: Score) -> tuple[dict[str, Any], dict[str, Any]]:
    """(columns of `choices`, what goes into its `extra`) of a label that was read on a sample."""
    x = score.extra
    rank = x.get("rank")
    columns = {"score": score.value, "ci_low": score.low, "ci_high": score.high, "n": score.n, "simulator": score.simulator,
               "rank": rank if isinstance(rank, int) and rank > 0 else None} | {name: x.get(name) for name in COLUMNS}
    columns |= dict.fromkeys(NOTHING)
    return columns, {name: x.get(name) for name in EXTRA} | {"unscored": score.reason, "failed_calls": x.get("failed")}


def seconds(scores: Mapping[str, Score], labels: Sequence[Explanation]) -> list[Explanation]:
    """Labels that a simulator read on select: sentences whose score on test it must give too."""
    return [e for e in labels if e.pattern is None and (s := scores.get(e.id)) is not None and s.scorer == "simulation"]


def _or_one(p: object) -> float:
    return float(p) if isinstance(p, int | float) else 1.0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
