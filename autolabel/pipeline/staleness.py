"""`score --subject`: do the labels of a model still hold on another checkpoint of it? With the power to see that they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.errors import SubjectError
from autolabel.pipeline.beyond import Readers, reader_built, readers_of
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.failing import note_unscored
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import runner
from autolabel.pipeline.layers import count_looks
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.reader import Reader, in_blocks
from autolabel.pipeline.session import ModelRow, model_row, open_subject, recorded, remember, subject_of
from autolabel.pipeline.validity import chosen_labels
from autolabel.protocols import LLM
from autolabel.stats.proportions import wilson
from autolabel.types import Explanation

if TYPE_CHECKING:
    from autolabel.scorers.checkpoint import Falls

FIGURES = ("own", "value", "low", "high", "fall", "fall_low", "fall_high", "stale", "planted", "planted_low", "noticed", "reason")


@dataclass(frozen=True, slots=True)
class Staleness:
    """What all labels that were read on one other checkpoint come to."""

    count: Count  # what was done now
    subject: str  # the other checkpoint
    compared: int  # labels of which it can be said
    stale: int
    left_out: int  # labels of which it cannot: no rho, imprecise, or nothing read it
    half_width: float | None  # median of the interval of the planted fall
    planted: int  # labels for which a fall of .2 was planted: those with rho above .2
    power: float | None  # share of them where it was noticed, with its 95 % interval; None where none was planted
    power_low: float | None
    power_high: float | None


def score_checkpoint(catalogue: Catalogue, subject: str | Any, *, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "",
                     hierarchy: str = "", simulator: str = "", llm: LLM | None = None, settings: Mapping[str, str] | None = None, prompts: str = "",
                     concurrency: int = 8, revision: str = "", seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto",
                     threads: int = 0, redo: bool = False, progress: Progress = silent, notes: Callable[[str], None] = lambda text: None) -> Staleness:
    """Score the chosen labels on the units of another checkpoint of the same architecture, on the test split, beside their own.

    subject: a folder, a hub id (with `revision`), or a loaded subject (Any: it is a Subject with a tokenizer). Patterns are run over the whole
    split; a sentence without one is read on the sample that it was scored on, by `simulator` (empty: the one that read it on test, else
    `embedding`; llm: what it asks, settings: of the scorer simulation): what was answered then is not asked again. One whose LLM is not given
    is stored with the reason, which `notes` is told. Each label that is read is one more look at test, and counted. What was read of the same
    weights before is not read again. Raises SubjectError where the layers or the tokenizer are others, SettingsError.
    """
    row = model_row(catalogue, model)
    labels = chosen_labels(catalogue, row, units, limit, hierarchy, seed)
    readers = readers_of(catalogue, row, labels, Reader("simulation", simulator, llm, settings or {}, prompts, concurrency))
    other: Any = open_subject(subject, device=device, dtype=dtype, threads=threads, revision=revision or None) if isinstance(subject, str) else subject
    _check(catalogue, row, other, labels)
    if redo:
        with catalogue.writer() as writer:
            writer.delete("stale", "model = ? AND subject_hash = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))",
                          [row.name, other.hash, [e.id for e in labels]])
    have = _have(catalogue, row, other)
    todo = [e for e in labels if e.id not in have or not readers.settled(e, have[e.id])]
    before = Count(len(labels), 0, len(labels) - len(todo), 0, 0)
    for line in readers.notes():
        notes(line)
    if not todo:
        return _summed(catalogue, row, other, before)
    remember(other)
    known = concepts(hierarchy)
    mine = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    how = {"subject": other.name, "subject_hash": other.hash, "units": units, "limit": limit, "hierarchy": known.hash, "simulator": simulator,
           "settings": dict(settings or {})}
    with recorded(catalogue, "score --subject", how, model=row.name, model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
        from autolabel.scorers.checkpoint import compare_checkpoints, unread
        from autolabel.scorers.checkpoint_read import compare_read
        from autolabel.splits import test_evidence

        progress(f"scoring on {other.name}", 0, len(todo))
        evidence = test_evidence(catalogue, mine, batch_size=batch_size)
        there = replace(evidence, subject=other)
        scores = dict(catalogue.read("SELECT explanation, score FROM choices WHERE model = ? AND explanation IS NOT NULL", [row.name]))
        if exact := readers.patterns(todo):
            falls = compare_checkpoints(exact, [scores[e.id] for e in exact], evidence, there, run=runner(mine, known), seed=seed)
            _store(catalogue, row, exact, falls, other, readers, run)
        if left := readers.left(todo):
            _store(catalogue, row, left, unread([readers.unread[e.id] for e in left]), other, readers, run)
        at = len(exact) + len(left)
        for reader, some in readers.sentences(todo):
            scorer = reader_built(reader, catalogue, row, mine, known)

            def read(block: Sequence[Explanation], scorer: Any = scorer) -> None:
                falls = compare_read(scorer, block, evidence, there, seed=seed)
                _store(catalogue, row, block, falls, other, readers, run)
                note_unscored(catalogue, block, falls.scores, run, "score --subject")

            in_blocks(some, read)
            at += len(some)
            progress(f"scoring on {other.name}", at, len(todo))
    have = _have(catalogue, row, other)
    made, pending = sum(e.id in have and readers.settled(e, have[e.id]) for e in todo), sum(e.id not in have for e in todo)
    return _summed(catalogue, row, other, replace(before, done=made, failed=len(todo) - made - pending, pending=pending))


def _have(catalogue: Catalogue, row: ModelRow, other: Any) -> dict[str, tuple[str | None, str | None]]:
    """Explanation.id -> what read it on this checkpoint."""
    return {id: (by, judge) for id, by, judge in catalogue.read(
        "SELECT explanation, simulator, judge FROM t_stale WHERE model = ? AND subject_hash = ?", [row.name, other.hash])}


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


def _store(catalogue: Catalogue, row: ModelRow, labels: Sequence[Explanation], falls: Falls, other: Any, readers: Readers, run: str) -> None:
    """The rows in place of what stands there, and one look at test for each label that was read, in one transaction."""
    units, read = [e.unit for e in labels], [e.pattern is not None or n > 0 for e, n in zip(labels, falls.n.tolist(), strict=True)]
    by = [readers.by[e.id] if there else (None, None) for e, there in zip(labels, read, strict=True)]  # what failed is asked again
    columns: dict[str, Any] = {"model": row.name, "layer": [u.layer for u in units], "site": [u.site for u in units], "neuron": [u.index for u in units],
                               "side": [u.side for u in units], "explanation": [e.id for e in labels], "subject": other.name, "subject_hash": other.hash,
                               "n": falls.n.tolist(), "simulator": [name for name, _ in by], "judge": [judge for _, judge in by], "run": run}
    columns |= {name: getattr(falls, name).tolist() for name in FIGURES}
    with catalogue.writer() as writer:
        def work(connection: Any) -> None:
            writer.delete("stale", "model = ? AND subject_hash = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))",
                          [row.name, other.hash, columns["explanation"]])
            writer.insert("stale", columns)
            count_looks(connection, row.name, [e for e, there in zip(labels, read, strict=True) if there])
        writer.write(work)


def _summed(catalogue: Catalogue, row: ModelRow, other: Any, count: Count) -> Staleness:
    rows = catalogue.read("SELECT s.stale, s.noticed, s.planted - s.planted_low FROM t_stale s JOIN choices c ON c.explanation = s.explanation AND "
                          "c.model = s.model WHERE s.model = ? AND s.subject_hash = ?", [row.name, other.hash])
    said, noticed = [s for s, _, _ in rows if s is not None], [x for _, x, _ in rows if x is not None]
    half = [h for _, x, h in rows if x is not None and h is not None]
    power = wilson(sum(noticed), len(noticed)) if noticed else None
    return Staleness(count, other.name, len(said), sum(said), len(rows) - len(said), float(np.median(half)) if half else None, len(noticed),
                     *((power.value, power.low, power.high) if power else (None, None, None)))
