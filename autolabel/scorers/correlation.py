"""Corpus correlation of pattern labels (scorer `correlation`, simulator `pattern`): exact, over a whole split, any number at once.

`score_select` compares candidates; `score_test` reports the chosen ones (report.py). Formulas: stats/correlation.py (rho),
stats/precision.py (peak); why correlation over the whole corpus and not on top-and-random excerpts: Oikarinen, Yan and Weng
2025 (arXiv 2506.05774); the vocabulary: Bills et al. 2023.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from autolabel.excerpts import Excerpts
from autolabel.memory import uncollected
from autolabel.patterns.syntax import Pattern
from autolabel.protocols import SelectEvidence, SplitView, TestEvidence
from autolabel.scorers.baseline import Baselines, NestedLists, Ranked, objective
from autolabel.scorers.entries import Run, Strengths
from autolabel.scorers.labels import Labels, layers_of, read_patterns
from autolabel.scorers.own import OwnSums
from autolabel.scorers.walk import COARSE, GROUPS, Part, walk
from autolabel.stats import best_cut, correlate, isotonic, linear, peak
from autolabel.types import Explanation, Score, Split

SCORER, SIMULATOR = "correlation", "pattern"
MANY = 20_000  # labels above which candidates are compared on fewer groups
ENOUGH_DOCUMENTS = 20
ENOUGH_DF = 6


@dataclass(frozen=True)
class SelectResult:
    """What one pass over *select* gives."""

    scores: list[Score]  # one per candidate, in order
    baselines: Baselines | None  # the best word list of every length; None where no ranked words were given


def default_run(view: SplitView) -> Run:
    """Run patterns with the subject's own vocabulary and no embedder or hierarchy."""
    from autolabel.patterns.run import run

    vocabulary: Sequence[str] = getattr(view.subject, "vocabulary", ())

    def run_patterns(patterns: Sequence[Pattern], excerpts: Excerpts) -> Strengths:
        return run(patterns, excerpts, vocabulary=vocabulary)

    return run_patterns


def select_pass(explanations: Sequence[Explanation], select: SelectEvidence, *, run: Run | None = None,
                ranked: Ranked | None = None) -> SelectResult:
    """Score any number of candidates on select, and choose the baselines, in one forward pass.

    A score's value is rho; `extra` holds what else there is: peak, peak_low, peak_high, base_rate, objective (what `choose`
    maximises), n_documents, and what is fitted here for use on test: cut and f1, slope and intercept, isotonic (JSON: the
    fitted activation by strength).
    """
    return _scored(explanations, select, run, ranked)


def score_select(explanations: Sequence[Explanation], select: SelectEvidence, *, run: Run | None = None) -> list[Score]:
    """The scores of `select_pass`, without baselines."""
    return score_view(explanations, select, run=run)


def score_view(explanations: Sequence[Explanation], view: SelectEvidence | TestEvidence, *, run: Run | None = None) -> list[Score]:
    """The same scores over any split, or over another corpus: no null and no baseline."""
    return _scored(explanations, view, run).scores


def choose(explanations: Sequence[Explanation], scores: Sequence[Score]) -> list[Explanation]:
    """One per unit: the largest sqrt(max(rho, 0) max(peak, 0)) on select; ties go to the larger rho, then to the first.

    A unit whose candidates all went unscored keeps the first that did not abstain, else the first: its reason is shown.
    """
    if any(s.split != "select" for s in scores):
        raise ValueError("labels are chosen on select")
    best: dict[object, tuple[tuple[float, ...], Explanation]] = {}
    for e, s in zip(explanations, scores, strict=True):
        merit = s.extra.get("objective")
        key = (1.0, float(merit or 0.0), s.value) if s.value is not None else (0.0, float(e.abstained is None), 0.0)
        if e.unit not in best or key > best[e.unit][0]:
            best[e.unit] = (key, e)
    return [e for _, e in best.values()]


@uncollected()
def _scored(explanations: Sequence[Explanation], view: SelectEvidence | TestEvidence, run: Run | None,
            ranked: Ranked | None = None) -> SelectResult:
    patterns, reasons = read_patterns(explanations)
    rows = [(e.unit, p) for e, p in zip(explanations, patterns, strict=True) if p is not None]
    wanted = {(u.layer, u.site) for u, _ in rows}
    if ranked is not None:
        wanted |= {(s.layer, s.name) for s in view.subject.sites if any(layer == s.layer for layer, _ in ranked.ids)}
    layers = layers_of(view, wanted)
    labels, label_of_row = Labels.build(layers, rows)
    own = OwnSums(labels, GROUPS if len(labels) <= MANY else COARSE, mass=False)
    parts: list[Part] = [own]
    run_list = labels.patterns
    lists = NestedLists(layers, ranked) if ranked is not None else None
    if lists is not None:
        lists.first_pattern = len(run_list)
        run_list = (*run_list, *lists.patterns)
        parts.append(lists)
    if layers:
        walk(view, layers, run_list, run or default_run(view), parts)
    own.finish()
    found = iter(_scores(own, [e.id for e, p in zip(explanations, patterns, strict=True) if p is not None], label_of_row, view.split))
    scores = [Score.unscored(e.id, SCORER, SIMULATOR, view.split, reason) if reason is not None else next(found)
              for e, reason in zip(explanations, reasons, strict=True)]
    if lists is None:
        return SelectResult(scores, None)
    n = float(own.n.sum())
    totals = [[x.sum(0) for x in kept] for kept in (own.a, own.a2, own.unit_positives)]
    return SelectResult(scores, lists.finish(n, *totals))


def _scores(own: OwnSums, ids: Sequence[str], label_of_row: np.ndarray[tuple[int], np.dtype[np.int64]], split: Split) -> list[Score]:
    """One Score per row, from the sums of its label."""
    if not len(own.labels):
        return []
    sums, levels = own.sums(), own.labels.levels
    rho, top = correlate(sums), peak(levels, own.tokens, own.positives)
    tokens, positives, total = own.tokens.sum(0), own.positives.sum(0), own.a_level
    slope, intercept = linear(sums)
    documents = own.documents.count
    fitted, cut, merit = isotonic(levels, tokens, total), best_cut(levels, tokens, positives), objective(rho.rho, top.value)
    out = []
    for id_, p in zip(ids, label_of_row.tolist(), strict=True):
        reason = unscored_reason(bool(rho.flat_a[p]), bool(rho.flat_c[p]), own.n_excerpts, split)
        if reason is not None:
            out.append(Score.unscored(id_, SCORER, SIMULATOR, split, reason))
            continue
        at = slice(int(levels.first[p]), int(levels.first[p + 1]))
        steps = [[float(v), None if np.isnan(f) else float(f)] for v, f in zip(levels.value[at], fitted[at], strict=True)]
        figure = partial(_figure, p)
        out.append(Score(id_, SCORER, SIMULATOR, split, float(rho.rho[p]), figure(rho.low), figure(rho.high), own.n_excerpts, None, {
            "peak": figure(top.value), "peak_low": figure(top.low), "peak_high": figure(top.high), "base_rate": figure(top.base_rate),
            "objective": figure(merit), "df": figure(rho.df), "n_documents": int(documents[p]), "cut": figure(cut),
            "slope": figure(slope), "intercept": figure(intercept), "isotonic": json.dumps(steps),
        }))
    return out


def _figure(p: int, x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    value = float(x[p])
    return None if np.isnan(value) else value


def unscored_reason(flat_a: bool, flat_c: bool, n_excerpts: int, split: str) -> str | None:
    """Why a label has no rho; None where it has one."""
    if not n_excerpts:
        return f"the {split} split is empty"
    if flat_a:
        return f"the unit's activation does not vary on {split}"
    if flat_c:
        return f"the label predicts the same strength for every token of {split}"
    return None


@dataclass(frozen=True)
class Correlation:
    """The scorer as a plug-in: rho of pattern labels over a whole split."""

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation; those without a pattern come back unscored."""
        return _scored(explanations, evidence, None).scores


Selected = Mapping[str, Score]  # Explanation.id -> its score on select
