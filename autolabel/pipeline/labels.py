"""Explanations between the catalogue and the program, and what running their patterns needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import Catalogue
from autolabel.errors import ExtraError, SettingsError
from autolabel.types import Explanation, Maker, Unit

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy
    from autolabel.patterns.embedded import Embedder
    from autolabel.protocols import Subject
    from autolabel.scorers.entries import Run

HUMAN = "human"  # the explainer of labels that a person gave with `score --unit --label`


def read_explanations(catalogue: Catalogue, model: str, units: Iterable[Unit] | None = None) -> list[Explanation]:
    """All explanations of a model, or of these units, in the order of layers, sides, neurons and explainers."""
    rows = catalogue.read(
        "SELECT e.layer, e.site, e.neuron, e.side, e.text, e.pattern, e.explainer, e.settings, e.llm, e.prompt, e.abstained FROM explanations e "
        "JOIN units u USING (model, layer, site, neuron, side) WHERE model = ? ORDER BY u.layer_order, e.side, e.neuron, e.explainer, e.id", [model])
    wanted = None if units is None else set(units)
    found = []
    for layer, site, neuron, side, text, pattern, explainer, settings, llm, prompt, abstained in rows:
        unit = Unit(model, layer, site, neuron, side)
        if wanted is None or unit in wanted:
            found.append(Explanation(unit, text, pattern, Maker(explainer, _settings(settings), llm, prompt), abstained))
    return found


@lru_cache(maxsize=256)
def _settings(text: str) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = json.loads(text)
    return settings


def runner(subject: Subject, hierarchy: Hierarchy) -> Run:
    """Runs patterns with the subject's vocabulary, this hierarchy and the embedding model, which is loaded when first needed."""
    from autolabel.patterns.run import run

    vocabulary: Sequence[str] = getattr(subject, "vocabulary", ())
    return lambda patterns, excerpts: run(patterns, excerpts, vocabulary=vocabulary, embedder=embedder(), hierarchy=hierarchy)


@lru_cache(maxsize=1)
def embedder() -> Embedder | None:
    """The embedding model; None where its package is missing: then a pattern that needs it says so."""
    from autolabel.embeddings import default_embedder

    try:
        return default_embedder()
    except ExtraError:
        return None


def hierarchy(file: str = "") -> Hierarchy:
    """The concepts of this file; the everyday ones where none is given. Raises SetupError, ExtraError."""
    from autolabel.assets import data_path

    path = Path(file) if file else data_path("hierarchy", "everyday.tsv")
    return _hierarchy(str(path), path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=2)
def _hierarchy(path: str, _changed: int) -> Hierarchy:
    from autolabel.hierarchy import Hierarchy

    return Hierarchy.load(path)


def concepts_of(plugin: object) -> dict[str, str]:
    """Which hierarchy a plug-in uses, for its provenance: {"hierarchy": sha256}, {} where it uses none."""
    used = getattr(plugin, "hierarchy", None)
    return {} if used is None else {"hierarchy": used.hash}


def runnable(explanations: Iterable[Explanation], used: Hierarchy) -> list[Explanation]:
    """Those that this hierarchy can run: a label that names concepts of another one is left out where its explainer has given
    the unit one with this hierarchy since. Raises SettingsError where it has not."""
    found = list(explanations)
    anew = {(e.unit, e.maker.explainer) for e in found if e.maker.settings.get("concepts") == used.hash}
    other = {e.id: made for e in found if isinstance(made := e.maker.settings.get("concepts"), str) and made != used.hash
             and e.pattern and '"concept"' in e.pattern}
    if not other:
        return found
    for e in found:
        if e.id in other and (e.unit, e.maker.explainer) not in anew:
            raise SettingsError(f"the label of {e.unit} was made with another concept hierarchy (sha256 {other[e.id][:12]}..., this one is "
                                f"{used.hash[:12]}...): give its file with --hierarchy, or explain these units with this one first")
    return [e for e in found if e.id not in other]
