"""Failures of units: rows of the view `failures`, the latest of each unit, stage and method."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import Catalogue
from autolabel.pipeline.asking import Failure
from autolabel.types import Explanation, Score, Unit

if TYPE_CHECKING:
    import duckdb

CHOICE = ("explanation", "label", "pattern", "llm", "simulator", "score", "ci_low", "ci_high", "peak", "peak_low", "peak_high", "n", "baseline",
          "peak_baseline", "ceiling", "rho_context", "rho_context_low", "rho_context_high", "contextual", "rho_new", "rho_new_low",
          "rho_new_high", "carries_over", "informative", "rank", "mass_recall", "cost_usd")  # what a failed unit has nothing to say of
COLUMNS = ("run", "model", "layer", "site", "neuron", "side", "explainer", "stage", "kind", "message", "reply", "created")


def note_failures(catalogue: Catalogue, settled: Sequence[Unit], failures: Sequence[Failure], stage: str, explainer: str, run: str) -> None:
    """Store what failed now, in place of what any of the `settled` units failed with before: what succeeds at last is no failure."""
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for f in failures:
        values = (run, f.unit.model, f.unit.layer, f.unit.site, f.unit.index, f.unit.side, explainer, stage, f.kind, f.message, f.reply, f.created)
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)
    units = list(dict.fromkeys([*settled, *(f.unit for f in failures)]))
    columns = [[getattr(u, name) for u in units] for name in ("model", "layer", "site", "index", "side")]

    def replace(connection: duckdb.DuckDBPyConnection) -> None:  # one transaction
        connection.execute("DELETE FROM t_failures WHERE stage = ? AND explainer = ? AND (model, layer, site, neuron, side) IN "
                           "(SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::INTEGER[]), unnest(?::VARCHAR[]))",
                           [stage, explainer, *columns])
        if failures:
            writer.insert("failures", rows)

    with catalogue.writer() as writer:
        writer.write(replace)


def calls_failed(score: Score) -> bool:
    """No score, because calls failed."""
    return score.value is None and bool(score.extra.get("failed"))


def note_unscored(catalogue: Catalogue, labels: Sequence[Explanation], scores: Iterable[Score], run: str, verb: str = "") -> None:
    """Store which of these labels have no score because calls failed, with the first of them: stage `VERB: SCORER`; verb: `score`, on test `choose`,
    or another that read them."""
    now, by_id = datetime.datetime.now(datetime.UTC).replace(tzinfo=None), {e.id: e for e in labels}
    settled: dict[tuple[str, str], list[Unit]] = {}
    failed: dict[tuple[str, str], list[Failure]] = {}
    for s in scores:
        e = by_id[s.explanation]
        key = f"{verb or ('score' if s.split == 'select' else 'choose')}: {s.scorer}", e.maker.explainer
        settled.setdefault(key, []).append(e.unit)
        if calls_failed(s):
            kind, _, message = str(s.extra["failure"]).partition(": ")
            failed.setdefault(key, []).append(Failure(e.unit, kind, message, str(s.extra.get("reply") or ""), now))
    for (stage, explainer), units in settled.items():
        note_failures(catalogue, units, failed.get((stage, explainer), ()), stage, explainer, run)


def failed_units(catalogue: Catalogue, model: str) -> dict[Unit, Failure]:
    """Units of a model for which explaining failed, and no explainer has anything; the latest failure of each."""
    rows = catalogue.read("SELECT layer, site, neuron, side, explainer, kind, message, reply, created FROM t_failures f WHERE model = ? "
                          "AND stage = 'explain' AND neuron IS NOT NULL AND NOT EXISTS (SELECT 1 FROM explanations e WHERE e.model = f.model AND "
                          "e.layer = f.layer AND e.site = f.site AND e.neuron = f.neuron AND e.side = f.side) ORDER BY created", [model])
    return {Unit(model, layer, site, neuron, side): Failure(Unit(model, layer, site, neuron, side), kind, message, reply or "", created, explainer)
            for layer, site, neuron, side, explainer, kind, message, reply, created in rows}


def failed_row(failure: Failure, seen: tuple[int, str], run: str) -> dict[str, Any]:
    """A row of `choices` without a label: `seen` are the looks at test so far and the digest of the candidates."""
    u = failure.unit
    row: dict[str, Any] = dict.fromkeys(CHOICE)
    return row | {"model": u.model, "layer": u.layer, "site": u.site, "neuron": u.index, "side": u.side, "explainer": failure.explainer,
                  "test_looks": seen[0], "p_foreign": 1.0, "p_size": 1.0, "run": run,
                  "extra": json.dumps({"candidates": seen[1], "failed": f"{failure.kind}: {failure.message}"})}


def costs_of(catalogue: Catalogue, model: str) -> dict[tuple[str, str, int, str], float | None]:
    """(layer, site, neuron, side) -> dollars of all its explanations; None where the price of one is not known."""
    rows = catalogue.read("SELECT layer, site, neuron, side, CASE WHEN count(*) = count(cost_usd) THEN sum(cost_usd) END FROM explanations "
                          "WHERE model = ? GROUP BY ALL", [model])
    return {(layer, site, neuron, side): cost for layer, site, neuron, side, cost in rows}
