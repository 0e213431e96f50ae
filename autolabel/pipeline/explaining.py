"""`explain`: candidate labels from the explain split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import LLMError, SettingsError
from autolabel.pipeline.baselines import order_lists
from autolabel.pipeline.exemplars import exemplars_for
from autolabel.pipeline.failing import note_failures
from autolabel.pipeline.labels import concepts_of
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import model_row, recorded, subject_of
from autolabel.protocols import LLM, Explainer, ExplainSplit
from autolabel.registry import build, name_of, settings_of
from autolabel.types import Exemplars, Explanation, Maker, Unit

COMMIT = 2048  # explanations per commit
CONCURRENCY = 8  # units that an LLM is asked about at a time
NEVER = "the unit never fires on explain"


@dataclass(frozen=True, slots=True)
class Count:
    """What a verb did."""

    asked: int  # units or labels in all
    done: int  # made now
    before: int  # were there already
    abstained: int  # of `done`: no label, with a reason
    failed: int  # no result, with a reason in `failures`
    pending: int = 0  # answers that come later, through files
    shortened: int = 0  # of `done`: excerpts were left out of the prompt, so that it fits
    unscored: int = 0  # no score, though no call failed: too few excerpts, or a label that says the same of every token


def explain(catalogue: Catalogue, explainer: str | Explainer = "induce", *, units: str | Iterable[str] | None = None, model: str = "",
            limit: int | None = None, settings: Mapping[str, str] | None = None, llm: LLM | None = None, prompts: str = "", concurrency: int = CONCURRENCY,
            hierarchy: str = "", seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0,
            redo: bool = False, progress: Progress = silent) -> Count:
    """Let one explainer propose labels. Units that it has answered before, with the same settings, are not asked again.

    llm: what explainers that ask an LLM ask (`llms.open_llm`); prompts: a folder of prompt templates of your own; concurrency: how
    many units are asked about at a time. A unit whose calls fail is a row of `failures`, and is asked about again by the next
    call. hierarchy: a file of concepts of your own, for explainers named here that use concepts.
    """
    parts = {"hierarchy": concepts(hierarchy), "llm": llm, "prompts": prompts or None}
    plugin: Explainer = build("explainers", explainer, settings, parts) if isinstance(explainer, str) else explainer
    name = explainer if isinstance(explainer, str) else name_of(plugin, "explainers")
    return explain_all(catalogue, {name: plugin}, units=units, model=model, limit=limit, concurrency=concurrency, seed=seed, batch_size=batch_size,
                       device=device, dtype=dtype, threads=threads, redo=redo, progress=progress)[name]


def explain_all(catalogue: Catalogue, explainers: Mapping[str, Explainer], *, units: str | Iterable[str] | None = None, model: str = "",
                limit: int | None = None, concurrency: int = CONCURRENCY, seed: int = 0, batch_size: int = 32, device: str = "auto",
                dtype: str = "auto", threads: int = 0, redo: bool = False, progress: Progress = silent) -> dict[str, Count]:
    """Several explainers on one view of the explain split, so that they share its forward pass. Name -> what was done."""
    from autolabel.splits import explain_split

    row = model_row(catalogue, model)
    asked = select_units(catalogue, row.name, units, seed=seed, limit=limit)
    split: ExplainSplit | None = None
    counts: dict[str, Count] = {}
    for name, plugin in explainers.items():
        fields, llm = settings_of(plugin) | concepts_of(plugin), getattr(plugin, "llm", None)
        maker = {"explainer": name, "settings": fields} | ({} if llm is None else {"llm": llm.name})
        same = _same_runs(catalogue, row.name, maker)
        if redo and same:
            with catalogue.writer() as writer:
                writer.delete("explanations", "model = ? AND list_contains(?, run)", [row.name, same])
        before = _answered(catalogue, row.name, same)
        todo = [unit for unit in asked if unit not in before]
        counts[name] = Count(len(asked), 0, len(asked) - len(todo), 0, 0)
        if not todo:
            continue
        if llm is None and hasattr(plugin, "llm"):
            raise SettingsError(f"the explainer {name} asks an LLM: name one with --llm, as in --llm openai/MODEL or --llm local/PATH")
        if split is None:
            split = explain_split(catalogue, subject_of(catalogue, row, device=device, dtype=dtype, threads=threads), batch_size=batch_size)
        with recorded(catalogue, "explain", {**maker, "units": units, "limit": limit}, model=row.name, model_hash=row.hash,
                      corpus=row.corpus_id, seed=seed) as run:
            order_lists(catalogue, row.name, split, list(dict.fromkeys((unit.layer, unit.side) for unit in todo)), run)
            if llm is None:
                counts[name] = _compute(catalogue, name, plugin, todo, split, run, counts[name], progress)
            else:
                counts[name] = _ask(catalogue, name, plugin, todo, split, run, counts[name], concurrency, progress)
    return counts


def _compute(catalogue: Catalogue, name: str, plugin: Explainer, todo: list[Unit], split: ExplainSplit, run: str, count: Count,
             progress: Progress) -> Count:
    """An explainer that needs no LLM: all units at once."""
    stage, done, abstained = f"explaining: {name}", 0, 0
    progress(stage, 0, len(todo))
    made = iter(plugin.explain(exemplars_for(catalogue, plugin, todo, lambda: split), split))
    with ThreadPoolExecutor(1, "store") as aside:  # a part is stored while the next is made
        stored: Future[None] | None = None
        while part := list(islice(made, COMMIT)):
            if stored is not None:
                stored.result()
                progress(stage, done, len(todo))
            stored = aside.submit(insert, catalogue, part, name, run)
            done += len(part)
            abstained += sum(e.abstained is not None for e in part)
        if stored is not None:
            stored.result()
            progress(stage, done, len(todo))
    return replace(count, done=done, abstained=abstained, failed=len(todo) - done)


def _ask(catalogue: Catalogue, name: str, plugin: Any, todo: list[Unit], split: ExplainSplit, run: str, count: Count, concurrency: int,
         progress: Progress) -> Count:
    """An explainer that asks an LLM: unit by unit. `plugin` is a dataclass with a part `llm`."""
    from autolabel.llms.asking import halt_of
    from autolabel.llms.billed import Billed
    from autolabel.pipeline.asking import Answer, Failure, ask_each

    stage = f"explaining: {name}"
    progress(stage, 0, len(todo))

    def ask(exemplars: Exemplars) -> Answer:
        if not exemplars.records or exemplars.stats.max <= 0:  # nothing to show: no call is made
            return Answer([Explanation(exemplars.unit, "", None, Maker(name, settings_of(plugin), plugin.llm.name), NEVER)], 0.0)
        billed, made = Billed(plugin.llm), []
        try:
            for explanation in replace(plugin, llm=billed).explain([exemplars], split):
                made.append(explanation)
        except LLMError as error:
            if error.fatal or not made:
                raise
            return Answer(made, billed.cost, error)
        return Answer(made, billed.cost)

    shortened: set[Unit] = set()

    def save(answers: Sequence[Answer], failures: Sequence[Failure]) -> None:
        shortened.update(e.unit for a in answers for e in a.explanations if e.maker.settings.get("dropped_excerpts"))
        made = [(e, None if a.cost_usd is None else a.cost_usd / len(a.explanations)) for a in answers for e in a.explanations]
        insert(catalogue, [e for e, _ in made], name, run, [cost for _, cost in made])
        note_failures(catalogue, [a.explanations[0].unit for a in answers], failures, "explain", name, run)

    out = ask_each(exemplars_for(catalogue, plugin, todo, lambda: split), ask, save, concurrency=concurrency,
                   progress=lambda done: progress(stage, done, len(todo)), halt=halt_of(plugin.llm))
    return replace(count, done=out.done, abstained=out.abstained, failed=out.failed, pending=out.pending, shortened=len(shortened))


def _same_runs(catalogue: Catalogue, model: str, maker: Mapping[str, Any]) -> list[str]:
    """The runs of this explainer with these very settings, and of this LLM."""
    rows = catalogue.read("SELECT id, settings FROM runs WHERE model = ? AND command = 'explain'", [model])
    wanted = json.loads(json.dumps({"llm": None, **maker}, default=str))
    return [run for run, text in rows if {key: json.loads(text).get(key) for key in wanted} == wanted]


def _answered(catalogue: Catalogue, model: str, runs: list[str]) -> set[Unit]:
    rows = catalogue.read("SELECT layer, site, neuron, side FROM explanations WHERE model = ? AND list_contains(?, run)", [model, runs])
    return {Unit(model, layer, site, neuron, side) for layer, site, neuron, side in rows}


def insert(catalogue: Catalogue, explanations: list[Explanation], name: str, run: str, costs: Sequence[float | None] | None = None) -> None:
    """Store explanations; `costs` in dollars, 0 where none are given."""
    rows: dict[str, list[Any]] = {key: [] for key in ("id", "model", "layer", "site", "neuron", "side", "text", "pattern", "explainer",
                                                      "settings", "llm", "prompt", "abstained", "cost_usd", "run")}
    for made, cost in zip(explanations, costs or [0.0] * len(explanations), strict=True):
        settings = json.dumps(dict(made.maker.settings), sort_keys=True, default=str)
        e = replace(made, maker=replace(made.maker, explainer=name, settings=json.loads(settings)))  # as it will be read back: same id
        values = (e.id, e.unit.model, e.unit.layer, e.unit.site, e.unit.index, e.unit.side, e.text, e.pattern, name, settings,
                  e.maker.llm, e.maker.prompt, e.abstained, cost, run)
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)
    with catalogue.writer() as writer:
        writer.insert("explanations", rows, ignore_existing=True)
