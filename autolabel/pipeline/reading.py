"""Statistics, records and excerpts of units, read from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.neurons import QUANTILES
from autolabel.types import ActivationRecord, Excerpt, Exemplars, Side, Split, Unit, UnitStats

BLOCK = 512  # units read at once: 25,000 records of 64 tokens
Key = tuple[str, str, str, Side]  # model, layer, site, side


def read_exemplars(catalogue: Catalogue, units: Iterable[Unit], split: Split = "explain") -> Iterator[Exemplars]:
    """Statistics (of explain, whatever the split) and stored records of each unit, in the order of `units`.

    Records: the top 20 by rank, then strata from the highest to the lowest (explain only), then the random set. One query per
    layer, side and BLOCK units. Memory does not grow with their number.
    """
    for key, group in groupby(units, key=key_of):
        several = list(group)
        corpus_id = corpus_of(catalogue, key[0])
        for first in range(0, len(several), BLOCK):
            part = several[first:first + BLOCK]
            numbers = [unit.index for unit in part]
            stats, records = read_stats(catalogue, key, numbers), _records(catalogue, corpus_id, key, split, numbers)
            yield from (Exemplars(unit, stats[unit.index], tuple(records.get(unit.index, ()))) for unit in part)


def corpus_of(catalogue: Catalogue, model: str) -> str:
    """The id of the corpus that a model was extracted on."""
    return str(catalogue.read("SELECT corpus_id FROM models WHERE name = ?", [model])[0][0])


def key_of(unit: Unit) -> Key:
    """What one query can read together."""
    return unit.model, unit.layer, unit.site, unit.side


def read_stats(catalogue: Catalogue, key: Key, numbers: Sequence[int]) -> dict[int, UnitStats]:
    """Neuron -> statistics of the explain split, top tokens included."""
    rows = catalogue.read(
        "SELECT neuron, n_tokens, firing_rate, active_rate, mean, std, x_min, max, quantiles, lexicality, top_tokens FROM units "
        "WHERE model = ? AND layer = ? AND site = ? AND side = ? AND list_contains(?, neuron)", [*key, list(numbers)])
    strong = QUANTILES.index(0.99)
    return {neuron: UnitStats(n, firing, active, mean, std, low, high, 0.2 * high, quantiles[strong], tuple(quantiles), eta, tuple(tokens or ()))
            for neuron, n, firing, active, mean, std, low, high, quantiles, eta, tokens in rows}


def read_excerpts(catalogue: Catalogue, corpus_id: str, ids: Iterable[int]) -> dict[int, Excerpt]:
    """Excerpts by id."""
    rows = catalogue.read("SELECT id, document, start, token_ids, char_start, char_end, text FROM t_excerpts WHERE corpus_id = ? "
                          "AND id IN (SELECT unnest(?::BIGINT[]))", [corpus_id, sorted(set(ids))])
    return {id: Excerpt(id, document, start, tuple(tokens), tuple(zip(begins, ends, strict=True)), text)
            for id, document, start, tokens, begins, ends, text in rows}


def _records(catalogue: Catalogue, corpus_id: str, key: Key, split: Split, numbers: Sequence[int]) -> dict[int, list[ActivationRecord]]:
    rows: list[Any] = catalogue.read(
        "SELECT neuron, band, excerpt, activations, weight FROM activations WHERE model = ? AND layer = ? AND site = ? AND side = ? "
        "AND split = ? AND neuron IN (SELECT unnest(?::INTEGER[])) ORDER BY neuron, band DESC, rank", [*key, split, list(numbers)])
    excerpts = read_excerpts(catalogue, corpus_id, (row[2] for row in rows))
    found: dict[int, list[ActivationRecord]] = {}
    for neuron, band, excerpt, activations, weight in rows:
        found.setdefault(neuron, []).append(ActivationRecord(excerpts[excerpt], tuple(activations), band, weight))
    return found
