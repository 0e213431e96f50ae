"""Hard negatives: excerpts of the explain split that should activate a unit, and hardly do.

* `negative:token`: the tokens at which the unit is strongest, without effect
* `negative:near`: the excerpts nearest to its top ones, by sentence embedding
* `negative:neighbour`: the top excerpts of the units of its layer that share most of its own

The records of the catalogue do not hold them, so the subject reads the candidates: each distinct excerpt once, whatever the number of units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.excerpts import Excerpts
from autolabel.explainers.showing import NEGATIVES, peak_tokens
from autolabel.pipeline.labels import embedder
from autolabel.pipeline.reading import Key, corpus_of, read_excerpts
from autolabel.protocols import ExplainSplit
from autolabel.render import ACTIVE, level
from autolabel.types import ActivationRecord, Excerpt, Exemplars, Site

if TYPE_CHECKING:
    import torch

KEPT = 5  # records of each band
CANDIDATES = 24  # excerpts looked at for each band and unit
WEAK = 4  # the highest level that a negative may reach anywhere
PEAKS = 4  # tokens of a unit whose other occurrences are looked at
NEIGHBOURS = 3  # units whose top excerpts are looked at
POOL = 1024  # excerpts of explain, in hash order, among which the nearest are looked for
QUERY = 5  # top excerpts that say what is near

Candidates = dict[int, list[int]]  # neuron -> excerpt ids, the likeliest first


def with_negatives(catalogue: Catalogue, key: Key, several: Sequence[Exemplars], split: ExplainSplit, bands: Iterable[str]) -> list[Exemplars]:
    """The same units with up to KEPT records of each of `bands` behind their own; fewer where a unit is hardly ever silent.

    All units are of one model, layer, site and side. Raises ExtraError where `negative:near` has no embedding model.
    """
    corpus_id = corpus_of(catalogue, key[0])
    find = {"negative:token": lambda: _same_token(catalogue, corpus_id, several), "negative:near": lambda: _near(catalogue, corpus_id, several, split),
            "negative:neighbour": lambda: _neighbours(catalogue, key, several)}
    found = {band: find[band]() for band in NEGATIVES if band in set(bands)}
    wanted: dict[int, list[int]] = {}  # excerpt id -> neurons
    for exemplars in several:
        taken = {r.excerpt.id for r in exemplars.records if r.band == "top"}
        for candidates in found.values():
            neuron = exemplars.unit.index
            candidates[neuron] = [i for i in dict.fromkeys(candidates.get(neuron, ())) if i not in taken][:CANDIDATES]
            for i in candidates[neuron]:
                wanted.setdefault(i, []).append(neuron)
    excerpts = read_excerpts(catalogue, corpus_id, wanted)
    activations = _activations(split, key, list(excerpts.values()), wanted)
    return [_added(one, {band: candidates[one.unit.index] for band, candidates in found.items()}, excerpts, activations) for one in several]


def _added(exemplars: Exemplars, found: Mapping[str, Sequence[int]], excerpts: Mapping[int, Excerpt],
           activations: Mapping[tuple[int, int], tuple[float, ...]]) -> Exemplars:
    """The weakest candidates of each band, an excerpt once."""
    largest, peaks = exemplars.stats.max, set(peak_tokens(exemplars)[:PEAKS])
    records, used = list(exemplars.records), set[int]()
    for band, ids in found.items():
        kept = []
        for place, i in enumerate(ids):
            levels = [level(a, largest) for a in activations[exemplars.unit.index, i]]
            at = [n for n, token in zip(levels, excerpts[i].tokens, strict=True) if token in peaks]
            if i not in used and max(levels) <= WEAK and (band != "negative:token" or max(at, default=0) < ACTIVE):
                kept.append((max(levels), place, i))
        for _, _, i in sorted(kept)[:KEPT]:
            used.add(i)
            records.append(ActivationRecord(excerpts[i], activations[exemplars.unit.index, i], band))
    return replace(exemplars, records=tuple(records))


def _same_token(catalogue: Catalogue, corpus_id: str, several: Sequence[Exemplars]) -> Candidates:
    peaks = {one.unit.index: peak_tokens(one)[:PEAKS] for one in several}
    types = sorted({token for tokens in peaks.values() for token in tokens})
    rows = catalogue.read("SELECT type, min(id, 64) FROM (SELECT DISTINCT id, unnest(token_ids) AS type FROM t_excerpts WHERE corpus_id = ? "
                          "AND split = 'explain' AND list_has_any(token_ids, ?::INTEGER[])) WHERE list_contains(?::INTEGER[], type) GROUP BY type",
                          [corpus_id, types, types])
    where = {token: ids for token, ids in rows}
    return {neuron: _in_turn([where.get(token, []) for token in tokens]) for neuron, tokens in peaks.items()}


def _near(catalogue: Catalogue, corpus_id: str, several: Sequence[Exemplars], split: ExplainSplit) -> Candidates:
    from autolabel.embeddings import default_embedder
    from autolabel.patterns.embedded import vectors

    model = embedder() or default_embedder()  # the latter says which package is missing
    if "pool" not in split.memo:
        rows = catalogue.read("SELECT id, text FROM t_excerpts WHERE corpus_id = ? AND split = 'explain' ORDER BY id LIMIT ?", [corpus_id, POOL])
        split.memo["pool"] = [row[0] for row in rows], vectors(model, [row[1] for row in rows])
    ids, matrix = split.memo["pool"]
    found: Candidates = {}
    for one in several:
        texts = [r.excerpt.text for r in one.records if r.band == "top"][:QUERY]
        if texts:
            likeness = matrix @ vectors(model, texts).mean(0)
            found[one.unit.index] = [ids[i] for i in np.argsort(-likeness, kind="stable")[:2 * CANDIDATES].tolist()]
    return found


def _neighbours(catalogue: Catalogue, key: Key, several: Sequence[Exemplars]) -> Candidates:
    top = "FROM activations WHERE model = ? AND layer = ? AND site = ? AND side = ? AND split = 'explain' AND band = 'top'"
    rows = catalogue.read(
        f"WITH mine AS (SELECT neuron, excerpt {top} AND list_contains(?::INTEGER[], neuron)), other AS (SELECT neuron, excerpt, rank {top}), "
        "near AS (SELECT m.neuron AS u, o.neuron AS v, count(*) AS n FROM mine m JOIN other o USING (excerpt) WHERE m.neuron <> o.neuron "
        f"GROUP BY m.neuron, o.neuron QUALIFY row_number() OVER (PARTITION BY m.neuron ORDER BY count(*) DESC, o.neuron) <= {NEIGHBOURS}) "
        "SELECT u, o.excerpt FROM near JOIN other o ON o.neuron = v ANTI JOIN mine m ON m.neuron = u AND m.excerpt = o.excerpt ORDER BY u, o.rank, n DESC, v",
        [*key, [one.unit.index for one in several], *key])
    found: Candidates = {}
    for neuron, excerpt in rows:
        found.setdefault(neuron, []).append(excerpt)
    return found


def _activations(split: ExplainSplit, key: Key, excerpts: Sequence[Excerpt],
                 wanted: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], tuple[float, ...]]:
    """(neuron, excerpt id) -> a per token."""
    if not excerpts:
        return {}
    site, sign = next(s for s in split.subject.sites if (s.layer, s.name) == (key[1], key[2])), -1 if key[3] == "-" else 1
    columns = Excerpts.build([e.id for e in excerpts], [e.document for e in excerpts], [e.document for e in excerpts], [e.start for e in excerpts],
                             [np.array(e.tokens, np.int64) for e in excerpts], [np.array([a for a, _ in e.offsets], np.int64) for e in excerpts],
                             [np.array([b for _, b in e.offsets], np.int64) for e in excerpts], [e.text for e in excerpts])
    found: dict[tuple[int, int], tuple[float, ...]] = {}
    for batch in columns.batches(split.batch_size):
        def visit(_site: Site, x: torch.Tensor, span: slice, ids: Sequence[int] = tuple(columns.id[batch.rows].tolist())) -> None:
            for row, i in enumerate(ids):
                a = (sign * x[row, span][:, list(wanted[i])]).clamp_min(0).T.tolist()
                found.update({(neuron, i): tuple(values) for neuron, values in zip(wanted[i], a, strict=True)})
        split.subject.run(batch.tokens, [site], visit)
    return found


def _in_turn(columns: Sequence[Sequence[int]]) -> list[int]:
    """The first of each, then the second of each, ..."""
    return [column[i] for i in range(max(map(len, columns), default=0)) for column in columns if i < len(column)]
