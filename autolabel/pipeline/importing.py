"""Replies that somebody else's LLM gave to this program's own prompts: read and stored as if the call had been ours.

A line of the file is {"unit": "minilm/3-mlp/7", "prompt": digest of the prompt that it answers, "llm": family of the model, "reply": ...}.
Where the prompt made here has another digest (activations are rounded, and on another CPU one may fall the other way), the label is
marked `stale_prompt` and scored all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import ReplyError, SettingsError, UnitError
from autolabel.pipeline.asked import corpus_of
from autolabel.pipeline.asking import Failure, failure_of
from autolabel.pipeline.explaining import insert
from autolabel.pipeline.failing import note_failures
from autolabel.pipeline.reading import read_exemplars
from autolabel.pipeline.selection import all_units
from autolabel.pipeline.session import model_row, recorded
from autolabel.registry import build
from autolabel.types import Call, Completion, Explanation, Unit

KEYS = frozenset({"unit", "prompt", "llm", "reply"})


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file of replies came to."""

    lines: int
    done: int  # stored now
    before: int  # were there already
    elsewhere: int  # units that this catalogue does not hold
    abstained: int  # of `done`
    stale: int  # of `done`: the prompt here has another digest
    failed: int  # replies that cannot be read: rows of `failures`


def import_replies(catalogue: Catalogue, path: str | Path, *, explainer: str = "structured", model: str = "") -> Imported:
    """Store the replies of a file as labels of `explainer`; what is there already is left alone. Raises SettingsError, naming the line that is wrong."""
    from autolabel.catalogue.calls import CallStore
    from autolabel.llms.answers import body_of

    row = model_row(catalogue, model)
    rows = read_file(Path(path))
    known = set(all_units(catalogue, row.name))
    asked = {unit: line for line in rows if (unit := Unit.parse(str(line["unit"]), row.name)) in known}
    have = {Unit(row.name, *key) for key in catalogue.read(
        "SELECT layer, site, neuron, side FROM explanations WHERE model = ? AND explainer = ? AND llm IS NOT NULL", [row.name, explainer])}
    todo = [unit for unit in all_units(catalogue, row.name) if unit in asked and unit not in have]
    counts = {"done": 0, "abstained": 0, "stale": 0}
    if not todo:
        return Imported(len(rows), before=len(asked), elsewhere=len(rows) - len(asked), failed=0, **counts)
    plugin: Any = build("explainers", explainer)
    made: list[Explanation] = []
    calls: list[Call] = []
    failures: list[Failure] = []
    for exemplars in read_exemplars(catalogue, todo):
        line = asked[exemplars.unit]
        prompt = plugin.prompt(exemplars)
        calls.append(Call(str(line["prompt"]), "explain", str(line["llm"]), "done", reply=body_of(Completion(str(line["reply"]))), excerpts=prompt.excerpts))
        try:
            one = plugin.read(exemplars, str(line["reply"]), str(line["llm"]))
        except ReplyError as error:
            failures.append(failure_of(exemplars.unit, error))
            continue
        if prompt.digest != line["prompt"]:
            one = replace(one, maker=replace(one.maker, settings={**one.maker.settings, "stale_prompt": True}))
            counts["stale"] += 1
        counts["abstained"] += one.abstained is not None
        made.append(one)
    with recorded(catalogue, "import", {"path": Path(path).name, "explainer": explainer}, model=row.name, model_hash=row.hash, corpus=row.corpus_id) as run:
        with CallStore(catalogue, run, corpus_of(catalogue)) as store:
            store.put_all(calls)
        insert(catalogue, made, explainer, run)
        note_failures(catalogue, [e.unit for e in made], failures, "explain", explainer, run)
    counts["done"] = len(made)
    return Imported(len(rows), before=len(asked) - len(todo), elsewhere=len(rows) - len(asked), failed=len(failures), **counts)


def read_file(path: Path) -> Sequence[Mapping[str, str]]:
    """The lines of a file of replies, checked."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except ValueError as error:
            raise SettingsError(f"{path}, line {number}: no JSON ({error})") from error
        if not isinstance(said, dict) or set(said) != KEYS or not all(isinstance(v, str) for v in said.values()):
            raise SettingsError(f"{path}, line {number}: it must have the texts {', '.join(sorted(KEYS))}, and nothing else")
        try:
            Unit.parse(said["unit"], "any")
        except UnitError as error:
            raise SettingsError(f"{path}, line {number}: {error}") from error
        rows.append(said)
    return rows
