"""`prompt show`: exactly what an explainer, a simulator or a scorer would send for one unit. Nothing is sent."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import PendingError, SettingsError
from autolabel.explainers.estimate import tokens_of
from autolabel.pipeline.exemplars import exemplars_for, read_exemplars
from autolabel.pipeline.labels import HUMAN, read_explanations
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import ModelRow, model_row, subject_of
from autolabel.prompts import Prompt, prompt_digest
from autolabel.protocols import ExplainSplit, Message
from autolabel.registry import KINDS, Kind, build, load, targets
from autolabel.types import Ask, Completion, Explanation, Maker, Unit


@dataclass(frozen=True)
class Watching:
    """An LLM that keeps what it is asked, and answers nothing."""

    name: str = "nobody/shown"
    capabilities: frozenset[str] = frozenset({"json"})
    asked: list[tuple[tuple[Message, ...], Ask]] = field(default_factory=list)

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """Raises PendingError: as a call through files whose answer is not there yet."""
        self.asked.append((tuple(messages), ask))
        raise PendingError("only shown")


def show_prompt(catalogue: Catalogue, name: str, unit: str, *, settings: Mapping[str, str] | None = None, label: str = "", prompts: str = "",
                model: str = "", device: str = "auto", dtype: str = "auto", threads: int = 0) -> dict[str, Any]:
    """unit, messages, digest (of the messages), excerpts (ids shown), tokens (estimated), calls (made at once, of which this is the first).

    Of an explainer also template (digest of template and examples) and dropped (excerpts left out to fit). Simulators and scorers read a label:
    `label`, else the first of the unit's candidates; they see the select split. The subject is loaded only for what the catalogue does not
    hold. Raises SettingsError where the plug-in asks no LLM, or no label is there; UnitError.
    """
    kind = _kind(name)
    row = model_row(catalogue, Unit.parse(unit).model or model)
    address = select_units(catalogue, row.name, [unit])[0]
    compute = {"device": device, "dtype": dtype, "threads": threads}
    if kind == "explainers":
        def split() -> ExplainSplit:
            from autolabel.splits import explain_split

            return explain_split(catalogue, subject_of(catalogue, row, **compute))  # type: ignore[arg-type]  # names and a number

        plugin: Any = build(kind, name, settings, {"prompts": prompts or None})
        made: Prompt = plugin.prompt(next(exemplars_for(catalogue, plugin, [address], split)))
        return _shown(address, made.messages, made.excerpts, 1) | {"template": made.template, "dropped": made.dropped}
    watching = Watching()
    plugin = build(kind, name, settings, {"llm": watching, "prompts": prompts or None})
    with contextlib.suppress(PendingError):
        _judge(catalogue, kind, plugin, row, address, label or _stored(catalogue, address), compute)
    if not watching.asked:
        raise SettingsError(f"{name} asks nothing about {address}: too few of its excerpts can be told apart")
    messages, ask = watching.asked[0]
    return _shown(address, messages, ask.excerpts, len(watching.asked))


def _kind(name: str) -> Kind:
    """Where a plug-in that asks an LLM is registered. Raises SettingsError."""
    asking = {known: kind for kind in KINDS for known in ([name] if ":" in name else targets(kind)) if _asks(kind, known)}
    if name in asking:
        return "explainers" if ":" in name and hasattr(load("explainers", name), "explain") else asking[name]
    if any(name in targets(kind) for kind in KINDS):
        raise SettingsError(f"{name} asks no LLM, so it has no prompt")
    raise SettingsError(f"no explainer, simulator or scorer that asks an LLM is called {name!r}: choose from {', '.join(sorted(asking))}")


def _asks(kind: Kind, name: str) -> bool:
    found = load(kind, name)
    return dataclasses.is_dataclass(found) and "llm" in {f.name for f in dataclasses.fields(found)}


def _judge(catalogue: Catalogue, kind: Kind, plugin: Any, row: ModelRow, address: Unit, label: str, compute: Mapping[str, Any]) -> None:
    """Let a simulator or scorer ask."""
    if kind == "simulators":
        plugin.simulate(label, [r.excerpt for r in next(read_exemplars(catalogue, [address], "select")).records][:1])
        return
    from autolabel.splits import select_evidence

    plugin.score([Explanation(address, label, None, Maker(HUMAN))], select_evidence(catalogue, subject_of(catalogue, row, **compute)))


def _stored(catalogue: Catalogue, address: Unit) -> str:
    for one in read_explanations(catalogue, address.model, [address]):
        if one.abstained is None and one.text:
            return one.text
    raise SettingsError(f"{address} has no label yet: give one with --label")


def _shown(address: Unit, messages: Sequence[Message], excerpts: Sequence[int], calls: int) -> dict[str, Any]:
    return {"unit": str(address), "messages": list(messages), "digest": prompt_digest(messages), "excerpts": list(excerpts),
            "tokens": tokens_of(messages), "calls": calls}
