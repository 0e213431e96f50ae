"""`score --corpus`: the labels that were chosen, scored on another corpus or on each group of one. Nothing is labelled anew.

rho and peak as on test, exact, all labels in one pass; no look at the catalogue's own test split. What a label is worth beyond its
corpus is its least score over all of them (view `weakest`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autolabel.audited import failed, veil_rows
from autolabel.catalogue import Catalogue
from autolabel.corpus import Report, Sources, open_sources
from autolabel.elsewhere import Elsewhere, Part, read_elsewhere
from autolabel.errors import SettingsError
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import read_explanations, runnable, runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, model_row, recorded, subject_of
from autolabel.types import Explanation, Score, digest

VERSION = 1  # part of the name of what was read
SENTENCE = "a sentence without a pattern: it is not read on other corpora"
COLUMNS = ("model", "layer", "site", "neuron", "side", "explanation", "elsewhere", "corpus", "subgroup", "value", "low", "high", "peak", "peak_low",
           "peak_high", "n", "n_documents", "reason", "run")


@dataclass(frozen=True, slots=True)
class _Where:
    """What is read, before it is."""

    id: str  # names sources, model corpus, tokens and group
    sources: Sources
    name: str
    key: str  # column of metadata; empty: no groups


def score_on(catalogue: Catalogue, corpus: str | Sequence[str], *, group: str = "", units: str | Iterable[str] | None = None, limit: int | None = None,
             model: str = "", hierarchy: str = "", text_column: str = "text", split_on: str = "", max_tokens: int = 0, seed: int = 0, batch_size: int = 32,
             device: str = "auto", dtype: str = "auto", threads: int = 0, redo: bool = False, progress: Progress = silent,
             notes: Callable[[str], None] = lambda text: None) -> Count:
    """Score the chosen labels on another corpus (`contrast:parallel`, files, folders, `demo`, ...), or on each group of one.

    group: a column of metadata, as in `language`: one score for each of its values. max_tokens: of the other corpus; 0: two million.
    Documents that explain or select hold too, and their near-duplicates, are left out, and told to `notes`. Labels without a pattern
    are counted with the reason. The same call again does nothing. Raises CorpusError, SettingsError.
    """
    row = model_row(catalogue, model)
    labels = chosen_labels(catalogue, row, units, limit, hierarchy, seed)
    report = Report()
    where = _where(catalogue, row, [corpus] if isinstance(corpus, str) else list(corpus), group, text_column, split_on, max_tokens, report)
    if redo:
        with catalogue.writer() as writer:
            writer.delete("validity", "elsewhere = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))", [where.id, [e.id for e in labels]])
    have = _have(catalogue, where)
    whole = catalogue.read("SELECT subgroups FROM elsewhere WHERE id = ?", [where.id])
    todo = [e for e in labels if not whole or len(have.get(e.id, ())) < whole[0][0]]
    before = Count(len(labels), 0, len(labels) - len(todo), 0, 0)
    if not todo:
        return before
    known = concepts(hierarchy)
    subject: Any = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    with recorded(catalogue, "score --corpus", {"specs": where.sources.specs, "group": group, "units": units, "limit": limit, "hierarchy": known.hash},
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
        for subgroup, part in found.parts.items():
            mine = [e for e in todo if subgroup not in have.get(e.id, ())]
            progress(f"scoring on {where.name}", done, total)
            seen = replace(evidence, chunks=part.chunks, n_excerpts=part.n_excerpts, n_tokens=part.n_tokens, ids=None, some=None, priority=None)
            scores = score_view(mine, seen, run=runner(subject, known)) if mine else []
            _store(catalogue, mine, scores, where, subgroup, part, run)
            done += part.n_excerpts
        progress(f"scoring on {where.name}", total, total)
    return replace(before, done=len(todo))


def compared(catalogue: Catalogue, model: str = "") -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """(columns, rows): each corpus and group that a model's labels were scored on, how many can be relied on, their mean rho there and on test."""
    row = model_row(catalogue, model)
    columns = ("corpus", "subgroup", "labels", "relied_on", "mean_there", "mean_on_test")
    rows = catalogue.read(
        "SELECT v.corpus, v.subgroup, count(*), count(v.value) FILTER (v.reason IS NULL), avg(v.value) FILTER (v.reason IS NULL), "
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


def _have(catalogue: Catalogue, where: _Where) -> dict[str, set[str | None]]:
    have: dict[str, set[str | None]] = {}
    for explanation, subgroup in catalogue.read("SELECT explanation, subgroup FROM t_validity WHERE elsewhere = ?", [where.id]):
        have.setdefault(explanation, set()).add(subgroup)
    return have


def _note(catalogue: Catalogue, row: ModelRow, where: _Where, found: Elsewhere, run: str) -> None:
    """What was read, and what was left out."""
    with catalogue.writer() as writer:
        writer.insert("elsewhere", {
            "id": [where.id], "model": [row.name], "corpus_id": [row.corpus_id], "corpus": [where.name], "specs": [json.dumps(where.sources.specs)],
            "key": [where.key], "subgroups": [len(found.parts)], "n_documents": [sum(len(part.documents) for part in found.parts.values())],
            "n_tokens": [sum(part.n_tokens for part in found.parts.values())], "left_out": [json.dumps(dict(found.left_out))], "run": [run]},
            ignore_existing=True)


def _store(catalogue: Catalogue, labels: Sequence[Explanation], scores: Sequence[Score], where: _Where, subgroup: str | None, part: Part, run: str) -> None:
    """The scores of one group, in one transaction."""
    from autolabel.scorers.report import imprecision

    if not labels:
        return
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    loose = imprecision(np.array([s.extra.get("df") for s in scores], np.float64), np.array([s.extra.get("n_documents") or 0 for s in scores]), "")
    for e, s, why in zip(labels, scores, loose, strict=True):
        u, x = e.unit, s.extra
        reason = SENTENCE if e.pattern is None else why if s.reason is None else s.reason.replace(" on test", " there").replace(" of test", " there")
        values = (u.model, u.layer, u.site, u.index, u.side, e.id, where.id, where.name, subgroup, s.value, s.low, s.high, x.get("peak"),
                  x.get("peak_low"), x.get("peak_high"), part.n_excerpts, x.get("n_documents"), reason, run)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    with catalogue.writer() as writer:
        writer.insert("validity", columns)
