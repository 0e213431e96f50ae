"""Explanations between the catalogue and the program, and what running their patterns needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import Catalogue
from autolabel.errors import ExtraError
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


def runner(subject: Subject) -> Run:
    """Runs patterns with the subject's vocabulary, the everyday hierarchy and the embedding model, each loaded when first needed."""
    from autolabel.patterns.run import run

    vocabulary: Sequence[str] = getattr(subject, "vocabulary", ())
    return lambda patterns, excerpts: run(patterns, excerpts, vocabulary=vocabulary, embedder=embedder(), hierarchy=hierarchy())


@lru_cache(maxsize=1)
def embedder() -> Embedder | None:
    """The embedding model; None where its package is missing: then a pattern that needs it says so."""
    from autolabel.embeddings import default_embedder

    try:
        return default_embedder()
    except ExtraError:
        return None


@lru_cache(maxsize=1)
def hierarchy() -> Hierarchy:
    """The hierarchy of everyday concepts."""
    from autolabel.hierarchy import Hierarchy

    return Hierarchy.default()
