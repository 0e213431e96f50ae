"""Columns in and out: numpy arrays to DuckDB without a loop over rows.

A list column of L values is handed over as L plain columns and put together in the SELECT; lists of unequal length are
padded and cut again. (A row-wise insert of the same records takes a hundred times longer.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import duckdb
import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts

Column = NDArray[Any] | Sequence[Any] | str | float | None  # cells of any value that DuckDB stores; one value stands for all rows
_NUMBERS = {"BIGINT": np.int64, "INTEGER": np.int32, "DOUBLE": np.float64, "FLOAT": np.float32, "BOOLEAN": np.bool_}
WIDEST = 4096  # longest list of a column


def single(column: object) -> bool:
    """One value for all rows, not a column."""
    return column is None or isinstance(column, str | bytes | int | float | np.generic | datetime)


def types_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Column -> DuckDB type, of a base table."""
    return dict(connection.execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND schema_name = 'main' "
                                   "AND database_name = current_database() ORDER BY column_index", [table]).fetchall())


def insert(connection: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, Column], keys: Sequence[str] = ()) -> None:
    """Insert columns of one length; columns that are not named are NULL. With `keys`: rows whose key is there already are left out.

    A string, number, truth value or None in place of a column stands for all rows (one row where there are only such).
    """
    types = types_of(connection, table)
    if unknown := sorted(set(columns) - set(types)):
        raise ValueError(f"table {table} has no column {unknown[0]!r}; it has {', '.join(types)}")
    full = {name: cast("NDArray[Any] | Sequence[Any]", column) for name, column in columns.items() if not single(column)}
    lengths = {len(column) for column in full.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns of unequal length for {table}: {dict((name, len(c)) for name, c in full.items())}")
    if lengths == {0}:
        return
    flat: dict[str, NDArray[Any]] = {} if full else {"v0": np.zeros(1, np.int8)}
    constants: list[Any] = []
    parts = []
    for name, column in columns.items():
        if name in full:
            parts.append(f"{_expression(name, types[name], full[name], flat)} AS {name}")
        else:
            parts.append(f"CAST(? AS {types[name]}) AS {name}")
            constants.append(None if isinstance(column, float) and column != column else column)
    select = ", ".join(parts)
    names = ", ".join(columns)
    source = f"SELECT {select} FROM _new"
    if keys:
        same = " AND ".join(f"old.{key} IS NOT DISTINCT FROM new.{key}" for key in keys)
        source = (f"SELECT {names} FROM (SELECT * FROM ({source}) QUALIFY row_number() OVER (PARTITION BY {', '.join(keys)}) = 1) new "
                  f"WHERE NOT EXISTS (SELECT 1 FROM {table} old WHERE {same})")
    connection.register("_new", flat)
    try:
        connection.execute(f"INSERT INTO {table} ({names}) {source}", constants)
    finally:
        connection.unregister("_new")


def _expression(name: str, kind: str, column: NDArray[Any] | Sequence[Any], flat: dict[str, NDArray[Any]]) -> str:
    """Put a column into `flat`; the SQL that reads it back as `kind`."""
    if not kind.endswith("[]"):
        flat[f"v{len(flat)}"] = plain(column, kind)
        return f"CAST(v{len(flat) - 1} AS {kind})"
    inner = kind[:-2]
    if isinstance(column, np.ndarray) and column.ndim == 2:
        matrix, cut = column, ""
        if matrix.shape[1] > WIDEST:
            raise ValueError(f"lists of {matrix.shape[1]} values in {name}: {WIDEST} at most")
    else:
        lengths = np.array([-1 if row is None else len(row) for row in column], np.int32)
        width = max(int(lengths.max()), 0)
        if width > WIDEST:
            raise ValueError(f"lists of {width} values in {name}: {WIDEST} at most")
        matrix = np.zeros((len(lengths), width), _NUMBERS[inner]) if inner in _NUMBERS else np.full((len(lengths), width), None, object)
        present = np.flatnonzero(lengths > 0)
        if len(present):
            mask = np.arange(width)[None, :] < lengths[:, None]
            parts = [np.asarray(column[i], matrix.dtype) for i in present.tolist()]
            matrix[mask] = np.concatenate(parts)
        flat[f"v{len(flat)}"] = lengths
        cut = f"v{len(flat) - 1}"
    first = len(flat)
    for i in range(matrix.shape[1]):
        flat[f"v{first + i}"] = plain(np.ascontiguousarray(matrix[:, i]), inner)
    listed = f"CAST([{', '.join(f'v{first + i}' for i in range(matrix.shape[1]))}] AS {kind})"
    return f"CASE WHEN {cut} < 0 THEN NULL ELSE {listed}[1:{cut}] END" if cut else listed


def plain(column: NDArray[Any] | Sequence[Any], kind: str) -> NDArray[Any]:
    """A column as an array that DuckDB reads without guessing. None and, in columns of numbers, nan become NULL."""
    if kind in _NUMBERS:
        wanted = _NUMBERS[kind]
        if isinstance(column, np.ma.MaskedArray):
            return column.astype(wanted)
        array = np.asarray(column)
        if array.dtype == object:
            missing = np.array([value is None or value != value for value in array], bool)
            values = np.array([0 if gone else value for value, gone in zip(array.tolist(), missing.tolist(), strict=True)])
            return np.ma.masked_array(_exact(values, wanted), mask=missing) if missing.any() else _exact(values, wanted)
        if array.dtype.kind == "f" and (missing := np.isnan(array)).any():
            return np.ma.masked_array(_exact(np.where(missing, 0, array), wanted), mask=missing)
        return _exact(array, wanted)
    if kind == "TIMESTAMP":
        return np.array([None if value is None else _utc(value) for value in column], "datetime64[us]")
    if isinstance(column, np.ndarray) and column.dtype.kind == "U":
        return column.astype(object)
    array = np.empty(len(column), object)
    array[:] = [None if value is None or value is np.ma.masked else value if kind == "BLOB" else str(value) for value in column]
    return array


def _exact(array: NDArray[Any], wanted: type) -> NDArray[Any]:
    """Cast; raise OverflowError or ValueError rather than store another integer or truth value than was given."""
    if array.dtype == wanted:
        return array
    as_wanted: NDArray[Any] = array.astype(wanted)
    if np.dtype(wanted).kind in "ib" and not np.array_equal(as_wanted, array):
        raise OverflowError(f"values do not fit into {np.dtype(wanted).name}")
    return as_wanted


def _utc(value: Any) -> Any:  # datetime, numpy datetime64 or text
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def _none_where(column: Any) -> NDArray[Any]:  # a masked array of objects, whose own `filled` would write "?"
    values: NDArray[Any] = column.data.copy()
    values[np.ma.getmaskarray(column)] = None
    return values


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, params: Sequence[object] = ()) -> dict[str, NDArray[Any]]:
    """Result columns as arrays. NULL is nan among floats, None among objects; integer columns with NULLs stay masked arrays."""
    out: dict[str, NDArray[Any]] = {}
    for name, column in connection.execute(sql, list(params)).fetchnumpy().items():
        if isinstance(column, np.ma.MaskedArray):
            if not np.ma.is_masked(column):
                column = column.data
            elif column.dtype.kind == "f":
                column = column.filled(np.nan)
            elif column.dtype == object:
                column = _none_where(column)
        out[name] = np.asarray(column) if not isinstance(column, np.ma.MaskedArray) else column
    return out


def excerpts(connection: duckdb.DuckDBPyConnection, rows: str, params: Sequence[object]) -> Excerpts:
    """Excerpts from `rows`, a query over t_excerpts that gives them by id."""
    head = fetch(connection, f"SELECT id, document, block, start, len(token_ids) AS n, text FROM {rows}", params)
    flat = fetch(connection, "SELECT unnest(token_ids) AS tokens, unnest(char_start) AS char_start, "
                             f"unnest(char_end) AS char_end FROM {rows}", params)
    cuts = np.cumsum(head["n"])[:-1]
    parts = {name: np.split(column.astype(np.int64), cuts) if len(head["n"]) else [] for name, column in flat.items()}
    return Excerpts.build(head["id"], head["document"], head["block"], head["start"], parts["tokens"], parts["char_start"],
                          parts["char_end"], head["text"].tolist())
