"""`choose`: one label per unit, by its score on select; then its score on test, once, with null, baseline and verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.baselines import read_baselines
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import read_explanations, runnable, runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, dicts, model_row, recorded, subject_of
from autolabel.types import Explanation, Score, Unit, digest

if TYPE_CHECKING:
    from autolabel.scorers.result import TestResult

NULLS = ("constant",)  # explainers that are compared but never chosen
FIGURES = ("score", "ci_low", "ci_high", "peak", "peak_low", "peak_high", "p_foreign", "p_size", "baseline", "peak_baseline", "ceiling",
           "rho_context", "rho_context_low", "rho_context_high", "rho_new", "rho_new_low", "rho_new_high", "mass_recall")  # of TestResult
EXTRA = ("se", "df", "base_rate", "f1", "precision", "recall", "r2_linear", "r2_isotonic", "baseline_label", "rho_over_baseline_low",
         "rho_over_baseline_high", "peak_over_baseline_low", "peak_over_baseline_high", "n_documents", "foreign_pooled", "foreign_one_rank",
         "rho_context_left_out", "n_new", "mass_recall_strata")
SCORE_EXTRA = ("p_foreign", "p_size", "rank", "mass_recall")


def choose(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", hierarchy: str = "",
           seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False,
           progress: Progress = silent) -> Count:
    """Choose by sqrt(max(rho, 0) max(peak, 0)) on select, and score the chosen labels and each explainer's best on test.

    The verdicts, whose false-discovery rate is over all attempted units of the model, are made anew for all of them. Units
    whose candidates are as they were at the last choice are not looked at again; every look at test is counted.
    hierarchy: the file of concepts that the labels were made with, where it is one of your own.
    """
    from autolabel.splits import explain_split, test_evidence

    row = model_row(catalogue, model)
    wanted = None if units is None and limit is None else select_units(catalogue, row.name, units, seed=seed, limit=limit)
    by_unit: dict[Unit, list[Explanation]] = {}
    known = concepts(hierarchy)
    for e in runnable(read_explanations(catalogue, row.name, wanted), known):
        by_unit.setdefault(e.unit, []).append(e)
    if not by_unit:
        raise SettingsError(f"{row.name} has no explanations yet: run `autolabel explain` and `autolabel score`")
    selected = _selected(catalogue, row.name)
    if missing := [e for es in by_unit.values() for e in es if e.abstained is None and e.id not in selected]:
        raise SettingsError(f"{len(missing):,} candidates of {row.name} have no score on select yet: run `autolabel score`")
    looks = {_key(r): (r[4], r[5]) for r in catalogue.read(
        "SELECT layer, site, neuron, side, test_looks, extra ->> 'candidates' FROM choices WHERE model = ?", [row.name])}
    candidates = {unit: digest(sorted(e.id for e in es)) for unit, es in by_unit.items()}
    todo = [unit for unit in by_unit if redo or looks.get(_address(unit), (0, ""))[1] != candidates[unit]]
    if not todo:
        return Count(len(by_unit), 0, len(by_unit), 0, 0)
    chosen, others = _pick({unit: by_unit[unit] for unit in todo}, selected)
    subject = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    with recorded(catalogue, "choose", {"units": units, "limit": limit, "hierarchy": known.hash}, model=row.name, model_hash=row.hash, corpus=row.corpus_id,
                  seed=seed) as run:
        from autolabel.scorers.report import score_test

        progress("scoring on test", 0, len(todo))
        result = score_test([e for e in chosen.values() if e.abstained is None], others, test_evidence(catalogue, subject, batch_size=batch_size),
                            explain_split(catalogue, subject, batch_size=batch_size), run=runner(subject, known),
                            baselines=read_baselines(catalogue, row.name), selected=selected)
        rows = _rows(result, chosen, {u: (looks.get(_address(u), (0, ""))[0] + 1, candidates[u]) for u in todo}, row.name, run)
        _write(catalogue, row, rows, result, todo, run)
        progress("scoring on test", len(todo), len(todo))
    abstained = sum(e.abstained is not None for e in chosen.values())
    return Count(len(by_unit), len(todo), len(by_unit) - len(todo), abstained, 0)


def _selected(catalogue: Catalogue, model: str) -> dict[str, Score]:
    rows = catalogue.read("SELECT explanation, scorer, simulator, value, low, high, n, reason, peak, extra FROM scores "
                          "WHERE model = ? AND split = 'select' AND scorer = 'correlation'", [model])
    return {e: Score(e, scorer, simulator, "select", value, low, high, n, reason, {"peak": top, **json.loads(extra or "{}")})
            for e, scorer, simulator, value, low, high, n, reason, top, extra in rows}


def _pick(by_unit: Mapping[Unit, Sequence[Explanation]], selected: Mapping[str, Score]) -> tuple[dict[Unit, Explanation], list[Explanation]]:
    """The chosen explanation of each unit (an abstention where there is nothing else), and the best of each explainer."""
    from autolabel.scorers.correlation import choose as best_of

    chosen: dict[Unit, Explanation] = {}
    others: list[Explanation] = []
    by_explainer: dict[str, list[Explanation]] = {}
    contenders: list[Explanation] = []
    for unit, explanations in by_unit.items():
        real = [e for e in explanations if e.abstained is None]
        for e in real:
            by_explainer.setdefault(e.maker.explainer, []).append(e)
        free = [e for e in real if e.maker.explainer not in NULLS]
        if free:
            contenders += free
        else:
            chosen[unit] = next((e for e in explanations if e.abstained is not None), explanations[0])
    chosen |= {e.unit: e for e in best_of(contenders, [selected[e.id] for e in contenders])}
    for mine in by_explainer.values():
        others += best_of(mine, [selected[e.id] for e in mine])
    return chosen, others


def _rows(result: TestResult, chosen: Mapping[Unit, Explanation], looks: Mapping[Unit, tuple[int, str]], model: str,
          run: str) -> list[dict[str, Any]]:
    """A row of `choices` for each unit, verdict and q left open."""
    at = {e: i for i, e in enumerate(result.explanation)}
    columns = result.columns()
    rows = []
    for unit, e in chosen.items():
        row: dict[str, Any] = {"model": model, "layer": unit.layer, "site": unit.site, "neuron": unit.index, "side": unit.side,
                               "explanation": e.id, "explainer": e.maker.explainer, "llm": e.maker.llm, "cost_usd": 0.0, "run": run,
                               "test_looks": looks[unit][0]}
        extra: dict[str, Any] = {"candidates": looks[unit][1]}
        if e.abstained is not None:
            row |= dict.fromkeys((*FIGURES, "simulator", "n", "rank", "contextual", "carries_over", "informative"))
            row |= {"p_foreign": 1.0, "p_size": 1.0}
            extra["abstained"] = e.abstained
        else:
            i = at[e.id]
            row |= {name: _value(columns[name][i]) for name in (*FIGURES, "contextual", "carries_over", "informative")}
            row |= {"simulator": "pattern" if e.pattern else None, "n": int(result.n[i]), "rank": int(result.rank[i]) if result.rank[i] > 0 else None}
            extra |= {name: _value(columns[name][i]) for name in EXTRA}
            extra |= {"unscored": _value(result.unscored[i]), "imprecise": _value(result.imprecise[i])}
        rows.append(row | {"extra": json.dumps(extra)})
    return rows


def _write(catalogue: Catalogue, row: ModelRow, rows: list[dict[str, Any]], result: TestResult, units: Sequence[Unit], run: str) -> None:
    """Replace these units' choices, judge all attempted units of the model together, write the test scores; in one go at the end."""
    from autolabel.pipeline.judging import judge_all, test_scores
    from autolabel.pipeline.scoring import score_columns

    mine = {_address(u) for u in units}
    old = dicts(catalogue, "SELECT * EXCLUDE (verdict, reason, p, q_value) FROM choices WHERE model = ?", [row.name])
    names = list(rows[0])
    everything = [r for r in old if (r["layer"], r["site"], r["neuron"], r["side"]) not in mine] + rows
    judged = judge_all(everything)
    columns = {name: [r[name] for r in everything] for name in names} | {
        "verdict": judged.verdict.tolist(), "reason": judged.reason.tolist(), "p": judged.p.tolist(), "q_value": judged.q.tolist()}
    scores = test_scores(result, SCORE_EXTRA)
    with catalogue.writer() as writer:
        def replace(_connection: object) -> None:  # one transaction: a kill leaves the old choices or the new ones
            writer.delete("choices", "model = ?", [row.name])
            writer.insert("choices", columns)
            writer.delete("scores", "model = ? AND split = 'test' AND explanation IN (SELECT unnest(?))", [row.name, result.explanation.tolist()])
            writer.insert("scores", score_columns(row, scores, run))

        writer.write(replace)


def _address(unit: Unit) -> tuple[str, str, int, str]:
    return unit.layer, unit.site, unit.index, unit.side


def _key(row: Sequence[Any]) -> tuple[str, str, int, str]:
    return row[0], row[1], row[2], row[3]


def _value(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return [_value(v) for v in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and np.isnan(x) else x
