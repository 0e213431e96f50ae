"""One neuron as a person wants to see it: what the catalogue knows of it, gathered into one value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from autolabel.audited import failed, veil
from autolabel.catalogue import Catalogue
from autolabel.errors import UnitError
from autolabel.pipeline.session import dicts, model_row
from autolabel.types import Unit
from autolabel.why import why


@dataclass(frozen=True, slots=True)
class Shown:
    """One excerpt with the strength of every token."""

    text: str  # of the excerpt
    spans: tuple[tuple[int, int], ...]  # characters [from, to) of each token
    activations: tuple[float, ...]  # a per token
    max_activation: float
    document: int
    corpus: str  # name of the corpus
    metadata: dict[str, Any]  # of the document


@dataclass(frozen=True, slots=True)
class Card:
    """What `autolabel show` prints. Statistics and excerpts are those of the explain split."""

    unit: str
    neuron: dict[str, Any]  # a row of the view `neurons`
    label: dict[str, Any] | None  # a row of the view `labels`; None before `choose`
    histogram: tuple[tuple[float, float, int], ...]  # of the excerpts' maxima: from, to, excerpts
    excerpts: tuple[Shown, ...]  # strongest first
    kind: dict[str, Any]  # a row of the view `kinds`
    senses: tuple[dict[str, Any], ...]  # rows of the view `senses`; none before `autolabel senses`
    candidates: tuple[dict[str, Any], ...]  # other labels of the unit, best first on select
    why: tuple[str, ...]  # the verdict with its reason: two lines where it is partial or contested, none before `choose`
    weakest: dict[str, Any] | None  # a row of the view `weakest`; None where the label was scored on no other corpus
    stale: tuple[dict[str, Any], ...]  # rows of the view `stale`: the label on other checkpoints


def read_card(catalogue: Catalogue, unit: str, *, model: str = "", top: int = 8) -> Card:
    """The card of a unit, addressed in any of the forms of `Unit.parse`. Raises UnitError."""
    name = Unit.parse(unit).model or model_row(catalogue, model).name
    address = Unit.parse(unit, name)
    where, key = "model = ? AND layer = ? AND site = ? AND neuron = ?", [address.model, address.layer, address.site, address.index]
    neurons = dicts(catalogue, f"SELECT * FROM neurons WHERE {where}", key)
    if not neurons:
        width = catalogue.read("SELECT count(*) FROM neurons WHERE model = ? AND layer = ?", key[:2])[0][0]
        layers = catalogue.read("SELECT DISTINCT layer, layer_order FROM neurons WHERE model = ? ORDER BY layer_order", key[:1])
        names = ", ".join(row[0] for row in layers) or "none"
        there = f"layer {address.layer} has neurons 0 to {width - 1}" if width else f"{address.model} has the layers {names}"
        raise UnitError(f"there is no unit {address} in {catalogue.path}: {there}")
    side = [*key, address.side]
    labels = dicts(catalogue, f"SELECT * FROM labels WHERE {where} AND side = ?", side)
    candidates = dicts(catalogue, f"SELECT * FROM candidates WHERE {where} AND side = ? ORDER BY select_score DESC NULLS LAST", side)
    nature = dicts(catalogue, f"SELECT * FROM kinds WHERE {where} AND side = ?", side)
    several = dicts(catalogue, f"SELECT * FROM senses WHERE {where} AND side = ? ORDER BY sense", side)
    bad = failed(catalogue, address.model)
    labels, candidates = [veil(row, bad) for row in labels], [veil(row, bad) for row in candidates]
    weakest = [veil(row, bad) for row in dicts(catalogue, f"SELECT * FROM weakest WHERE {where} AND side = ? AND corpora + left_out > 1", side)]
    stale = tuple(veil(row, bad) for row in dicts(catalogue, f"SELECT * FROM stale WHERE {where} AND side = ? ORDER BY subject", side))
    return Card(str(address), neurons[0], labels[0] if labels else None, _histogram(catalogue, where, side),
                _excerpts(catalogue, where, side, top), nature[0] if nature else {}, tuple(veil(row, bad) for row in several),
                tuple(candidates), why(catalogue, labels[0]) if labels else (), weakest[0] if weakest else None, stale)


def _excerpts(catalogue: Catalogue, where: str, key: list[Any], top: int) -> tuple[Shown, ...]:
    rows = catalogue.read(
        f"SELECT e.text, e.char_start, e.char_end, a.activations, a.max_activation, e.document, d.corpus, d.metadata FROM activations a "
        f"JOIN models m ON m.name = a.model JOIN t_excerpts e ON e.corpus_id = m.corpus_id AND e.id = a.excerpt "
        f"JOIN t_documents d ON d.corpus_id = e.corpus_id AND d.id = e.document "
        f"WHERE {where} AND side = ? AND a.split = 'explain' AND band = 'top' ORDER BY rank LIMIT ?", [*key, top])
    return tuple(Shown(text, tuple(zip(low, high, strict=True)), tuple(a), most, document, corpus, json.loads(meta) if meta else {})
                 for text, low, high, a, most, document, corpus, meta in rows)


def _histogram(catalogue: Catalogue, where: str, key: list[Any]) -> tuple[tuple[float, float, int], ...]:
    """Excerpts of explain by their maximum, in the ten strata of the extraction: the records' weights add up to the counts."""
    rows = catalogue.read(
        f"SELECT CAST(split_part(band, ':', 2) AS INTEGER) AS s, CAST(round(sum(weight)) AS BIGINT), min(max_activation), max(max_activation) "
        f"FROM exemplars WHERE {where} AND side = ? AND split = 'explain' AND band LIKE 'stratum:%' GROUP BY s ORDER BY s", key)
    return tuple((low, high, n) for _, n, low, high in rows)
