"""`score`: candidates are compared on the select split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.pipeline.baselines import read_lists, store_best
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.failing import note_unscored
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import read_explanations, runnable, runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.reader import Reader, check, read_all
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, model_row, recorded, subject_of
from autolabel.protocols import LLM, SelectEvidence
from autolabel.registry import build
from autolabel.types import Explanation, Score

if TYPE_CHECKING:
    from autolabel.scorers.entries import Run

Which = Literal["all", "sentences"]
Verdicts = Literal["now", "later"]

COLUMNS = ("explanation", "model", "split", "scorer", "simulator", "value", "low", "high", "n", "reason", "peak", "peak_low", "peak_high",
           "extra", "run")


def score(catalogue: Catalogue, *, scorer: str = "correlation", simulator: str = "", llm: LLM | None = None, prompts: str = "", concurrency: int = 8,
          settings: Mapping[str, str] | None = None, which: Which = "all", units: str | Iterable[str] | None = None, limit: int | None = None,
          model: str = "", hierarchy: str = "", seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto",
          threads: int = 0, redo: bool = False, verdicts: Verdicts = "now", progress: Progress = silent) -> Count:
    """Score on select every explanation that has no score of this scorer and simulator yet. Abstentions are counted, not scored.

    scorer `correlation` runs patterns over the whole split; `simulation` lets a simulator read labels on a sample; the others judge
    labels in the ways of the literature. simulator: of `simulation`; empty: the one that fits the LLM. llm: what they ask.
    settings: of the scorer. which: `all`, or `sentences`, those without a pattern. hierarchy: the file of concepts that the
    labels were made with, where it is one of your own. What the other scorers say may contest a chosen label: verdicts are judged anew,
    `now` or `later`, by who calls.
    """
    from autolabel.pipeline.judging import rejudge
    from autolabel.splits import select_evidence

    exact = scorer == "correlation"
    if exact and simulator not in ("", "pattern"):
        raise SettingsError(f"the scorer correlation runs patterns: with the simulator {simulator!r} write --scorer simulation")
    reader = Reader(scorer, "pattern" if exact else simulator, llm, settings or {}, prompts, concurrency)
    judge = "pattern" if exact else reader.judge
    build("scorers", scorer, settings)  # an unknown name is an error before anything is computed
    check(reader)
    row = model_row(catalogue, model)
    wanted = None if units is None and limit is None else select_units(catalogue, row.name, units, seed=seed, limit=limit)
    candidates = read_explanations(catalogue, row.name, wanted)
    if not candidates:
        raise SettingsError(f"{row.name} has no explanations yet: run `autolabel explain`")
    known = concepts(hierarchy)
    if redo:
        with catalogue.writer() as writer:
            writer.delete("scores", "model = ? AND split = 'select' AND scorer = ? AND simulator = ?", [row.name, scorer, judge])
    scored = {r[0] for r in catalogue.read("SELECT explanation FROM scores WHERE model = ? AND split = 'select' AND scorer = ? AND simulator = ? "
                                           "AND (value IS NOT NULL OR coalesce(try_cast(extra ->> 'failed' AS BIGINT), 0) = 0) "
                                           "AND coalesce(extra ->> 'judge', ?) = ?",  # the LLM that a simulator asked
                                           [row.name, scorer, judge, *[llm.name if llm is not None else ""] * 2])}
    # where calls failed and nothing came of it, or another LLM was asked, it is asked again
    asked = [e for e in runnable(candidates, known) if e.abstained is None and (which == "all" or e.pattern is None)]
    todo = [e for e in asked if e.id not in scored]
    before = Count(len(candidates), 0, len(asked) - len(todo), sum(e.abstained is not None for e in candidates), 0)
    if not todo:
        if verdicts == "now":
            rejudge(catalogue, row.name)
        return before
    subject = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)
    evidence = select_evidence(catalogue, subject, batch_size=batch_size)
    stage = "scoring on select" if exact else f"scoring on select: {scorer}"
    with recorded(catalogue, "score", {"scorer": scorer, "simulator": judge, "settings": dict(settings or {}), "units": units, "limit": limit,
                                       "hierarchy": known.hash}, model=row.name, model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
        progress(stage, 0, len(todo))
        if exact:
            _correlate(catalogue, row, todo, evidence, runner(subject, known), run)
            progress(stage, len(todo), len(todo))
            return replace(before, done=len(todo))

        def save(scores: Sequence[Score]) -> None:
            store_scores(catalogue, row, scores, run)
            note_unscored(catalogue, todo, scores, run)

        built = reader.build(catalogue, row, subject, known, {})
        done, unscored, failed, pending = read_all(built, todo, evidence, save, lambda n: progress(stage, n, len(todo)))
        if verdicts == "now":
            rejudge(catalogue, row.name)
        return replace(before, done=done, failed=failed, pending=pending, unscored=unscored)


def _correlate(catalogue: Catalogue, row: ModelRow, todo: Sequence[Explanation], evidence: SelectEvidence, run_patterns: Run, run: str) -> None:
    """Patterns, all at once, and with them the best word lists."""
    from autolabel.scorers.correlation import select_pass

    result = select_pass(todo, evidence, run=run_patterns, ranked=read_lists(catalogue, row.name))
    if result.baselines is not None:  # before the scores, which say that nothing is left to do
        store_best(catalogue, row.name, result.baselines, run)
    store_scores(catalogue, row, result.scores, run)


def store_scores(catalogue: Catalogue, row: ModelRow, scores: Sequence[Score], run: str) -> None:
    """Store scores in place of those of the same explanation, split, scorer and simulator, if any."""
    with catalogue.writer() as writer:
        def replace_them(_connection: object) -> None:  # one transaction
            for split, scorer, simulator in {(s.split, s.scorer, s.simulator) for s in scores}:
                mine = [s.explanation for s in scores if (s.split, s.scorer, s.simulator) == (split, scorer, simulator)]
                writer.delete("scores", "model = ? AND split = ? AND scorer = ? AND simulator = ? AND explanation IN (SELECT unnest(?::VARCHAR[]))",
                              [row.name, split, scorer, simulator, mine])
            writer.insert("scores", score_columns(row, scores, run))
        writer.write(replace_them)


def score_columns(row: ModelRow, scores: Sequence[Score], run: str) -> dict[str, list[Any]]:
    """Scores as columns of the table; peak and its interval have columns of their own, the other figures are JSON."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for s in scores:
        extra = dict(s.extra)
        peaks = [extra.pop(name, None) for name in ("peak", "peak_low", "peak_high")]
        extra.pop("reply", None)  # in `calls`, and of those without a score in `failures`
        values = (s.explanation, row.name, s.split, s.scorer, s.simulator, s.value, s.low, s.high, s.n, s.reason, *peaks, json.dumps(extra), run)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return columns
