"""Verdicts over all attempted units of one model, and over each explainer's best labels for the leaderboard.

Other scorers may contest a label whenever they have read it: `score` and `choose` end with `rejudge`, which asks nothing and looks at
nothing. What contests is read where that scorer read it, as a rule on select: a label that was chosen there is contested in
spite of the choice, never because of a further look at test, and `test_looks` stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.pipeline.session import dicts
from autolabel.scorers.result import TestResult
from autolabel.types import Score
from autolabel.verdicts import Findings, Reasons, Rival, Verdicts, contest, judge

SHOWN = 40  # letters of a label in a verdict's reason
RHO = ("correlation", "simulation")  # scorers whose value is rho: the same simulator is the same scorer


def judge_all(rows: Sequence[Mapping[str, Any]], contested: Reasons = (), polysemantic: Reasons = ()) -> Verdicts:
    """Verdicts of rows of `choices` (as dictionaries): all attempted units of one model together, for its false-discovery rate."""
    extra = [json.loads(row["extra"]) for row in rows]
    return judge(Findings(
        p_foreign=np.array([_or_one(row["p_foreign"]) for row in rows]), p_size=np.array([_or_one(row["p_size"]) for row in rows]),
        score=np.array([np.nan if row["score"] is None else row["score"] for row in rows]),
        abstained=[e.get("abstained") for e in extra], failed=[e.get("failed") for e in extra],
        unscored=[e.get("unscored") for e in extra], imprecise=[e.get("imprecise") for e in extra], polysemantic=polysemantic,
        contested=contested))


def contested(catalogue: Catalogue, model: str, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """For each row of `choices`, why other scorers of the same label contest it; None where none does.

    A score counts where it has an interval and says its chance level. Where a scorer has read a label on several splits, test counts.
    """
    rivals: dict[str, list[Rival]] = {}
    for explanation, *rest in catalogue.read(
            "SELECT explanation, scorer, simulator, split, value, low, high, CASE scorer WHEN 'correlation' THEN 0.0 "
            "ELSE try_cast(extra ->> 'chance' AS DOUBLE) END AS chance FROM scores WHERE model = ? AND value IS NOT NULL AND low IS NOT NULL "
            "AND high IS NOT NULL AND chance IS NOT NULL QUALIFY row_number() OVER (PARTITION BY explanation, scorer, simulator "
            "ORDER BY split = 'test' DESC) = 1 ORDER BY explanation, scorer, simulator", [model]):
        rivals.setdefault(explanation, []).append(Rival(*rest))
    return [contest(row["ci_low"], row["ci_high"], [r for r in rivals.get(row["explanation"], ()) if not (r.scorer in RHO and r.judge == row["simulator"])])
            for row in rows]


def polysemantic(catalogue: Catalogue, model: str, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """For each row of `choices`, why its unit is polysemantic: two or more of its senses are confirmed; None where they are not."""
    found: dict[tuple[str, str, int, str], list[str]] = {}
    for layer, site, neuron, side, text, share in catalogue.read(
            "SELECT layer, site, neuron, side, text, share FROM t_senses WHERE model = ? AND confirmed ORDER BY sense", [model]):
        found.setdefault((layer, site, neuron, side), []).append(f"{_short(text)} ({share:.0%})")
    why = {key: f"{len(said)} senses, each confirmed on its own cluster: {'; '.join(said)}" for key, said in found.items() if len(said) >= 2}
    return [why.get((r["layer"], r["site"], r["neuron"], r["side"])) for r in rows]


def rejudge(catalogue: Catalogue, model: str) -> int:
    """Judge all attempted units of a model anew by what the catalogue holds now, and store the verdicts that are others; how many they were."""
    rows = dicts(catalogue, "SELECT * FROM choices WHERE model = ?", [model])
    if not rows:
        return 0
    judged = judge_all(rows, contested(catalogue, model, rows), polysemantic(catalogue, model, rows))
    changed = [(r["layer"], r["site"], r["neuron"], r["side"], verdict, reason) for r, verdict, reason in
               zip(rows, judged.verdict.tolist(), judged.reason.tolist(), strict=True) if (verdict, reason) != (r["verdict"], r["reason"])]
    if changed:
        with catalogue.writer() as writer:
            writer.write(lambda connection: connection.execute(
                "UPDATE choices SET verdict = n.verdict, reason = n.reason FROM (SELECT unnest(?::VARCHAR[]) AS layer, unnest(?::VARCHAR[]) AS site, "
                "unnest(?::INTEGER[]) AS neuron, unnest(?::VARCHAR[]) AS side, unnest(?::VARCHAR[]) AS verdict, unnest(?::VARCHAR[]) AS reason) n "
                "WHERE choices.model = ? AND choices.layer = n.layer AND choices.site = n.site AND choices.neuron = n.neuron AND choices.side = n.side",
                [*map(list, zip(*changed, strict=True)), model]))
    return len(changed)


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


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN].rsplit(' ', 1)[0]} ..."


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p


def _plain(x: Any) -> Any:
    """nan as None."""
    return None if isinstance(x, float) and x != x else x
