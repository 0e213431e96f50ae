"""`choose`: one label per unit, by its score on select; then its score on test, once, with null, baseline and verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.baselines import read_baselines
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.failing import costs_of, failed_row, failed_units, note_unscored
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import read_explanations, runnable, runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.reader import Reader, check
from autolabel.pipeline.reported import columns_of, read_on_test, seconds, selected_by
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, dicts, model_row, recorded, subject_of
from autolabel.protocols import LLM
from autolabel.types import Explanation, Score, Unit, digest

if TYPE_CHECKING:
    from autolabel.scorers.result import TestResult

NULLS = ("constant",)  # explainers that are compared but never chosen
FIGURES = ("score", "ci_low", "ci_high", "peak", "peak_low", "peak_high", "p_foreign", "p_size", "baseline", "peak_baseline", "ceiling",
           "rho_context", "rho_context_low", "rho_context_high", "rho_new", "rho_new_low", "rho_new_high", "mass_recall")  # of TestResult
EXTRA = ("se", "df", "base_rate", "f1", "precision", "recall", "r2_linear", "r2_isotonic", "baseline_label", "rho_over_baseline_low",
         "rho_over_baseline_high", "peak_over_baseline_low", "peak_over_baseline_high", "n_documents", "foreign_pooled", "foreign_one_rank",
         "rho_context_left_out", "n_new", "mass_recall_strata")
SCORE_EXTRA = ("p_foreign", "p_size", "rank", "mass_recall", "rho_new", "rho_new_low", "rho_new_high")


def choose(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", hierarchy: str = "",
           simulator: str = "", llm: LLM | None = None, settings: Mapping[str, str] | None = None, prompts: str = "", concurrency: int = 8, seed: int = 0,
           batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False, progress: Progress = silent) -> Count:
    """Choose by sqrt(max(rho, 0) max(peak, 0)) on select, and score the chosen labels and each explainer's best on test.

    Labels with a pattern are run over the whole split; a sentence without one is read on a sample by the simulator that read it on
    select (`simulator` says which where several did; `llm` is whom it asks; settings: of the scorer simulation). A unit that
    no explainer has a label for because its calls failed is attempted all the same: its verdict is `failed`.

    The verdicts, whose false-discovery rate is over all attempted units of the model, are made anew for all of them. Units
    whose candidates are as they were at the last choice are not looked at again; every look at test is counted.
    hierarchy: the file of concepts that the labels were made with, where it is one of your own.
    """
    from autolabel.pipeline.judging import rejudge
    from autolabel.splits import explain_split, test_evidence

    row = model_row(catalogue, model)
    wanted = None if units is None and limit is None else select_units(catalogue, row.name, units, seed=seed, limit=limit)
    by_unit: dict[Unit, list[Explanation]] = {}
    known = concepts(hierarchy)
    for e in runnable(read_explanations(catalogue, row.name, wanted), known):
        by_unit.setdefault(e.unit, []).append(e)
    failed = {unit: why for unit, why in failed_units(catalogue, row.name).items() if unit not in by_unit and (wanted is None or unit in wanted)}
    if not by_unit and not failed:
        raise SettingsError(f"{row.name} has no explanations yet: run `autolabel explain` and `autolabel score`")
    selected = _selected(catalogue, row.name, simulator)
    if missing := [e for es in by_unit.values() for e in es if e.abstained is None and e.id not in selected]:
        raise SettingsError(f"{len(missing):,} candidates of {row.name} have no score on select yet: run `autolabel score`")
    looks = {_key(r): (r[4], r[5]) for r in catalogue.read(
        "SELECT layer, site, neuron, side, test_looks, extra ->> 'candidates' FROM choices WHERE model = ?", [row.name])}
    candidates = {unit: digest(sorted(_as_seen(e, selected) for e in es)) for unit, es in by_unit.items()} | {
        unit: digest("failed", f.kind, f.message) for unit, f in failed.items()}
    todo = [unit for unit in candidates if redo or looks.get(_address(unit), (0, ""))[1] != candidates[unit]]
    before = Count(len(candidates), 0, len(candidates) - len(todo), 0, 0)
    if not todo:
        rejudge(catalogue, row.name)
        return before
    chosen, others = _pick({unit: by_unit[unit] for unit in todo if unit in by_unit}, selected)
    sentences = seconds(selected, list({e.id: e for e in [*chosen.values(), *others]}.values()))
    reader = Reader("simulation", selected[sentences[0].id].simulator if sentences else "embedding", llm, settings or {}, prompts, concurrency)
    check(reader)
    subject = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    with recorded(catalogue, "choose", {"units": units, "limit": limit, "hierarchy": known.hash}, model=row.name, model_hash=row.hash, corpus=row.corpus_id,
                  seed=seed) as run:
        from autolabel.scorers.report import score_test

        progress("scoring on test", 0, len(todo))
        evidence = test_evidence(catalogue, subject, batch_size=batch_size)
        scorer = reader.build(catalogue, row, subject, known, selected, _neighbours([*chosen.values(), *others])) if sentences else None
        read, pending = read_on_test(scorer, sentences, evidence)
        if pending:
            return replace(before, pending=pending)
        asked = {unit for unit in chosen if any(e.maker.llm is not None for e in by_unit[unit])}
        whole = [e for e in others if e.unit in asked]  # what an LLM adds shows beside the others: the best of each in full
        result = score_test([*(e for e in chosen.values() if e.abstained is None), *whole], others, evidence,
                            explain_split(catalogue, subject, batch_size=batch_size), run=runner(subject, known),
                            baselines=read_baselines(catalogue, row.name), selected=selected)
        seen = {u: (looks.get(_address(u), (0, ""))[0] + (u in chosen), candidates[u]) for u in todo}
        costs = costs_of(catalogue, row.name)
        rows = [r | {"cost_usd": costs.get(_address(u), 0.0)} for u, r in zip(chosen, _rows(result, chosen, seen, row.name, run, read), strict=True)]
        rows += [failed_row(failed[u], seen[u], run) for u in todo if u in failed]
        _write(catalogue, row, rows, result, list(read.values()), todo, run)
        note_unscored(catalogue, sentences, read.values(), run)
        progress("scoring on test", len(todo), len(todo))
    abstained = sum(e.abstained is not None for e in chosen.values())
    return replace(before, done=len(todo), abstained=abstained, failed=sum(u in failed for u in todo))


def _selected(catalogue: Catalogue, model: str, simulator: str) -> dict[str, Score]:
    rows = catalogue.read("SELECT explanation, scorer, simulator, value, low, high, n, reason, peak, extra FROM scores "
                          "WHERE model = ? AND split = 'select' AND scorer IN ('correlation', 'simulation')", [model])
    return selected_by(rows, simulator)


def _as_seen(e: Explanation, selected: Mapping[str, Score]) -> str:
    """A candidate and what read it: a sentence that a simulator has read since is another candidate."""
    s = selected.get(e.id)
    return e.id if s is None or s.scorer == "correlation" else f"{e.id} {s.simulator}"


def _neighbours(labels: Sequence[Explanation]) -> Callable[[Explanation], list[Explanation]]:
    """One pattern label of each other unit of a label's layer and side."""
    by_layer: dict[tuple[str, str, str], dict[Unit, Explanation]] = {}
    for e in labels:
        if e.pattern is not None:
            by_layer.setdefault((e.unit.layer, e.unit.site, e.unit.side), {}).setdefault(e.unit, e)
    return lambda e: [x for unit, x in by_layer.get((e.unit.layer, e.unit.site, e.unit.side), {}).items() if unit != e.unit]


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


def _rows(result: TestResult, chosen: Mapping[Unit, Explanation], looks: Mapping[Unit, tuple[int, str]], model: str, run: str,
          read: Mapping[str, Score]) -> list[dict[str, Any]]:
    """A row of `choices` for each unit, verdict and q left open. `read`: the scores of sentences that a simulator read."""
    at = {e: i for i, e in enumerate(result.explanation)}
    columns = result.columns()
    rows = []
    for unit, e in chosen.items():
        row: dict[str, Any] = {"model": model, "layer": unit.layer, "site": unit.site, "neuron": unit.index, "side": unit.side,
                               "explanation": e.id, "label": e.text or None, "pattern": e.pattern, "explainer": e.maker.explainer, "llm": e.maker.llm,
                               "cost_usd": 0.0, "run": run, "test_looks": looks[unit][0]}
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
            if e.id in read:
                figures, more = columns_of(read[e.id])
                row, extra = row | figures, extra | more
        rows.append(row | {"extra": json.dumps(extra)})
    return rows


def _write(catalogue: Catalogue, row: ModelRow, rows: list[dict[str, Any]], result: TestResult, read: Sequence[Score], units: Sequence[Unit],
           run: str) -> None:
    """Replace these units' choices, judge all attempted units of the model together, write the test scores; in one go at the end."""
    from autolabel.pipeline.judging import contested, judge_all, polysemantic, test_scores
    from autolabel.pipeline.scoring import score_columns

    mine = {_address(u) for u in units}
    old = dicts(catalogue, "SELECT * EXCLUDE (verdict, reason, p, q_value, of_control) FROM choices WHERE model = ?", [row.name])
    names = list(rows[0])
    everything = [r for r in old if (r["layer"], r["site"], r["neuron"], r["side"]) not in mine] + rows
    judged = judge_all(everything, contested(catalogue, row.name, everything), polysemantic(catalogue, row.name, everything))
    columns = {name: [r[name] for r in everything] for name in names} | {
        "verdict": judged.verdict.tolist(), "reason": judged.reason.tolist(), "p": judged.p.tolist(), "q_value": judged.q.tolist(),
        "of_control": row.is_control}
    scores = [*test_scores(result, SCORE_EXTRA), *read]
    with catalogue.writer() as writer:
        def replace_them(_connection: object) -> None:  # one transaction: a kill leaves the old choices or the new ones
            writer.delete("choices", "model = ?", [row.name])
            writer.insert("choices", columns)
            writer.delete("scores", "model = ? AND split = 'test' AND explanation IN (SELECT unnest(?))", [row.name, [s.explanation for s in scores]])
            writer.insert("scores", score_columns(row, scores, run))

        writer.write(replace_them)


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
