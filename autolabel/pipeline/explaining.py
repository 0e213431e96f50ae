"""`explain`: candidate labels from the explain split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.pipeline.baselines import order_lists
from autolabel.pipeline.labels import concepts_of
from autolabel.pipeline.labels import hierarchy as concepts
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import model_row, recorded, subject_of
from autolabel.protocols import Explainer, ExplainSplit
from autolabel.registry import build, name_of, settings_of
from autolabel.types import Exemplars, Explanation, Unit

COMMIT = 2048  # explanations per commit


@dataclass(frozen=True, slots=True)
class Count:
    """What a verb did."""

    asked: int  # units or labels in all
    done: int  # made now
    before: int  # were there already
    abstained: int  # of `done`: no label, with a reason
    failed: int  # no result, with a reason in `failures`


def explain(catalogue: Catalogue, explainer: str | Explainer = "induce", *, units: str | Iterable[str] | None = None, model: str = "",
            limit: int | None = None, settings: Mapping[str, str] | None = None, hierarchy: str = "", seed: int = 0, batch_size: int = 32, device: str = "auto",
            dtype: str = "auto", threads: int = 0, redo: bool = False, progress: Progress = silent) -> Count:
    """Let one explainer propose labels. Units that it has answered before, with the same settings, are not asked again.

    hierarchy: a file of concepts of your own, for explainers named here that use concepts.
    """
    parts = {"hierarchy": concepts(hierarchy)}
    plugin: Explainer = build("explainers", explainer, settings, parts) if isinstance(explainer, str) else explainer
    name = explainer if isinstance(explainer, str) else name_of(plugin, "explainers")
    return explain_all(catalogue, {name: plugin}, units=units, model=model, limit=limit, seed=seed, batch_size=batch_size, device=device,
                       dtype=dtype, threads=threads, redo=redo, progress=progress)[name]


def explain_all(catalogue: Catalogue, explainers: Mapping[str, Explainer], *, units: str | Iterable[str] | None = None, model: str = "",
                limit: int | None = None, seed: int = 0, batch_size: int = 32, device: str = "auto", dtype: str = "auto", threads: int = 0,
                redo: bool = False, progress: Progress = silent) -> dict[str, Count]:
    """Several explainers on one view of the explain split, so that they share its forward pass. Name -> what was done."""
    from autolabel.splits import explain_split

    row = model_row(catalogue, model)
    asked = select_units(catalogue, row.name, units, seed=seed, limit=limit)
    split: ExplainSplit | None = None
    counts: dict[str, Count] = {}
    for name, plugin in explainers.items():
        fields = settings_of(plugin) | concepts_of(plugin)
        same = _same_runs(catalogue, row.name, name, fields)
        if redo and same:
            with catalogue.writer() as writer:
                writer.delete("explanations", "model = ? AND list_contains(?, run)", [row.name, same])
        before = _answered(catalogue, row.name, same)
        todo = [unit for unit in asked if unit not in before]
        counts[name] = Count(len(asked), 0, len(asked) - len(todo), 0, 0)
        if not todo:
            continue
        if split is None:
            split = explain_split(catalogue, subject_of(catalogue, row, device=device, dtype=dtype, threads=threads), batch_size=batch_size)
        with recorded(catalogue, "explain", {"explainer": name, "settings": fields, "units": units, "limit": limit}, model=row.name,
                      model_hash=row.hash, corpus=row.corpus_id, seed=seed) as run:
            counts[name] = _ask(catalogue, name, plugin, todo, split, run, counts[name], progress)
    return counts


def _ask(catalogue: Catalogue, name: str, plugin: Explainer, todo: list[Unit], split: ExplainSplit, run: str, count: Count,
         progress: Progress) -> Count:
    stage, done, abstained = f"explaining: {name}", 0, 0
    progress(stage, 0, len(todo))
    order_lists(catalogue, todo[0].model, split, list(dict.fromkeys((unit.layer, unit.side) for unit in todo)), run)
    made = iter(plugin.explain(_exemplars(todo, split), split))
    while part := list(islice(made, COMMIT)):
        _insert(catalogue, part, name, run)
        done += len(part)
        abstained += sum(e.abstained is not None for e in part)
        progress(stage, done, len(todo))
    return replace(count, done=done, abstained=abstained, failed=len(todo) - done)


def _same_runs(catalogue: Catalogue, model: str, name: str, fields: Mapping[str, Any]) -> list[str]:
    """The runs of this explainer with these very settings."""
    rows = catalogue.read("SELECT id, settings FROM runs WHERE model = ? AND command = 'explain'", [model])
    wanted = json.loads(json.dumps({"explainer": name, "settings": dict(fields)}, default=str))
    return [run for run, text in rows if {key: json.loads(text)[key] for key in wanted} == wanted]


def _answered(catalogue: Catalogue, model: str, runs: list[str]) -> set[Unit]:
    rows = catalogue.read("SELECT layer, site, neuron, side FROM explanations WHERE model = ? AND list_contains(?, run)", [model, runs])
    return {Unit(model, layer, site, neuron, side) for layer, site, neuron, side in rows}


def _exemplars(units: list[Unit], split: ExplainSplit) -> Iterator[Exemplars]:
    for unit in units:
        yield Exemplars(unit, split.stats[unit.layer, unit.side].unit(unit.index))


def _insert(catalogue: Catalogue, explanations: list[Explanation], name: str, run: str) -> None:
    rows: dict[str, list[Any]] = {key: [] for key in ("id", "model", "layer", "site", "neuron", "side", "text", "pattern", "explainer",
                                                      "settings", "llm", "prompt", "abstained", "cost_usd", "run")}
    for made in explanations:
        settings = json.dumps(dict(made.maker.settings), sort_keys=True, default=str)
        e = replace(made, maker=replace(made.maker, explainer=name, settings=json.loads(settings)))  # as it will be read back: same id
        values = (e.id, e.unit.model, e.unit.layer, e.unit.site, e.unit.index, e.unit.side, e.text, e.pattern, name, settings,
                  e.maker.llm, e.maker.prompt, e.abstained, 0.0, run)
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)
    with catalogue.writer() as writer:
        writer.insert("explanations", rows, ignore_existing=True)
