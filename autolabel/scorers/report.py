"""Scoring on *test*: the chosen labels, the best of each explainer and the baselines, once, in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.memory import uncollected
from autolabel.patterns.syntax import Pattern, n_words
from autolabel.protocols import ExplainSplit, TestEvidence
from autolabel.scorers.baseline import Baselines
from autolabel.scorers.calibrated import secondary
from autolabel.scorers.context import ContextSums
from autolabel.scorers.correlation import ENOUGH_DF, ENOUGH_DOCUMENTS, default_run, unscored_reason
from autolabel.scorers.effects import Design, PatternEffects, design_of, fit_patterns
from autolabel.scorers.entries import Firing, Run
from autolabel.scorers.foreign import TABLE_BYTES, ForeignSums, foreign_null
from autolabel.scorers.labels import Labels, Layer, layers_of, read_patterns
from autolabel.scorers.lookup import Ceiling, Table, load
from autolabel.scorers.novel import Known, NewWordSums, Words, words_of
from autolabel.scorers.own import STRATA, OwnSums
from autolabel.scorers.result import TestResult
from autolabel.scorers.walk import FirstDocuments, Part, walk
from autolabel.stats import Correlation, Peak, Sums, correlate, influence, p_size, paired_peak, paired_rho, peak
from autolabel.threads import both
from autolabel.types import Explanation, Score, Unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KIND_BAR = 0.05  # contextual, carries_over: the interval lies above it
MAX_LIST = 20  # words of a baseline


@dataclass(frozen=True)
class _Asked:
    """The explanations that can be scored, and the labels made of them and of their baselines."""

    rows: Ints  # [R] which explanations have a pattern
    labels: Labels  # theirs and the baselines'
    label: Ints  # [R] number of its label
    baseline: Ints  # [R] number of its baseline's label, -1 where there is none
    words: list[str | None]  # [R] the words of the baseline
    chosen: Labels  # of the chosen ones alone
    chosen_row: Ints  # [R] number of its label in `chosen`, -1 where it is not chosen


@uncollected()
def score_test(chosen: Sequence[Explanation], others: Sequence[Explanation], test: TestEvidence, explain: ExplainSplit | None = None, *,
               run: Run | None = None, baselines: Baselines | None = None, selected: Mapping[str, Score] | None = None,
               words: Words = words_of, kinds: bool = True, table_bytes: int = TABLE_BYTES) -> TestResult:
    """Everything that the view `labels` says of a score, for the chosen labels and for the best of each explainer.

    `baselines` come from `select_pass`; `selected` are the scores on select, by id, whose cut and calibration are used;
    `kinds`: whether to compute rho_context and rho_new (they need `explain`); the lookup ceiling needs it too.
    Explanations that occur in both lists are scored once, as chosen. Figures that cannot be given are nan.
    """
    first = {e.id: e for e in chosen}
    by_id = {e.id: e for e in others}
    by_id = first | {k: e for k, e in by_id.items() if k not in first}
    everything, ids = list(by_id.values()), list(by_id)
    patterns, reasons = read_patterns(everything)
    result = _empty(ids, np.arange(len(ids)) < len(first), reasons)
    asked, layers = _ask(everything, patterns, result["chosen"], test, baselines)
    if not len(asked.rows):
        return TestResult(**result)
    runner = run or default_run(test)
    firing = Firing(asked.labels)
    own, foreign = OwnSums(asked.labels, firing=firing), ForeignSums(_without_baselines(asked), table_bytes)
    tables: list[Table | None] = [load(explain, lay) if explain is not None else None for lay in layers]
    ceiling = Ceiling(layers, tables)
    if any(ceiling.known):
        foreign.watchers.append(ceiling)
    parts: list[Part] = [own, foreign]
    context, new = _kinds(asked, layers, tables, explain, runner, words, firing) if kinds and explain is not None else (None, None)
    parts += [part for part in (context, new) if part is not None]
    walk(test, layers, asked.labels.patterns, runner, parts)
    own.finish()
    sums = own.sums()
    rho, top = both(lambda: correlate(sums), lambda: peak(asked.labels.levels, own.tokens, own.positives))
    both(lambda: _own_figures(result, asked, own, sums, rho, top, [(selected or {}).get(ids[i]) for i in asked.rows]),
         lambda: _null(result, asked, own, foreign, rho))
    result["p"] = np.fmax(result["p_foreign"], result["p_size"])  # one of each side: not before both are there
    for k in range(len(layers)):
        best = ceiling.rho(k, float(own.n.sum()), own.a[k].sum(0), own.a2[k].sum(0))
        mine = np.flatnonzero(asked.labels.layer[asked.label] == k)
        result["ceiling"][asked.rows[mine]] = best[asked.labels.column[asked.label[mine]]]
    if context is not None:
        _kind(result, asked, "rho_context", "contextual", context.sums(), context.documents, context.nothing_left())
        left = np.asarray(context.left_out, np.int64)[asked.labels.layer[asked.label]]
        result["rho_context_left_out"][asked.rows] = np.where(asked.chosen_row >= 0, left, -1)
    if new is not None:
        _kind(result, asked, "rho_new", "carries_over", new.sums(), new.documents, None)
        result["n_new"][asked.rows] = np.where(asked.chosen_row >= 0, int(new.n.sum()), -1)
    return TestResult(**result)


def _ask(everything: Sequence[Explanation], patterns: Sequence[Pattern | None], chosen: NDArray[np.bool_], test: TestEvidence,
         baselines: Baselines | None) -> tuple[_Asked, tuple[Layer, ...]]:
    rows = np.array([i for i, p in enumerate(patterns) if p is not None], np.int64)
    mine: list[tuple[Unit, Pattern]] = [(everything[i].unit, p) for i in rows if (p := patterns[i]) is not None]
    layers = layers_of(test, {(u.layer, u.site) for u, _ in mine})
    lists = [baselines.pattern(u, min(MAX_LIST, n_words(p))) if baselines and picked else None
             for (u, p), picked in zip(mine, chosen[rows].tolist(), strict=True)]  # of the chosen ones alone: half of the labels less
    theirs = [(u, b) for (u, _), b in zip(mine, lists, strict=True) if b is not None]
    labels, number = Labels.build(layers, mine + theirs)
    baseline = np.full(len(rows), -1, np.int64)
    baseline[[i for i, b in enumerate(lists) if b is not None]] = number[len(mine):]
    names = [", ".join(b.any[0].on[0].values) if b is not None else None for b in lists]
    picked = np.flatnonzero(chosen[rows])
    kept, chosen_number = np.unique(number[picked], return_inverse=True)
    chosen_row = np.full(len(rows), -1, np.int64)
    chosen_row[picked] = chosen_number
    return _Asked(rows, labels, number[:len(mine)], baseline, names, labels.subset(kept), chosen_row), layers


def _without_baselines(asked: _Asked) -> Labels:
    """The labels of the foreign null: those that were asked about."""
    return asked.labels.subset(np.unique(asked.label))


def _kinds(asked: _Asked, layers: tuple[Layer, ...], tables: Sequence[Table | None], explain: ExplainSplit, run: Run,
           words: Words, firing: Firing) -> tuple[ContextSums | None, NewWordSums]:
    """The parts that need the tokens of explain, for the chosen labels."""
    designs: list[Design | None] = []
    for k, table in enumerate(tables):
        same = next((i for i in range(k) if (t := tables[i]) is not None and table is not None and np.array_equal(t.types, table.types)
                     and np.array_equal(t.count, table.count) and len(t.position_count) == len(table.position_count)), None)
        designs.append(None if table is None else designs[same] if same is not None else design_of(explain, table))
    effects: dict[int, PatternEffects] = {}
    for design in designs:
        if design is not None and id(design) not in effects:
            effects[id(design)] = fit_patterns(explain, design, asked.labels.patterns, np.unique(asked.chosen.pattern), run)
    fitted = [effects[id(d)] if d is not None else None for d in designs]
    context = ContextSums(asked.chosen, tables, designs, fitted, firing=firing) if any(d is not None for d in designs) else None
    return context, NewWordSums(asked.chosen, Known.of(explain, words), words, firing=firing)


def _empty(ids: Sequence[str], chosen: NDArray[np.bool_], reasons: Sequence[str | None]) -> dict[str, Any]:
    """All columns as NULL. Any: the keyword arguments of TestResult."""
    n = len(ids)
    out: dict[str, Any] = {name: np.full(n, np.nan) for name, kind in TestResult.__annotations__.items() if kind == "Floats"}
    out |= {name: np.full(n, -1, np.int64) for name, kind in TestResult.__annotations__.items() if "int64" in kind}
    out |= {name: np.full(n, None, object) for name, kind in TestResult.__annotations__.items() if kind == "Texts"}
    out |= {name: np.zeros(n, bool) for name, kind in TestResult.__annotations__.items() if "bool_" in kind}
    out |= {name: np.ones(n) for name in ("p_foreign", "p_size", "p")}
    out["mass_recall_strata"] = np.full((n, STRATA), np.nan)
    out["explanation"][:] = ids
    out["chosen"][:] = chosen
    out["unscored"][:] = list(reasons)
    out["n"][:] = 0
    return out


def _own_figures(result: dict[str, Any], asked: _Asked, own: OwnSums, sums: Sums, rho: Correlation, top: Peak,
                 selected: Sequence[Score | None]) -> None:
    """rho, peak, baseline, mass recall and the secondary figures."""
    rows, label = asked.rows, asked.label
    mass, strata = own.mass_recall()
    for name, x in (("score", rho.rho), ("ci_low", rho.low), ("ci_high", rho.high), ("se", rho.se), ("df", rho.df), ("peak", top.value),
                    ("peak_low", top.low), ("peak_high", top.high), ("base_rate", top.base_rate), ("mass_recall", mass),
                    ("mass_recall_strata", strata), ("n_documents", documents := own.documents.count)):
        result[name][rows] = x[label]
    result["n"][rows] = own.n_excerpts
    result["p_size"][rows] = p_size(rho.rho, rho.se, rho.df)[label]
    flat = zip(rho.flat_a[label].tolist(), rho.flat_c[label].tolist(), strict=True)
    why = [unscored_reason(flat_a, flat_c, own.n_excerpts, "test") for flat_a, flat_c in flat]
    dead = np.array([w is not None for w in why], bool)
    result["unscored"][rows] = np.array(why, object)
    result["imprecise"][rows] = np.array(imprecision(rho.df[label], documents[label]), object)
    result["imprecise"][rows[dead]] = None
    secondary(result, rows, label, own, sums, selected)
    have = np.flatnonzero(asked.baseline >= 0)
    if len(have):
        _informative(result, rows[have], label[have], asked.baseline[have], top, sums)
    result["baseline_label"][rows] = np.array(asked.words, object)
    for name in ("peak", "peak_low", "peak_high", "mass_recall"):
        result[name][rows[dead]] = np.nan


def imprecision(df: Floats, documents: Ints, of: str = "test ") -> list[str | None]:
    """Why figures are not to be relied on: df < 6, or the label fires in fewer than 20 documents (`of` says of what)."""
    out: list[str | None] = []
    for d, n in zip(df.tolist(), documents.tolist(), strict=True):
        few = n < ENOUGH_DOCUMENTS
        out.append(f"it fires in {n} {of}document{'s' if n != 1 else ''}, fewer than {ENOUGH_DOCUMENTS}" if few
                   else f"the interval rests on {d:.1f} degrees of freedom, fewer than {ENOUGH_DF}" if not d >= ENOUGH_DF else None)
    return out


def _informative(result: dict[str, Any], rows: Ints, label: Ints, base: Ints, top: Peak, sums: Sums) -> None:
    """Against the word list of the same length: paired 97.5 % intervals of rho and of peak.

    A baseline that never fires on test has no rho of its own; it predicts nothing, so it is compared as rho 0 without error.
    """
    values, g = influence(sums)
    silent = np.isnan(values[base])
    theirs = (np.where(silent, 0.0, values[base]), np.where(silent, 0.0, g[:, base]))
    size = paired_rho((values[label], g[:, label]), theirs)
    strong = paired_peak(top.of(label), top.of(base))
    for name, x in (("baseline", values[base]), ("peak_baseline", top.value[base]), ("rho_over_baseline_low", size.low),
                    ("rho_over_baseline_high", size.high), ("peak_over_baseline_low", strong.low),
                    ("peak_over_baseline_high", strong.high)):
        result[name][rows] = x
    scored = ~np.isnan(values[label])
    result["informative"][rows[scored]] = ((size.low > 0) | (strong.low > 0))[scored].astype(object)


def _null(result: dict[str, Any], asked: _Asked, own: OwnSums, foreign: ForeignSums, rho: Correlation) -> None:
    kept = np.unique(asked.label)
    at = np.searchsorted(kept, asked.label)
    null = foreign_null(foreign, float(own.n.sum()), own.c.sum(0)[kept], own.c2.sum(0)[kept], rho.rho[kept],
                        [x.sum(0) for x in own.a], [x.sum(0) for x in own.a2])
    rows = asked.rows
    result["p_foreign"][rows], result["foreign_pooled"][rows] = null.p[at], null.pooled[at]
    result["foreign_one_rank"][rows] = np.isnan(null.p_labels[at])
    result["rank"][rows] = np.where(null.rank[at] > 0, null.rank[at], -1)


def _kind(result: dict[str, Any], asked: _Asked, name: str, flag: str, sums: Sums, documents: FirstDocuments,
          nothing: NDArray[np.bool_] | None) -> None:
    """rho_context or rho_new with its interval and its flag; NULL where it would be imprecise, 0 where nothing is left of c."""
    rho = correlate(sums)
    value, low, high = rho.rho.copy(), rho.low.copy(), rho.high.copy()
    few = documents.count < ENOUGH_DOCUMENTS
    bad = few | ~(rho.df >= ENOUGH_DF)
    if nothing is not None:
        bad &= ~nothing | few
        value[nothing], low[nothing], high[nothing] = 0.0, 0.0, 0.0
    for x in (value, low, high):
        x[bad] = np.nan
    mine = asked.chosen_row >= 0
    rows, at = asked.rows[mine], asked.chosen_row[mine]
    for column, x in ((name, value), (f"{name}_low", low), (f"{name}_high", high)):
        result[column][rows] = x[at]
    known = ~np.isnan(value[at])
    result[flag][rows[known]] = (low[at] > KIND_BAR)[known].astype(object)
