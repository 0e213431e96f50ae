"""Failures of units: rows of the view `failures`, the latest of each unit, stage and method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import Catalogue
from autolabel.pipeline.asking import Failure
from autolabel.types import Unit

if TYPE_CHECKING:
    import duckdb

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
