"""The headline of a catalogue: what was labelled, how much of it holds, and the random-weights control beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.audited import FAILED, failed, veil_rows
from autolabel.catalogue import Catalogue
from autolabel.comparing import Pairs, compare
from autolabel.curves import Curve, read_curve
from autolabel.pipeline.session import dicts, model_row, models

SHARES = ("confirmed", "contextual", "carries_over", "informative")


@dataclass(frozen=True, slots=True)
class Headline:
    """Counts over all attempted units of one model. Means leave out what is unscored; `scored` says how many are in them."""

    model: str
    attempted: int
    labelled: int  # with a label
    scored: int  # with a score on test
    abstained: int
    failed: int
    confirmed: int
    partial: int
    rejected: int
    imprecise: int
    unscored: int
    contextual: int
    carries_over: int
    informative: int
    mean_score: float | str | None  # `failed audit` where the audit says so, as in every table here
    mean_peak: float | str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What `stats` and `demo` print."""

    path: str
    headline: Headline
    control: Headline | None
    best: tuple[tuple[Any, ...], ...]  # BEST_COLUMNS: the best labels of each layer
    layers: tuple[tuple[Any, ...], ...]  # LAYER_COLUMNS
    leaderboard: tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]  # columns, rows
    coverage: tuple[Curve, ...]  # the coverage-risk curve of the model, and of its control; none where the audit says that rho fails
    verdicts: tuple[tuple[Any, ...], ...]  # verdict, units, an example
    pairs: tuple[Pairs, ...] = ()  # labels by an LLM against those that need none, on the units that both have labelled


BEST_COLUMNS = ("unit", "label", "score", "ci_low", "ci_high", "peak", "rho_context", "rho_new", "q_value", "verdict")
LAYER_COLUMNS = ("layer", "units", "labelled", "confirmed", "contextual", "carries_over", "mean score", "mean peak", "mean baseline", "mean ceiling")

_HEADLINE = """
    SELECT count(*), count(*) FILTER (e.text <> ''), count(score), count(*) FILTER (verdict = 'abstained'),
           count(*) FILTER (verdict = 'failed'), count(*) FILTER (verdict = 'confirmed'), count(*) FILTER (verdict = 'partial'),
           count(*) FILTER (verdict = 'rejected'), count(*) FILTER (verdict = 'imprecise'), count(*) FILTER (verdict = 'unscored'),
           count(*) FILTER (contextual), count(*) FILTER (carries_over), count(*) FILTER (informative), avg(score), avg(peak)
    FROM choices c LEFT JOIN explanations e ON e.id = c.explanation WHERE c.model = ?"""


def summarise(catalogue: Catalogue, *, model: str = "", best_per_layer: int = 3) -> Summary:
    """The summary of one model, from SQL alone."""
    name = model_row(catalogue, model).name
    controls = [m.name for m in models(catalogue) if m.is_control and m.control_of == name]
    best = catalogue.read(
        f"SELECT {', '.join(BEST_COLUMNS)} FROM labels WHERE model = ? AND score IS NOT NULL QUALIFY row_number() OVER "
        "(PARTITION BY layer, side ORDER BY verdict = 'confirmed' DESC, sqrt(greatest(score, 0) * greatest(peak, 0)) DESC, neuron) <= ? "
        "ORDER BY length(layer), layer, sqrt(greatest(score, 0) * greatest(peak, 0)) DESC", [name, best_per_layer])
    layers = catalogue.read(
        "SELECT layer, count(*), count(label), count(*) FILTER (verdict = 'confirmed'), count(*) FILTER (contextual), "
        "count(*) FILTER (carries_over), avg(score), avg(peak), avg(baseline), avg(ceiling) FROM labels WHERE model = ? "
        "GROUP BY layer ORDER BY length(layer), layer", [name])
    bad = failed(catalogue, name)
    board = dicts(catalogue, "SELECT * FROM leaderboard ORDER BY control, mean_score DESC NULLS LAST, explainer")
    verdicts = catalogue.read(
        "SELECT verdict, count(*), arg_max(unit || ': ' || coalesce(label, '') || ' (' || coalesce(reason, '') || ')', coalesce(score, 0)) "
        "FROM labels WHERE model = ? GROUP BY verdict ORDER BY count(*) DESC", [name])
    columns = tuple(board[0]) if board else ()
    return Summary(str(catalogue.path), _headline(catalogue, name, bad), _headline(catalogue, controls[0], bad) if controls else None,
                   veil_rows(BEST_COLUMNS, best, bad), veil_rows(LAYER_COLUMNS, layers, bad),
                   (columns, veil_rows(columns, [tuple(row.values()) for row in board], bad)),
                   () if "rho" in bad else _curves(catalogue, [name, *controls[:1]]), tuple(verdicts), _pairs(catalogue, name, bad))


def _pairs(catalogue: Catalogue, model: str, bad: frozenset[str]) -> tuple[Pairs, ...]:
    """Each explainer that asks an LLM against each that asks none."""
    rows = catalogue.read("SELECT explainer, bool_or(llm IS NOT NULL) FROM explanations WHERE model = ? AND explainer NOT IN ('constant', 'human') "
                          "GROUP BY explainer ORDER BY explainer", [model])
    asked, free = ([name for name, asks in rows if asks is which] for which in (True, False))
    return tuple(pair for first in asked for second in free for pair in compare(catalogue, model, first, second) if pair.figure not in bad)


def _headline(catalogue: Catalogue, model: str, bad: frozenset[str]) -> Headline:
    values = list(catalogue.read(_HEADLINE, [model])[0])
    values[-2:] = [FAILED if metric in bad and mean is not None else mean for metric, mean in zip(("rho", "peak"), values[-2:], strict=True)]
    return Headline(model, *values)


def _curves(catalogue: Catalogue, names: Sequence[str]) -> tuple[Curve, ...]:
    return tuple(curve for curve in (read_curve(catalogue, name) for name in names) if curve.n)
