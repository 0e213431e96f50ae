"""A catalogue's three splits as values: what explainers may read, what candidates are compared on, what is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import CatalogueError
from autolabel.excerpts import Excerpts
from autolabel.neurons import QUANTILES, LayerStats, TypeMeans
from autolabel.protocols import ExplainSplit, SelectEvidence, TestEvidence
from autolabel.types import Side, Site, Split

if TYPE_CHECKING:
    from autolabel.catalogue import Catalogue
    from autolabel.protocols import Subject
    from autolabel.sampling.two_sided import Stored

_FLOATS = ("x_mean", "x_std", "x_min", "x_max", "mean", "std", "max", "firing_rate", "active_rate", "lexicality")


def explain_split(catalogue: Catalogue, subject: Subject, batch_size: int = 32) -> ExplainSplit:
    """What explainers may read. Raises CatalogueError where the subject is not extracted here."""
    @lru_cache(maxsize=2)  # a table takes up to 170 MB on the demo's model
    def load(layer: str, side: Side) -> TypeMeans:
        return _type_means(catalogue, subject.name, layer, side)
    return ExplainSplit(**_view(catalogue, subject, "explain", batch_size), type_means=load)


def select_evidence(catalogue: Catalogue, subject: Subject, batch_size: int = 32) -> SelectEvidence:
    """What candidates are compared on. Raises CatalogueError where the subject is not extracted here."""
    return SelectEvidence(**_view(catalogue, subject, "select", batch_size))


def test_evidence(catalogue: Catalogue, subject: Subject, batch_size: int = 32) -> TestEvidence:
    """What is reported; whoever reads it counts a look. Raises CatalogueError where the subject is not extracted here."""
    return TestEvidence(**_view(catalogue, subject, "test", batch_size))


test_evidence.__test__ = False  # type: ignore[attr-defined]  # no test function for pytest


def _view(catalogue: Catalogue, subject: Subject, split: Split, batch_size: int) -> dict[str, Any]:  # the fields of SplitView
    with catalogue.reading():  # opened once
        found = catalogue.read("SELECT corpus_id, hash FROM models WHERE name = ?", [subject.name])
        if not found:
            raise CatalogueError(f"{catalogue.path} has no complete extraction of {subject.name}: run `autolabel extract` first")
        corpus_id, have = str(found[0][0]), str(found[0][1])
        if have != subject.hash:
            raise CatalogueError(f"{catalogue.path} holds {subject.name} with other weights: {have}, not {subject.hash}")
        n_excerpts, n_tokens = catalogue.read("SELECT count(*), coalesce(sum(n_tokens), 0) FROM t_excerpts WHERE corpus_id = ? AND split = ?",
                                              [corpus_id, split])[0]
        stats = _stats(catalogue, subject)
    chunks: Callable[[], Iterator[Excerpts]] = lambda: catalogue.excerpts(corpus_id, split)
    some: Callable[[NDArray[np.int64]], Excerpts] = lambda ids: catalogue.some_excerpts(corpus_id, ids)
    priority: Callable[[str, Side, int], Stored] = lambda layer, side, neuron: _stored(catalogue, subject.name, layer, side, split, neuron)
    return {"subject": subject, "chunks": chunks, "n_excerpts": int(n_excerpts), "n_tokens": int(n_tokens),
            "stats": stats, "batch_size": batch_size, "ids": lambda: catalogue.excerpt_ids(corpus_id, split),
            "some": some, "priority": None if split == "explain" else priority}


def _stored(catalogue: Catalogue, model: str, layer: str, side: Side, split: Split, neuron: int) -> Stored:
    from autolabel.sampling.two_sided import Stored

    rows = catalogue.columns("SELECT excerpt, s, key FROM priority WHERE model = ? AND layer = ? AND side = ? AND split = ? AND neuron = ? "
                             "ORDER BY rank", [model, layer, side, split, neuron])
    return Stored(np.asarray(rows["excerpt"], np.int64), np.asarray(rows["s"], np.float64), np.asarray(rows["key"], np.float64))


def _stats(catalogue: Catalogue, subject: Subject) -> Mapping[tuple[str, Side], LayerStats]:
    stats: dict[tuple[str, Side], LayerStats] = {}
    for site in subject.sites:
        for side in site.sides:
            one = _layer(catalogue, subject.name, site, side)
            if one is not None:
                stats[site.layer, side] = one
    return stats


def _layer(catalogue: Catalogue, model: str, site: Site, side: Side) -> LayerStats | None:
    """None where the layer was not extracted."""
    key = [model, site.layer, site.name, side]
    where = "FROM units WHERE model = ? AND layer = ? AND site = ? AND side = ? ORDER BY neuron"
    rows = catalogue.columns(f"SELECT neuron, n_tokens, {', '.join(_FLOATS)} {where}", key)
    if not len(rows["neuron"]):
        return None
    if not np.array_equal(rows["neuron"], np.arange(site.width)):
        raise CatalogueError(f"{catalogue.path} holds {len(rows['neuron'])} of the {site.width} units of {model}/{site.layer}-{site.name}: "
                             "extract it again")
    flat = catalogue.columns(f"SELECT unnest(quantiles) AS q FROM (SELECT quantiles {where})", key)["q"]
    floats: dict[str, NDArray[np.float64]] = {name: np.asarray(rows[name], np.float64) for name in _FLOATS}
    return LayerStats(site=site, side=side, n_tokens=int(rows["n_tokens"][0]),
                      quantiles=np.asarray(flat, np.float64).reshape(site.width, len(QUANTILES)), **floats)


def _type_means(catalogue: Catalogue, model: str, layer: str, side: Side) -> TypeMeans:
    key = [model, layer, side]
    where = "WHERE model = ? AND layer = ? AND side = ? ORDER BY"
    with catalogue.reading():
        types = catalogue.columns(f"SELECT type, n, mean FROM type_means {where} type", key)
        places = catalogue.columns(f"SELECT position, n, mean FROM position_means {where} position", key)
    return TypeMeans(np.asarray(types["type"], np.int64), np.asarray(types["n"], np.int64), _rows(types["mean"], np.float16),
                     np.asarray(places["n"], np.int64), _rows(places["mean"], np.float32))


def _rows(blobs: NDArray[Any], kind: type[np.floating[Any]]) -> NDArray[np.float32]:
    """One BLOB a row -> [rows, U] float32."""
    if not len(blobs):
        return np.zeros((0, 0), np.float32)
    out = np.empty((len(blobs), len(blobs[0]) // np.dtype(kind).itemsize), np.float32)
    for row, blob in zip(out, blobs, strict=True):
        row[:] = np.frombuffer(blob, kind)
    return out
