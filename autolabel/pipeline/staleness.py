"""`score --subject`: do the labels of a model still hold on another checkpoint of it? With the power to see that they do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.errors import SubjectError
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.session import ModelRow, model_row, open_subject, recorded, remember, subject_of
from autolabel.pipeline.validity import chosen_labels
from autolabel.stats.proportions import wilson
from autolabel.types import Explanation

if TYPE_CHECKING:
    from autolabel.scorers.checkpoint import Falls

FIGURES = ("own", "value", "low", "high", "fall", "fall_low", "fall_high", "stale", "planted", "planted_low", "noticed", "reason")
SENTENCE = "a sentence without a pattern: it is not read on other checkpoints"


@dataclass(frozen=True, slots=True)
class Staleness:
    """What all labels that were read on one other checkpoint come to."""

    count: Count  # what was done now
    subject: str  # the other checkpoint
    compared: int  # labels of which it can be said
    stale: int
    left_out: int  # labels of which it cannot: no rho, imprecise, or no pattern
    half_width: float | None  # median of the interval of the planted fall
    planted: int  # labels for which a fall of .2 was planted: those with rho above .2
    power: float | None  # share of them where it was noticed, with its 95 % interval; None where none was planted
    power_low: float | None
    power_high: float | None


def score_checkpoint(catalogue: Catalogue, subject: str | Any, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "",
                     hierarchy: str = "", revision: str = "", seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto",
                     threads: int = 0, redo: bool = False, progress: Progress = silent) -> Staleness:
    """Score the chosen labels on the units of another checkpoint of the same architecture, on the test split, beside their own.

    subject: a folder, a hub id (with `revision`), or a loaded subject (Any: it is a Subject with a tokenizer). Each label that is read is
    one more look at test, and counted. What was read of the same weights before is not read again. Raises SubjectError where the
    layers or the tokenizer are others.
    """
    row = model_row(catalogue, model)
    labels = chosen_labels(catalogue, row, units, limit, hierarchy, seed)
    other: Any = open_subject(subject, device=device, dtype=dtype, threads=threads, revision=revision or None) if isinstance(subject, str) else subject
    _check(catalogue, row, other, labels)
    if redo:
        with catalogue.writer() as writer:
            writer.delete("stale", "model = ? AND subject_hash = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))",
                          [row.name, other.hash, [e.id for e in labels]])
    have = {id for (id,) in catalogue.read("SELECT explanation FROM t_stale WHERE model = ? AND subject_hash = ?", [row.name, other.hash])}
    todo = [e for e in labels if e.id not in have]
    count = Count(len(labels), len(todo), len(labels) - len(todo), 0, 0)
    if todo:
        remember(other)
        known = concepts(hierarchy)
        mine = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
        settings = {"subject": other.name, "subject_hash": other.hash, "units": units, "limit": limit, "hierarchy": known.hash}
        with recorded(catalogue, "score --subject", settings, model=row.name, model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
            from autolabel.scorers.checkpoint import compare_checkpoints
            from autolabel.splits import test_evidence

            progress(f"scoring on {other.name}", 0, len(todo))
            evidence = test_evidence(catalogue, mine, batch_size=batch_size)
            scores = dict(catalogue.read("SELECT explanation, score FROM choices WHERE model = ? AND explanation IS NOT NULL", [row.name]))
            falls = compare_checkpoints(todo, [scores[e.id] for e in todo], evidence, replace(evidence, subject=other), run=runner(mine, known), seed=seed)
            _store(catalogue, row, todo, falls, other, run)
            progress(f"scoring on {other.name}", len(todo), len(todo))
    return _summed(catalogue, row, other, count)


def _check(catalogue: Catalogue, row: ModelRow, other: Any, labels: Sequence[Explanation]) -> None:
    """Is it another checkpoint of the same thing? Raises SubjectError."""
    if other.hash == row.hash:
        raise SubjectError(f"{other.name} has the weights that {row.name} was extracted with: give another checkpoint")
    sites = {(s.layer, s.name): s.width for s in other.sites}
    for layer, site in sorted({(e.unit.layer, e.unit.site) for e in labels}):
        wide = catalogue.read("SELECT count(DISTINCT neuron) FROM units WHERE model = ? AND layer = ? AND site = ?", [row.name, layer, site])[0][0]
        if sites.get((layer, site)) != wide:
            raise SubjectError(f"{other.name} is no checkpoint of {row.name}: layer {layer} has {sites.get((layer, site), 'no')} units there, {wide} here")
    tokenizer, = catalogue.read("SELECT tokenizer FROM corpora WHERE id = ?", [row.corpus_id])[0]
    if other.tokenizer_hash != tokenizer:
        raise SubjectError(f"{other.name} is no checkpoint of {row.name}: it has another tokenizer")


def _store(catalogue: Catalogue, row: ModelRow, labels: Sequence[Explanation], falls: Falls, other: Any, run: str) -> None:
    """The rows, and one look at test for each label with a pattern, in one transaction."""
    units = [e.unit for e in labels]
    columns: dict[str, Any] = {"model": row.name, "layer": [u.layer for u in units], "site": [u.site for u in units], "neuron": [u.index for u in units],
                               "side": [u.side for u in units], "explanation": [e.id for e in labels], "subject": other.name, "subject_hash": other.hash,
                               "n": falls.n_excerpts, "run": run}
    columns |= {name: getattr(falls, name).tolist() for name in FIGURES}
    columns["reason"] = [SENTENCE if e.pattern is None else why for e, why in zip(labels, columns["reason"], strict=True)]
    looked = [e.id for e in labels if e.pattern is not None]
    with catalogue.writer() as writer:
        def work(connection: Any) -> None:
            writer.insert("stale", columns)
            connection.execute("UPDATE choices SET test_looks = test_looks + 1 WHERE model = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))",
                               [row.name, looked])
        writer.write(work)


def _summed(catalogue: Catalogue, row: ModelRow, other: Any, count: Count) -> Staleness:
    rows = catalogue.read("SELECT s.stale, s.noticed, s.planted - s.planted_low FROM t_stale s JOIN choices c ON c.explanation = s.explanation AND "
                          "c.model = s.model WHERE s.model = ? AND s.subject_hash = ?", [row.name, other.hash])
    said, noticed = [s for s, _, _ in rows if s is not None], [x for _, x, _ in rows if x is not None]
    half = [h for _, x, h in rows if x is not None and h is not None]
    power = wilson(sum(noticed), len(noticed)) if noticed else None
    return Staleness(count, other.name, len(said), sum(said), len(rows) - len(said), float(np.median(half)) if half else None, len(noticed),
                     *((power.value, power.low, power.high) if power else (None, None, None)))
