"""Numpy columns as an Arrow table, which DuckDB reads where they stand: lists and blobs are not put together value by value.

A list column handed over as so many plain columns, to be put together in the SELECT, takes half as long again; rows as `bytes` nearly three times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nanoarrow as na
import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]  # see `Table`
_TYPES = {"i1": na.int8, "i4": na.int32, "i8": na.int64, "f4": na.float32, "f8": na.float64}


class Table:
    """n rows of named columns, all of the same length, which stay unchanged while it is read.

    A column is [n] numbers; [n, L] numbers, a list to a row, cut at NAME_length [n] where there is such a column (which is none of the table's);
    [n, L] bytes (uint8), a blob to a row; or [n] objects, lists of strings. Numbers are int8, int32, int64, float32 or float64. Nothing is NULL; nan
    stays nan. Raises ValueError (columns of unequal length, other numbers), OverflowError (2^31 or more values in one column of lists).
    """

    def __init__(self, columns: Columns) -> None:
        if len({len(column) for column in columns.values()}) > 1:  # DuckDB reads the first rows of a column that is too long
            raise ValueError(f"columns of unequal length: {', '.join(f'{name} {len(column)}' for name, column in columns.items())}")
        lengths = {name.removesuffix("_length"): column for name, column in columns.items() if name.endswith("_length")}
        made = {name: _array(column, lengths.get(name)) for name, column in columns.items() if not name.endswith("_length")}
        self.names, self.n = tuple(made), len(next(iter(columns.values())))
        schema = na.struct({name: kind for name, (kind, _) in made.items()})
        self._rows = na.c_array_from_buffers(schema, self.n, [None], null_count=0, children=[array for _, array in made.values()])

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule interface."""
        return na.ArrayStream(self._rows).__arrow_c_stream__(requested_schema)


def _array(column: NDArray[Any], length: NDArray[Any] | None) -> tuple[Any, Any]:
    """(type, array), nanoarrow's."""
    if column.dtype == object:
        words = [word.encode() for row in column for word in row]
        text = na.c_array_from_buffers(na.string(), len(words), [None, _ends([len(word) for word in words], np.int32), b"".join(words)], null_count=0)
        return _list(na.string(), text, _ends([len(row) for row in column], np.int32))
    if column.ndim == 1:
        kind = _kind(column)
        return kind, na.c_array_from_buffers(kind, len(column), [None, np.ascontiguousarray(column)], null_count=0)
    width = np.full(len(column), column.shape[1]) if length is None else length
    if column.dtype == np.uint8:
        return na.large_binary(), na.c_array_from_buffers(na.large_binary(), len(column), [None, _ends(width, np.int64), _flat(column, width)], null_count=0)
    ends, flat, kind = _ends(width, np.int32), _flat(column, width), _kind(column)
    return _list(kind, na.c_array_from_buffers(kind, len(flat), [None, flat], null_count=0), ends)


def _list(kind: Any, values: Any, ends: NDArray[Any]) -> tuple[Any, Any]:
    return na.list_(kind), na.c_array_from_buffers(na.list_(kind), len(ends) - 1, [None, ends], null_count=0, children=[values])


def _kind(column: NDArray[Any]) -> Any:
    if column.dtype.str[1:] not in _TYPES:
        raise ValueError(f"a column of {column.dtype}: give one of {', '.join(np.dtype(name).name for name in _TYPES)}")
    return _TYPES[column.dtype.str[1:]]()


def _ends(lengths: Any, kind: type) -> NDArray[Any]:
    """[n + 1] where each row begins and the last one ends. Raises OverflowError where `kind` cannot hold that."""
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if ends[-1] > np.iinfo(kind).max:
        raise OverflowError(f"{ends[-1]} values in one column of lists")
    return ends.astype(kind)


def _flat(rows: NDArray[Any], length: NDArray[Any]) -> NDArray[Any]:
    """The first length[i] values of every row, one after another."""
    whole = len(rows) == 0 or int(length.min()) == rows.shape[1]
    return np.ascontiguousarray(rows).reshape(-1) if whole else rows[np.arange(rows.shape[1]) < np.asarray(length)[:, None]]
