"""`kinds`: how much context the asked units read, and how much of them one token type leaves open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.progress import Progress, silent, stage
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import dicts, model_row, recorded, subject_of
from autolabel.types import Side, Unit

COLUMNS = ("unit", "kind", "lexicality", "positional_share", "context_length", "same_token", "correlations", "n")


def kinds(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", sample: int = 0, seed: int = 0,
          batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False, progress: Progress = silent) -> Count:
    """Effective context length and same-token contrast of the asked units (formulas: `autolabel.unitkinds`), from the explain split.

    sample: tokens that are read again with less context, about (default: by the number of units). Units that have them already are left
    as they are. Raises UnitError, CatalogueError.
    """
    from autolabel import unitkinds
    from autolabel.splits import explain_split

    row = model_row(catalogue, model)
    asked = select_units(catalogue, row.name, units, seed=seed, limit=limit)
    have = set() if redo else {Unit(row.name, *r) for r in catalogue.read("SELECT layer, site, neuron, side FROM t_kinds WHERE model = ?", [row.name])}
    todo = [u for u in asked if u not in have]
    count = Count(len(asked), len(todo), len(asked) - len(todo), 0, 0)
    if not todo:
        return count
    split = explain_split(catalogue, subject_of(catalogue, row, device=device, dtype=dtype, threads=threads), batch_size=batch_size)
    by_key: dict[tuple[str, Side], list[int]] = {}
    for u in todo:
        by_key.setdefault((u.layer, u.side), []).append(u.index)
    with recorded(catalogue, "kinds", {"units": units, "limit": limit, "sample": sample}, model=row.name, model_hash=row.hash, corpus=row.corpus_id,
                  seed=seed) as run:
        found = unitkinds.kinds(split, {key: np.array(sorted(v), np.int64) for key, v in by_key.items()}, sample=sample, seed=seed,
                                progress=stage(progress, "reading with less context"))
        sites = {site.layer: site.name for site in split.subject.sites}
        with catalogue.writer() as writer:
            def replace_them(_connection: object) -> None:  # one transaction
                for (layer, side), k in found.items():
                    writer.delete("t_kinds", "model = ? AND layer = ? AND side = ? AND list_contains(?, neuron)", [row.name, layer, side, k.units.tolist()])
                    writer.insert("t_kinds", {
                        "model": row.name, "layer": layer, "site": sites[layer], "side": side, "neuron": k.units.astype(np.int32),
                        "context_length": [None if v < 0 else v for v in k.context_length.tolist()], "correlations": k.correlations,
                        "same_token": k.same_token, "n": k.n, "run": run})
            writer.write(replace_them)
    silent_units = sum(int((k.context_length < 0).sum()) for k in found.values())
    return replace(count, abstained=silent_units)


def table(catalogue: Catalogue, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", seed: int = 0) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS for the asked units."""
    row = model_row(catalogue, model)
    rows = {r["unit"]: r for r in dicts(catalogue, "SELECT * FROM kinds WHERE model = ?", [row.name])}
    asked = [str(u) for u in select_units(catalogue, row.name, units, seed=seed, limit=limit)]
    return [tuple(rows[u][c] for c in COLUMNS) for u in asked if u in rows]
