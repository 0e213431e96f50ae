"""`score`: candidates are compared on the select split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.baselines import read_lists, store_best
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import read_explanations, runnable, runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, model_row, recorded, subject_of
from autolabel.registry import build
from autolabel.types import Score

COLUMNS = ("explanation", "model", "split", "scorer", "simulator", "value", "low", "high", "n", "reason", "peak", "peak_low", "peak_high",
           "extra", "run")


def score(catalogue: Catalogue, *, scorer: str = "correlation", simulator: str = "pattern", units: str | Iterable[str] | None = None,
          limit: int | None = None, model: str = "", hierarchy: str = "", seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto",
          threads: int = 0, redo: bool = False, progress: Progress = silent) -> Count:
    """Score on select every explanation that has no score of this scorer and simulator yet. Abstentions are counted, not scored.

    hierarchy: the file of concepts that the labels were made with, where it is one of your own.
    """
    from autolabel.splits import select_evidence

    build("scorers", scorer)  # an unknown name is an error before anything is computed
    build("simulators", simulator)
    if (scorer, simulator) != ("correlation", "pattern"):
        raise SettingsError(f"the scorer {scorer!r} cannot be run with the simulator {simulator!r}: write --scorer correlation --simulator pattern")
    row = model_row(catalogue, model)
    wanted = None if units is None and limit is None else select_units(catalogue, row.name, units, seed=seed, limit=limit)
    candidates = read_explanations(catalogue, row.name, wanted)
    if not candidates:
        raise SettingsError(f"{row.name} has no explanations yet: run `autolabel explain`")
    known = concepts(hierarchy)
    usable = runnable(candidates, known)
    if redo:
        with catalogue.writer() as writer:
            writer.delete("scores", "model = ? AND split = 'select' AND scorer = ? AND simulator = ?", [row.name, scorer, simulator])
    scored = {r[0] for r in catalogue.read("SELECT explanation FROM scores WHERE model = ? AND split = 'select' AND scorer = ? AND simulator = ?",
                                           [row.name, scorer, simulator])}
    asked = [e for e in usable if e.abstained is None]
    todo = [e for e in asked if e.id not in scored]
    abstained = sum(e.abstained is not None for e in candidates)
    if not todo:
        return Count(len(candidates), 0, len(asked), abstained, 0)
    from autolabel.scorers.correlation import select_pass

    subject = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    evidence = select_evidence(catalogue, subject, batch_size=batch_size)
    with recorded(catalogue, "score", {"scorer": scorer, "simulator": simulator, "units": units, "limit": limit, "hierarchy": known.hash}, model=row.name,
                  model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
        progress("scoring on select", 0, len(todo))
        result = select_pass(todo, evidence, run=runner(subject, known), ranked=read_lists(catalogue, row.name))
        with catalogue.writer() as writer:
            writer.insert("scores", score_columns(row, result.scores, run), ignore_existing=True)
        if result.baselines is not None:
            store_best(catalogue, row.name, result.baselines, run)
        progress("scoring on select", len(todo), len(todo))
    return Count(len(candidates), len(todo), len(asked) - len(todo), abstained, 0)


def score_columns(row: ModelRow, scores: Sequence[Score], run: str) -> dict[str, list[Any]]:
    """Scores as columns of the table; peak and its interval have columns of their own, the other figures are JSON."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for s in scores:
        extra = dict(s.extra)
        peaks = [extra.pop(name, None) for name in ("peak", "peak_low", "peak_high")]
        values = (s.explanation, row.name, s.split, s.scorer, s.simulator, s.value, s.low, s.high, s.n, s.reason, *peaks, json.dumps(extra), run)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return columns
