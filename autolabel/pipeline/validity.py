"""`score --corpus`: the labels that were chosen, scored on another corpus or on each group of one. Nothing is labelled anew.

rho and peak as on test: labels with a pattern exact, all in one pass; a sentence without one read by a simulator on a two-sided sample of that
corpus (its unit's own top there, where the label claims to fire, and some of all others). No look at the catalogue's own test split. What a
label is worth beyond its corpus is its least score over all of them (view `weakest`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.audited import failed, veil_rows
from autolabel.catalogue import Catalogue
from autolabel.corpus import Report, Sources, open_sources
from autolabel.elsewhere import Elsewhere, Part, read_elsewhere
from autolabel.errors import SettingsError
from autolabel.pipeline.beyond import By, Readers, reader_built, readers_of
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.failing import calls_failed, note_unscored
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import read_explanations, runnable, runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.reader import Reader, read_all
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, model_row, recorded, subject_of
from autolabel.protocols import LLM
from autolabel.types import Explanation, Score, digest

if TYPE_CHECKING:
    from autolabel.protocols import TestEvidence

VERSION = 1  # part of the name of what was read
COLUMNS = ("model", "layer", "site", "neuron", "side", "explanation", "elsewhere", "corpus", "subgroup", "value", "low", "high", "peak", "peak_low",
           "peak_high", "n", "n_documents", "reason", "simulator", "judge", "run")


@dataclass(frozen=True, slots=True)
class _Where:
    """What is read, before it is."""

    id: str  # names sources, model corpus, tokens and group
    sources: Sources
    name: str
    key: str  # column of metadata; empty: no groups


def score_on(catalogue: Catalogue, corpus: str | Sequence[str], *, group: str = "", units: str | Iterable[str] | None = None, limit: int | None = None,
             model: str = "", hierarchy: str = "", simulator: str = "", llm: LLM | None = None, settings: Mapping[str, str] | None = None,
             prompts: str = "", concurrency: int = 8, text_column: str = "text", split_on: str = "", max_tokens: int = 0, seed: int = 0,
             batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False, progress: Progress = silent,
             notes: Callable[[str], None] = lambda text: None) -> Count:
    """Score the chosen labels on another corpus (`contrast:parallel`, files, folders, `demo`, ...), or on each group of one.

    group: a column of metadata, as in `language`: one score for each of its values. max_tokens: of the other corpus; 0: two million.
    simulator: reads the sentences without a pattern; empty: the one that read each on test, else `embedding`; llm: what it asks, settings: of
    the scorer simulation. A sentence whose LLM is not given is stored with the reason. Documents that explain or select hold too, and their
    near-duplicates, are left out. That and what is not read is told to `notes`. The same call again does nothing.
    Raises CorpusError, SettingsError.
    """
    row = model_row(catalogue, model)
    labels = chosen_labels(catalogue, row, units, limit, hierarchy, seed)
    readers = readers_of(catalogue, row, labels, Reader("simulation", simulator, llm, settings or {}, prompts, concurrency))
    report = Report()
    where = _where(catalogue, row, [corpus] if isinstance(corpus, str) else list(corpus), group, text_column, split_on, max_tokens, report)
    if redo:
        with catalogue.writer() as writer:
            writer.delete("validity", "elsewhere = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))", [where.id, [e.id for e in labels]])
    have = _have(catalogue, where, labels, readers)
    whole = catalogue.read("SELECT subgroups FROM elsewhere WHERE id = ?", [where.id])
    todo = [e for e in labels if not whole or len(have[e.id]) < whole[0][0]]
    before = Count(len(labels), 0, len(labels) - len(todo), 0, 0)
    for line in readers.notes():
        notes(line)
    if not todo:
        return before
    known = concepts(hierarchy)
    subject: Any = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    with recorded(catalogue, "score --corpus", {"specs": where.sources.specs, "group": group, "units": units, "limit": limit, "hierarchy": known.hash,
                                                "simulator": simulator, "settings": dict(settings or {})},
                  model=row.name, model_hash=row.hash, corpus=where.id, seed=seed) as run:
        from autolabel.scorers.correlation import score_view
        from autolabel.splits import test_evidence

        found = read_elsewhere(catalogue, row.corpus_id, where.sources, subject.tokenizer, subject.tokenizer_hash, row.context, key=group,
                               max_tokens=max_tokens, report=report, progress=lambda n: progress(f"reading {where.name}", n, None))
        for line in (*report.lines(), *(f"{n:,} {reason}: left out" for reason, n in sorted(found.left_out.items()))):
            notes(line)
        _note(catalogue, row, where, found, run)
        total = sum(part.n_excerpts for part in found.parts.values())
        done, evidence = 0, test_evidence(catalogue, subject, batch_size=batch_size)
        built = {reader.simulator: reader_built(reader, catalogue, row, subject, known) for reader, _ in readers.sentences(todo)}
        failed: set[str] = set()
        for subgroup, part in found.parts.items():
            mine = [e for e in todo if subgroup not in have[e.id]]
            here = _Here(catalogue, where, subgroup, part, run, readers)
            progress(f"scoring on {where.name}", done, total)
            seen = replace(evidence, chunks=part.chunks, n_excerpts=part.n_excerpts, n_tokens=part.n_tokens, ids=part.ids, some=part.some, priority=None)
            if exact := readers.patterns(mine):
                here.store(exact, score_view(exact, seen, run=runner(subject, known)))
            here.store(left := readers.left(mine), [Score.unscored(e.id, "simulation", "", "test", readers.unread[e.id]) for e in left])
            for reader, some in readers.sentences(mine):
                failed |= here.read(built[reader.simulator], some, seen, progress)
            done += part.n_excerpts
        progress(f"scoring on {where.name}", total, total)
    have = _have(catalogue, where, todo, readers)
    made = sum(len(have[e.id]) == len(found.parts) for e in todo)
    return replace(before, done=made, failed=len(failed), pending=len(todo) - made - len(failed))


@dataclass(frozen=True)
class _Here:
    """One group of the other corpus, and where its scores go."""

    catalogue: Catalogue
    where: _Where
    subgroup: str | None
    part: Part
    run: str
    readers: Readers

    def read(self, scorer: Any, labels: Sequence[Explanation], evidence: TestEvidence, progress: Progress) -> set[str]:
        """Sentences, on a sample each. Ids of those without a score because calls failed. scorer: a plug-in."""
        from autolabel.scorers.priorities import priority_samples

        failed: set[str] = set()

        def save(scores: Sequence[Score]) -> None:
            self.store([by_id[s.explanation] for s in scores], scores)
            note_unscored(self.catalogue, labels, scores, self.run, "score --corpus")
            failed.update(s.explanation for s in scores if calls_failed(s))

        by_id = {e.id: e for e in labels}
        stage = f"reading sentences on {self.where.name}"
        progress(stage, 0, len(labels))
        drawn = replace(evidence, priority=priority_samples(evidence, [e.unit for e in labels], scorer.seed))
        read_all(scorer, labels, drawn, save, lambda n: progress(stage, n, len(labels)))
        return failed

    def store(self, labels: Sequence[Explanation], scores: Sequence[Score]) -> None:
        """In place of what stands there, in one transaction."""
        from autolabel.scorers.report import imprecision

        if not labels:
            return
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        loose = imprecision(np.array([s.extra.get("df") for s in scores], np.float64), np.array([s.extra.get("n_documents") or 0 for s in scores]), "")
        for e, s, few in zip(labels, scores, loose, strict=True):
            u, x, exact = e.unit, s.extra, e.pattern is not None
            simulator, judge = (None, None) if calls_failed(s) else self.readers.by.get(e.id, (None, None))  # what failed is asked again
            why = few if exact else x.get("imprecise")
            reason = why if s.reason is None else s.reason.replace(" on test", " there").replace(" of test", " there") if simulator else s.reason
            values = (u.model, u.layer, u.site, u.index, u.side, e.id, self.where.id, self.where.name, self.subgroup, s.value, s.low, s.high, x.get("peak"),
                      x.get("peak_low"), x.get("peak_high"), self.part.n_excerpts if exact else s.n, x.get("n_documents"), reason, simulator, judge, self.run)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        with self.catalogue.writer() as writer:
            def replace_them(_connection: object) -> None:
                writer.delete("validity", "elsewhere = ? AND subgroup IS NOT DISTINCT FROM ? AND explanation IN (SELECT unnest(?::VARCHAR[]))",
                              [self.where.id, self.subgroup, [e.id for e in labels]])
                writer.insert("validity", columns)
            writer.write(replace_them)


def compared(catalogue: Catalogue, model: str = "") -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """(columns, rows): each corpus and group that a model's labels were scored on, how many of them a simulator read on
    a sample, how many can be relied on, their mean rho there and on test."""
    row = model_row(catalogue, model)
    columns = ("corpus", "subgroup", "labels", "sampled", "relied_on", "mean_there", "mean_on_test")
    rows = catalogue.read(
        "SELECT v.corpus, v.subgroup, count(*), count(*) FILTER (v.simulator <> 'pattern'), "
        "count(v.value) FILTER (v.reason IS NULL), avg(v.value) FILTER (v.reason IS NULL), "
        "avg(c.score) FILTER (v.reason IS NULL) FROM t_validity v JOIN choices c ON c.explanation = v.explanation AND c.model = v.model WHERE v.model = ? "
        "GROUP BY v.elsewhere, v.corpus, v.subgroup ORDER BY 1, 2", [row.name])
    return columns, veil_rows(columns, rows, failed(catalogue, row.name))


def chosen_labels(catalogue: Catalogue, row: ModelRow, units: str | Iterable[str] | None, limit: int | None, hierarchy: str, seed: int) -> list[Explanation]:
    """The chosen labels of a model or of some of its units, abstentions left out. Raises SettingsError where there is none."""
    wanted = None if units is None and limit is None else select_units(catalogue, row.name, units, seed=seed, limit=limit)
    chosen = {id for (id,) in catalogue.read("SELECT explanation FROM choices WHERE model = ? AND explanation IS NOT NULL", [row.name])}
    found = [e for e in read_explanations(catalogue, row.name, wanted) if e.id in chosen and e.abstained is None]
    if not found:
        raise SettingsError(f"{row.name} has no chosen labels{' among these units' if wanted is not None else ''}: run `autolabel choose` first")
    return runnable(found, concepts(hierarchy))


def _where(catalogue: Catalogue, row: ModelRow, specs: list[str], group: str, text_column: str, split_on: str, max_tokens: int, report: Report) -> _Where:
    sources = open_sources(specs, text_column=text_column, split_on=split_on or None, report=report)
    tokenizer, = catalogue.read("SELECT tokenizer FROM corpora WHERE id = ?", [row.corpus_id])[0]
    name = "+".join(part.name for part in sources.parts)
    return _Where(digest("elsewhere", VERSION, sources.identity(), row.name, row.hash, row.corpus_id, tokenizer, row.context, group, max_tokens),
                  sources, name, group)


def _have(catalogue: Catalogue, where: _Where, labels: Sequence[Explanation], readers: Readers) -> dict[str, set[str | None]]:
    """Explanation.id -> the groups where what is stored is what would be made."""
    by_id, have = {e.id: e for e in labels}, {e.id: set[str | None]() for e in labels}
    rows: list[tuple[str, str | None, *By]] = catalogue.read("SELECT explanation, subgroup, simulator, judge FROM t_validity WHERE elsewhere = ?", [where.id])
    for explanation, subgroup, *by in rows:
        if explanation in by_id and readers.settled(by_id[explanation], (by[0], by[1])):
            have[explanation].add(subgroup)
    return have


def _note(catalogue: Catalogue, row: ModelRow, where: _Where, found: Elsewhere, run: str) -> None:
    """What was read, and what was left out."""
    with catalogue.writer() as writer:
        writer.insert("elsewhere", {
            "id": [where.id], "model": [row.name], "corpus_id": [row.corpus_id], "corpus": [where.name], "specs": [json.dumps(where.sources.specs)],
            "key": [where.key], "subgroups": [len(found.parts)], "n_documents": [sum(len(part.documents) for part in found.parts.values())],
            "n_tokens": [sum(part.n_tokens for part in found.parts.values())], "left_out": [json.dumps(dict(found.left_out))], "run": [run]},
            ignore_existing=True)
