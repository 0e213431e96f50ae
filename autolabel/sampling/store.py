"""From accumulators to rows: each call is one transaction that replaces the rows of some layers in one split, so it can be repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import SubjectError
from autolabel.sampling.kernels import NOBODY
from autolabel.sampling.observe import TOP, EvidenceSite, ExplainSite, Records
from autolabel.sampling.shared import RECORDS, apart, quantiles
from autolabel.sampling.strata import PER_STRATUM, STRATA, Strata
from autolabel.sampling.typesums import TypeSums
from autolabel.types import Side, Site, Split

if TYPE_CHECKING:
    import duckdb

    from autolabel.catalogue.writer import Writer

_HALF = float(np.finfo(np.float16).max)
_TOP, _RANDOM = -2, -1  # codes of bands on the way into the file; strata are 0 to 9
_BAND = "CASE {0} WHEN -2 THEN 'top' WHEN -1 THEN 'random' ELSE 'stratum:' || {0} END"
ROWS = 300_000  # records of one commit, about: DuckDB writes full row groups once; two seconds, so that a reader is not kept waiting
_BLOCK = 1024  # rows of type means in memory at a time
Place = tuple[str, str]  # (layer, site name)
Columns = dict[str, NDArray[Any]]  # whatever DuckDB stores


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


@dataclass(frozen=True)
class Keeper:
    """Writes one model's rows."""

    writer: Writer
    model: str
    run: str
    vocabulary: Sequence[str]  # token strings by id; what is not in it is shown as its number

    def clear(self) -> None:
        """Delete every row of this model that an extraction writes."""
        def work(con: duckdb.DuckDBPyConnection) -> None:
            con.execute("DELETE FROM models WHERE name = ?", [self.model])
            for table in ("units", "activations", "type_means", "position_means", "priority", "t_kinds"):
                con.execute(f"DELETE FROM {table} WHERE model = ?", [self.model])
        self.writer.write(work)

    def explain(self, gathered: Iterable[ExplainSite], n_excerpts: int) -> tuple[dict[Place, dict[Side, NDArray[np.float64]]], Future[None]]:
        """Write some layers of explain: the mean of a [U] by layer, site and side, and the commit to come.

        Each is made into columns, and let go, before the writer gets them: at no time are all tables in memory twice. Raises
        SubjectError where a neuron is not finite.
        """
        rows: list[tuple[Site, Side, list[tuple[str, Columns]]]] = []
        for one in gathered:
            if not np.isfinite(one.moments.mean()).all():
                raise SubjectError(f"{self.model} gives values that are no finite numbers in layer {one.site.layer}: try --dtype float32")
            x = one.spool.read()
            for side, part in one.sides.items():
                rows.append((one.site, side, [("units", self._units(one, side, x)), ("activations", _records(part.records, n_excerpts, part.strata)),
                                              *_means(part.types)]))

        def work(con: duckdb.DuckDBPyConnection) -> None:
            for site in {site.layer: site for site, _, _ in rows}.values():
                self._forget(con, site, "explain", ("units", "type_means", "position_means"))
            for site, side, columns in rows:
                same = self._key(site, side)
                more: dict[str, dict[str, Any]] = {"units": {"layer_order": site.order, "run": self.run}, "activations": {"split": "explain", "run": self.run}}
                for table, values in columns:
                    if table in more:
                        _insert(con, table, same | more[table], values)
                    else:
                        for first in range(0, len(values["n"]), _BLOCK):
                            block = {name: column[first:first + _BLOCK] for name, column in values.items()}
                            _insert(con, table, {"model": self.model, "layer": site.layer, "side": side}, block | {"mean": _blobs(block["mean"])})
        means: dict[Place, dict[Side, NDArray[np.float64]]] = {}
        for site, side, columns in rows:
            means.setdefault((site.layer, site.name), {})[side] = columns[0][1]["mean"]
        return means, self.writer.submit(work)

    def evidence(self, gathered: Iterable[EvidenceSite], split: Split, n_excerpts: int) -> Future[None]:
        """Write some layers of select or test: the commit to come."""
        rows = [(one.site, side, _records(records, n_excerpts), one.priority[side].result())
                for one in gathered for side, records in one.records.items()]

        def work(con: duckdb.DuckDBPyConnection) -> None:
            for site in {site.layer: site for site, *_ in rows}.values():
                self._forget(con, site, split, ())
            for site, side, records, (s, ids, key) in rows:
                _insert(con, "activations", self._key(site, side) | {"split": split, "run": self.run}, records)
                unit, rank = np.nonzero(key > 0)
                _insert(con, "priority", {"model": self.model, "layer": site.layer, "side": side, "split": split},
                        {"neuron": unit.astype(np.int32), "rank": (rank + 1).astype(np.int32), "excerpt": ids[unit, rank],
                         "s": s[unit, rank], "key": key[unit, rank]})
        return self.writer.submit(work)

    def _key(self, site: Site, side: Side) -> dict[str, Any]:
        return {"model": self.model, "layer": site.layer, "site": site.name, "side": side}

    def _forget(self, con: duckdb.DuckDBPyConnection, site: Site, split: Split, tables: tuple[str, ...]) -> None:
        """What an earlier, interrupted attempt wrote."""
        for table in tables:
            con.execute(f"DELETE FROM {table} WHERE model = ? AND layer = ?", [self.model, site.layer])
        for table in ("activations", "priority"):
            con.execute(f"DELETE FROM {table} WHERE model = ? AND layer = ? AND split = ?", [self.model, site.layer, split])

    def _units(self, gathered: ExplainSite, side: Side, x: NDArray[np.float16]) -> Columns:
        part, n = gathered.sides[side], gathered.moments.n
        largest = part.records.top.largest().astype(np.float64)
        mean, variance = part.moments.mean(), part.moments.variance()
        q, active = quantiles(x, part.sign, 0.2 * largest)
        around = part.moments.pivots(), part.moments.square.cpu().numpy(), variance
        tokens = np.empty(gathered.site.width, object)
        tokens[:] = [[self._token(i) for i in row if i >= 0] for row in part.types.top().tolist()]
        return {"neuron": np.arange(gathered.site.width, dtype=np.int32), "n_tokens": np.full(gathered.site.width, n),
                "firing_rate": part.fired.cpu().numpy() / n, "active_rate": active,
                "x_mean": gathered.moments.mean(), "x_std": np.sqrt(gathered.moments.variance()),
                "x_min": gathered.low.double().cpu().numpy(), "x_max": gathered.high.double().cpu().numpy(),
                "mean": mean, "std": np.sqrt(variance), "max": largest, "quantiles": q, "top_tokens": tokens,
                "lexicality": part.types.lexicality(*around), "positional_share": part.types.positional(*around)}

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


def _means(types: TypeSums) -> list[tuple[str, Columns]]:
    """The tables by token type (half floats) and by position."""
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(types.table), _BLOCK)]
    half = np.empty((len(types.table), types.sum.shape[1]), np.float16)
    for block in blocks:
        half[block] = np.clip(types.means(block), -_HALF, _HALF)
    by_position = types.position_means()
    return [("type_means", {"type": types.table.types.astype(np.int32), "n": types.table.count, "mean": half}),
            ("position_means", {"position": np.arange(len(by_position), dtype=np.int32), "n": types.position_n, "mean": by_position})]


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
    there = ~np.isnan(rows)
    length = there.shape[1] - np.argmax(there[:, ::-1], axis=1)
    filled = np.where(there, rows, -1)
    return {"band": np.full(len(rows), band, np.int8), "neuron": unit.astype(np.int32), "rank": (rank + 1).astype(np.int32),
            "excerpt": excerpt.astype(np.int64), "max_activation": filled.max(1), "position": filled.argmax(1).astype(np.int32),
            "activations": rows, "activations_length": length.astype(np.int32),
            "weight": np.full(len(rows), np.nan) if weight is None else weight}


def _blobs(rows: NDArray[Any]) -> NDArray[Any]:
    out = np.empty(len(rows), object)
    out[:] = [row.tobytes() for row in rows]
    return out


def _insert(con: duckdb.DuckDBPyConnection, table: str, same: Mapping[str, Any], columns: Columns) -> None:
    """Columnar: what all rows share is a parameter, a list is as many plain columns, cut at NAME_length where there is one.

    nan is NULL in DOUBLE columns.
    """
    n = len(next(iter(columns.values())))
    if not n:
        return
    flat: Columns = {}
    named: dict[str, str] = {name: "?" for name in same}
    for name, column in columns.items():
        if name.endswith("_length"):
            continue
        first = len(flat)
        if column.ndim == 2:
            flat |= {f"v{first + i}": one for i, one in enumerate(apart(column))}
            listed = f"[{', '.join(f'v{first + i}' for i in range(column.shape[1]))}]"
            if f"{name}_length" in columns:
                length = columns[f"{name}_length"]
                if int(length.min()) < column.shape[1]:
                    flat[f"v{len(flat)}"] = length
                    listed += f"[1:v{len(flat) - 1}]"
            named[name] = listed
        elif column.dtype == np.float64:
            flat[f"v{first}"] = column
            named[name] = f"CASE WHEN isnan(v{first}) THEN NULL ELSE v{first} END"
        else:
            flat[f"v{first}"] = column
            named[name] = _BAND.format(f"v{first}") if name == "band" else f"v{first}"
    con.register("_rows", flat)
    try:
        con.execute(f"INSERT INTO {table} ({', '.join(named)}) SELECT {', '.join(named.values())} FROM _rows", list(same.values()))
    finally:
        con.unregister("_rows")
