"""Names of plug-ins: name -> `module:Class`, imported on first use.

Built-ins stand in the table below; others come from entry points (`autolabel.explainers`, `autolabel.simulators`,
`autolabel.scorers`) or are named in full, `my_pkg.mod:Class`. An unknown name is an error that lists the known ones.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Literal

from autolabel.errors import SettingsError

Kind = Literal["explainers", "simulators", "scorers"]
KINDS: tuple[Kind, ...] = ("explainers", "simulators", "scorers")

BUILT_IN: Mapping[Kind, Mapping[str, str]] = {
    "explainers": {
        "constant": "autolabel.explainers.constant:Constant",
        "contrastive": "autolabel.explainers.contrastive:Contrastive",
        "highlight": "autolabel.explainers.highlight:Highlight",
        "induce": "autolabel.explainers.induce:Induce",
        "input_output": "autolabel.explainers.input_output:InputOutput",
        "ngram": "autolabel.explainers.ngram:Ngram",
        "structured": "autolabel.explainers.structured:Structured",
        "summary": "autolabel.explainers.summary:Summary",
        "token_activation": "autolabel.explainers.token_activation:TokenActivation",
        "tokens": "autolabel.explainers.tokens:Tokens",
    },
    "simulators": {
        "digits": "autolabel.simulators.digits:DigitsSimulator",
        "embedding": "autolabel.simulators.embedding:EmbeddingSimulator",
        "logprob": "autolabel.simulators.logprob:LogprobSimulator",
        "pattern": "autolabel.simulators.pattern:PatternSimulator",
    },
    "scorers": {
        "correlation": "autolabel.scorers.correlation:Correlation",
        "detection": "autolabel.scorers.detection:Detection",
        "embedding": "autolabel.scorers.embedding:EmbeddingScorer",
        "fuzzing": "autolabel.scorers.fuzzing:Fuzzing",
        "generative": "autolabel.scorers.generative:Generative",
        "intruder": "autolabel.scorers.intruder:Intruder",
        "simulation": "autolabel.scorers.simulation:SimulationScorer",
        "surprisal": "autolabel.scorers.surprisal:Surprisal",
    },
}


def targets(kind: Kind) -> dict[str, str]:
    """All known names of a kind and where each is imported from; built-ins win over entry points."""
    found = {point.name: point.value for point in entry_points(group=f"autolabel.{kind}")}
    return found | dict(BUILT_IN[kind])


def load(kind: Kind, name: str) -> type[Any]:
    """The class behind a registered name or `module:Class`. Raises SettingsError."""
    known = targets(kind)
    target = known.get(name, name)
    if ":" not in target:
        raise SettingsError(f"no {kind[:-1]} is called {name!r}: choose from {', '.join(sorted(known))}, or write module:Class")
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"cannot load the {kind[:-1]} {target}: {error}") from error
    if not isinstance(found, type):
        raise SettingsError(f"{target} is no class")
    return found


def part(default: Any = None) -> Any:
    """A field that holds another object (an LLM, an embedding model): given by the program, no setting and no provenance."""
    return dataclasses.field(default=default, repr=False, compare=False, metadata={"part": True})


def build(kind: Kind, name: str, settings: Mapping[str, str] | None = None, parts: Mapping[str, Any] | None = None) -> Any:
    """One plug-in with the given settings (`-E key=value`), each converted to the type of its field.

    `parts` go to the fields made with `part()` that have their names; a plug-in takes those it has. Raises SettingsError.
    """
    cls = load(kind, name)
    if not dataclasses.is_dataclass(cls):
        if settings:
            raise SettingsError(f"{name} takes no settings: it is no dataclass")
        return cls()
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and not f.metadata.get("part")}
    values: dict[str, Any] = {f.name: parts[f.name] for f in dataclasses.fields(cls) if parts and f.metadata.get("part") and f.name in parts}
    for key, text in (settings or {}).items():
        if key not in fields:
            raise SettingsError(f"{name} has no setting {key!r}: it has {', '.join(sorted(fields)) or 'none'}")
        values[key] = _convert(text, str(fields[key].type), f"{name}.{key}")
    return cls(**values)


def setting_names(kind: Kind, name: str) -> frozenset[str]:
    """The settings that a plug-in takes with `-E`. Raises SettingsError."""
    cls = load(kind, name)
    if not dataclasses.is_dataclass(cls):
        return frozenset()
    return frozenset(f.name for f in dataclasses.fields(cls) if f.init and not f.metadata.get("part"))


def name_of(plugin: object, kind: Kind) -> str:
    """The registered name of an object, or `module:Class`."""
    here = f"{type(plugin).__module__}:{type(plugin).__qualname__}"
    for name in targets(kind):
        try:
            if load(kind, name) is type(plugin):
                return name
        except SettingsError:
            continue
    return here


def settings_of(plugin: object) -> dict[str, Any]:
    """A plug-in's fields but its parts: its settings and its provenance."""
    if dataclasses.is_dataclass(plugin) and not isinstance(plugin, type):
        return {f.name: getattr(plugin, f.name) for f in dataclasses.fields(plugin) if not f.metadata.get("part")}
    return {}


def _convert(text: str, annotation: str, name: str) -> Any:
    try:
        if annotation.startswith("int"):
            return int(text)
        if annotation.startswith("float"):
            return float(text)
        if annotation.startswith("bool"):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
    except (ValueError, KeyError) as error:
        raise SettingsError(f"{name} must be {annotation}: {text!r} is not") from error
    return text
