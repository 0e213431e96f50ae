"""`revise`: labels are tried on select, their worst mistakes go back to the LLM, and what it makes of them joins the candidates.

The revised labels of every round are candidates like any other: `choose` picks among all of them by their scores on select.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import PendingError, SettingsError
from autolabel.llms.asking import halt_of
from autolabel.llms.billed import Billed
from autolabel.llms.pool import ordered_map
from autolabel.pipeline.asking import failure_of
from autolabel.pipeline.exemplars import exemplars_for
from autolabel.pipeline.explaining import Count, insert
from autolabel.pipeline.failing import note_failures
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.labels import read_explanations, runner
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.reader import Reader
from autolabel.pipeline.reading import read_exemplars
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import model_row, recorded, subject_of
from autolabel.protocols import LLM
from autolabel.registry import build
from autolabel.types import Exemplars, Explanation


def revise(catalogue: Catalogue, explainer: str, *, llm: LLM | None, rounds: int = 2, settings: Mapping[str, str] | None = None, simulator: str = "",
           scorer_settings: Mapping[str, str] | None = None, units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "",
           prompts: str = "", hierarchy: str = "", concurrency: int = 8, seed: int = 0, batch_size: int = 32, device: str = "auto",
           dtype: str = "auto", threads: int = 0, progress: Progress = silent) -> Count:
    """Revise the labels that `explainer` has given, `rounds` times at most; new labels are stored, nothing is chosen.

    Patterns are tried over the whole of select, sentences by `simulator` on the records of select (empty: the one that fits the
    LLM). A call that fails is a row of `failures` (stage `revise`); the labels before it stand. Labels that were revised before,
    with the same answers, cost nothing: the answers are in the cache. Raises SettingsError where the explainer asks no LLM.
    """
    from autolabel.explainers import revise as rounds_of
    from autolabel.splits import explain_split, select_evidence

    if rounds < 1:
        raise SettingsError(f"{rounds} rounds of revision are none: write 1 or more")
    parts = {"llm": llm, "prompts": prompts or None}
    plugin: Any = build("explainers", explainer, settings, parts)
    if llm is None or not hasattr(plugin, "llm"):
        raise SettingsError(f"the explainer {explainer} is revised by the LLM that it asks: name one with --llm, and an explainer that asks one")
    row = model_row(catalogue, model)
    asked = set(select_units(catalogue, row.name, units, seed=seed, limit=limit))
    labels = [e for e in read_explanations(catalogue, row.name, asked)
              if e.maker.explainer == explainer and e.maker.llm == llm.name and e.abstained is None and "round" not in e.maker.settings]
    if not labels:
        return Count(0, 0, 0, 0, 0)
    subject, known = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads), concepts(hierarchy)
    evidence = select_evidence(catalogue, subject, batch_size=batch_size)
    run_patterns: Any = runner(subject, known)  # explainers and scorers each say for themselves what of its result they use
    seen = {e.unit: e for e in exemplars_for(catalogue, plugin, list(dict.fromkeys(e.unit for e in labels)), partial(explain_split, catalogue, subject))}
    shown = {e.unit: e for e in read_exemplars(catalogue, list(seen), "select")}
    reader = Reader("simulation", simulator, llm, scorer_settings or {}, prompts, concurrency).build(catalogue, row, subject, known, {})

    def find(some: Sequence[Explanation]) -> list[Any]:
        patterned = [e for e in some if e.pattern is not None]
        found = dict(zip((e.id for e in patterned), rounds_of.search(evidence, patterned, run_patterns), strict=True)) if patterned else {}
        return [found[e.id] if e.id in found else _read(reader.simulator, e, shown[e.unit]) for e in some]

    def score(some: Sequence[Explanation]) -> list[float | None]:
        from autolabel.scorers.correlation import score_select

        patterned = [e for e in some if e.pattern is not None]
        exact = {s.explanation: s for s in score_select(patterned, evidence, run=run_patterns)} if patterned else {}
        sampled = {s.explanation: s for s in reader.score([e for e in some if e.pattern is None], evidence)}
        merits = [(exact | sampled)[e.id].extra.get("objective") for e in some]
        return [float(m) if isinstance(m, int | float) else None for m in merits]

    stage = f"revising: {explainer}"
    progress(stage, 0, len(labels))
    billed = Billed(llm)
    each = partial(ordered_map, threads=concurrency, halt=halt_of(llm))
    with recorded(catalogue, "revise", {"explainer": explainer, "rounds": rounds, "units": units, "limit": limit}, model=row.name, model_hash=row.hash,
                  corpus=row.corpus_id, seed=seed) as run:
        try:
            done = rounds_of.revise(replace(plugin, llm=billed), [(seen[e.unit], e) for e in labels], find, score, rounds=rounds, each=each)
        except PendingError:
            return Count(len(labels), 0, 0, 0, 0, len(labels))
        fresh = [e for one in done for e, _ in one.tried[1:]]
        cost = None if billed.cost is None else billed.cost / max(1, len(fresh))
        insert(catalogue, fresh, explainer, run, [cost] * len(fresh))
        failed = [failure_of(e.unit, one.error) for e, one in zip(labels, done, strict=True) if one.error is not None]
        note_failures(catalogue, [e.unit for e in labels], failed, "revise", explainer, run)
    progress(stage, len(labels), len(labels))
    return Count(len(labels), len(fresh), 0, 0, len(failed))


def _read(simulator: Any, label: Explanation, records: Exemplars) -> Any:
    """The worst mistakes of a sentence among the records of select."""
    from autolabel.explainers.revise import Mistakes, from_simulations

    if not records.records:
        return Mistakes()
    return from_simulations(records.stats, records.records, simulator.simulate(label.text, [r.excerpt for r in records.records]))
