"""From accumulators to rows: each transaction replaces the rows of some layers in one split, so it can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.catalogue.arrow import Table
from autolabel.errors import SubjectError
from autolabel.sampling import kernels
from autolabel.sampling.kernels import NOBODY
from autolabel.sampling.observe import TOP, EvidenceSite, ExplainSite, Records
from autolabel.sampling.shared import RECORDS, quantiles
from autolabel.sampling.strata import PER_STRATUM, STRATA, Strata
from autolabel.sampling.typesums import TypeStatistics
from autolabel.threads import each
from autolabel.types import Side, Site, Split

if TYPE_CHECKING:
    import duckdb

    from autolabel.catalogue import Catalogue
    from autolabel.catalogue.writer import Writer

_TOP, _RANDOM = -2, -1  # codes of bands on the way into the file; strata are 0 to 9
_BAND = "CASE {0} WHEN -2 THEN 'top' WHEN -1 THEN 'random' ELSE 'stratum:' || {0} END"
ROWS = 300_000  # records of one commit, about: DuckDB writes full row groups once; two seconds, so that a reader is not kept waiting
_BLOBS = ("type_means", "position_means")  # tables of means
# tables that an extraction writes, and the column that names the model; kinds follow from them
WRITTEN = {"models": "name", **dict.fromkeys(("units", "activations", "type_means", "position_means", "priority", "t_kinds"), "model")}
Columns = dict[str, NDArray[Any]]  # whatever DuckDB stores
Rows = tuple[str, dict[str, Any], Columns]  # table, what all rows share, the rest


def grouped(sites: Sequence[Site], split: Split) -> Iterator[list[Site]]:
    """Sites whose records go into one commit, in order: the same rows in one commit cost half of what they cost in six."""
    group: list[Site] = []
    n, per_unit = 0, TOP + RECORDS + (STRATA * PER_STRATUM if split == "explain" else 0)
    for site in sites:
        rows = site.width * len(site.sides) * per_unit
        if group and n + rows > ROWS:
            yield group
            group, n = [], 0
        group.append(site)
        n += rows
    if group:
        yield group


def written(catalogue: Catalogue, model: str) -> bool:
    """Whether there are rows of this model that an extraction wrote."""
    some = " UNION ALL ".join(f"(SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1)" for table, column in WRITTEN.items())
    return bool(catalogue.read(some, [model] * len(WRITTEN)))


class Keeper:
    """Writes one model's rows on a thread of its own, in the order in which they are handed over, while the next pass goes on."""

    def __init__(self, writer: Writer, model: str, run: str, vocabulary: Sequence[str]) -> None:
        """vocabulary: token strings by id; what is not in it is shown as its number."""
        self.writer, self.model, self.run, self.vocabulary = writer, model, run, vocabulary
        self._thread = ThreadPoolExecutor(1, "keeper")
        self._maker = ThreadPoolExecutor(1, "columns", initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in (self._thread, self._maker):
            thread.shutdown(wait=True, cancel_futures=True)

    def clear(self) -> None:
        """Delete every row of this model that an extraction writes."""
        def work(con: duckdb.DuckDBPyConnection) -> None:
            for table, column in WRITTEN.items():
                con.execute(f"DELETE FROM {table} WHERE {column} = ?", [self.model])
        self.writer.write(work)

    def explain(self, gathered: Sequence[ExplainSite], n_excerpts: int) -> Future[None]:
        """Write all layers of explain: the commits to come. Tables by type are let go at once, all else a layer at a time.

        Raises SubjectError where a neuron is not finite.
        """
        for one in gathered:
            if not np.isfinite(one.moments.mean()).all():
                raise SubjectError(f"{self.model} gives values that are no finite numbers in layer {one.site.layer}: try --dtype float32")
        closed = each(ExplainSite.close, gathered)
        return self._write("explain", [(one.site, partial(self._explained, one, types, n_excerpts))
                                       for one, types in zip(gathered, closed, strict=True)])

    def evidence(self, gathered: Sequence[EvidenceSite], split: Split, n_excerpts: int) -> Future[None]:
        """Write all layers of select or test: the commits to come."""
        return self._write(split, [(one.site, partial(self._evident, one, split, n_excerpts)) for one in gathered])

    def _write(self, split: Split, waiting: list[tuple[Site, Callable[[], list[Rows]]]]) -> Future[None]:
        """Each layer is made into columns, and what was gathered of it let go, before the next one; meanwhile the one before is inserted."""
        def work(con: duckdb.DuckDBPyConnection, group: list[Site], made: list[Future[list[Rows]]]) -> None:
            self._forget(con, {site.layer for site in group}, split)
            for layer in made:
                for table, same, columns in layer.result():
                    _insert(con, table, {"model": self.model, **same}, columns)

        def write() -> None:
            for group in grouped([site for site, _ in waiting], split):
                self.writer.write(partial(work, group=group, made=[self._maker.submit(waiting.pop(0)[1]) for _ in group]))
        return self._thread.submit(write)

    def _forget(self, con: duckdb.DuckDBPyConnection, layers: Iterable[str], split: Split) -> None:
        """What an earlier, interrupted attempt wrote."""
        for layer in layers:
            for table in ("units", "type_means", "position_means") if split == "explain" else ():
                con.execute(f"DELETE FROM {table} WHERE model = ? AND layer = ?", [self.model, layer])
            for table in ("activations", "priority"):
                con.execute(f"DELETE FROM {table} WHERE model = ? AND layer = ? AND split = ?", [self.model, layer, split])

    def _explained(self, one: ExplainSite, types: dict[Side, TypeStatistics], n_excerpts: int) -> list[Rows]:
        site, x = one.site, one.spool.read()
        rows: list[Rows] = []
        for side, part in one.sides.items():
            by_side, found = {"layer": site.layer, "side": side}, types[side]
            unit = {**by_side, "site": site.name, "run": self.run}
            rows += [("units", {**unit, "layer_order": site.order}, self._units(one, side, x, found)),
                     ("activations", {**unit, "split": "explain"}, _records(part.records, n_excerpts, part.strata)),
                     ("type_means", by_side, {"type": found.types.astype(np.int32), "n": found.n, "mean": found.mean}),
                     ("position_means", by_side, {"position": np.arange(len(found.position_n), dtype=np.int32), "n": found.position_n,
                                                  "mean": found.position_mean})]
        return rows

    def _evident(self, one: EvidenceSite, split: Split, n_excerpts: int) -> list[Rows]:
        rows: list[Rows] = []
        for side, records in one.records.items():
            (s, ids, key), by_side = one.priority[side].result(), {"layer": one.site.layer, "side": side, "split": split}
            unit, rank = np.nonzero(key > 0)
            rows += [("activations", {**by_side, "site": one.site.name, "run": self.run}, _records(records, n_excerpts)),
                     ("priority", by_side, {"neuron": unit.astype(np.int32), "rank": (rank + 1).astype(np.int32), "excerpt": ids[unit, rank],
                                            "s": s[unit, rank], "key": key[unit, rank]})]
        return rows

    def _units(self, gathered: ExplainSite, side: Side, x: NDArray[np.float16], types: TypeStatistics) -> Columns:
        part, n = gathered.sides[side], gathered.moments.n
        largest = part.records.top.largest().astype(np.float64)
        q, active = quantiles(x, part.sign, 0.2 * largest)
        tokens = np.empty(gathered.site.width, object)
        tokens[:] = [[self._token(i) for i in row if i >= 0] for row in types.top.tolist()]
        return {"neuron": np.arange(gathered.site.width, dtype=np.int32), "n_tokens": np.full(gathered.site.width, n),
                "firing_rate": part.fired.cpu().numpy() / n, "active_rate": active,
                "x_mean": gathered.moments.mean(), "x_std": np.sqrt(gathered.moments.variance()),
                "x_min": gathered.low.double().cpu().numpy(), "x_max": gathered.high.double().cpu().numpy(),
                "mean": part.moments.mean(), "std": np.sqrt(part.moments.variance()), "max": largest, "quantiles": q, "top_tokens": tokens,
                "lexicality": types.lexicality, "positional_share": types.positional}

    def _token(self, number: int) -> str:
        return (self.vocabulary[number] if number < len(self.vocabulary) else "") or str(number)


def _records(records: Records, n_excerpts: int, strata: Strata | None = None) -> Columns:
    """All records of one layer and side, for one insert: a statement costs 20 ms however few its rows."""
    value, ids, rows = records.top.result()
    unit, rank = np.nonzero(value > 0)
    parts = [_activations(_TOP, unit, rank, ids[unit, rank], rows[unit, rank])]
    for place, number in enumerate(sorted(records.random)):
        a = records.random[number].T
        every = np.full((len(a), rows.shape[2]), np.nan, np.float32)
        every[:, :a.shape[1]] = a
        parts.append(_activations(_RANDOM, np.arange(len(a)), np.full(len(a), place), np.full(len(a), number), every,
                                  np.full(len(a), n_excerpts / len(records.random))))
    if strata is not None:
        parts += _strata(strata)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _strata(strata: Strata) -> list[Columns]:
    _, ids, rows = strata.result()
    ids, rows = ids.reshape(STRATA, strata.units, PER_STRATUM), rows.reshape(STRATA, strata.units, PER_STRATUM, -1)
    parts = []
    for stratum, counts in enumerate(strata.counts()):
        unit, rank = np.nonzero(ids[stratum] != NOBODY)
        weight = counts[unit] / np.minimum(counts[unit], PER_STRATUM)
        parts.append(_activations(stratum, unit, rank, ids[stratum][unit, rank], rows[stratum][unit, rank], weight))
    return parts


def _activations(band: int, unit: NDArray[Any], rank: NDArray[Any], excerpt: NDArray[np.int64], rows: NDArray[np.float32],
                 weight: NDArray[np.float64] | None = None) -> Columns:
    """Columns of records; rows [n, T] end where only nan follows."""
    length, largest, position = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32), np.empty(len(rows), np.int32)
    kernels.outline(rows, length, largest, position)
    return {"band": np.full(len(rows), band, np.int8), "neuron": unit.astype(np.int32), "rank": (rank + 1).astype(np.int32),
            "excerpt": excerpt.astype(np.int64), "max_activation": largest, "position": position,
            "activations": rows, "activations_length": length,
            "weight": np.full(len(rows), np.nan) if weight is None else weight}


def _insert(con: duckdb.DuckDBPyConnection, table: str, same: Mapping[str, Any], columns: Columns) -> None:
    """What all rows share is a parameter; nan is NULL in DOUBLE columns; rows of means become blobs."""
    if table in _BLOBS:
        columns = columns | {"mean": np.ascontiguousarray(columns["mean"]).view(np.uint8)}
    rows = Table(columns)
    if not rows.n:
        return
    named = {name: "?" for name in same}
    for name in rows.names:
        number = columns[name].ndim == 1 and columns[name].dtype == np.float64
        named[name] = _BAND.format(name) if name == "band" else f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END" if number else name
    con.register("_rows", rows)
    try:
        con.execute(f"INSERT INTO {table} ({', '.join(named)}) SELECT {', '.join(named.values())} FROM _rows", list(same.values()))
    finally:
        con.unregister("_rows")
