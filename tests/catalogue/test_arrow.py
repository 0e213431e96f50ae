"""Columns go into DuckDB as they are: numbers, lists of any length, blobs, words."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.catalogue.arrow import Table


def read(columns):
    with duckdb.connect() as connection:
        connection.register("_rows", Table(columns))
        return connection.execute("SELECT * FROM _rows").fetchall()


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 2**32), st.sampled_from([np.int8, np.int32, np.int64, np.float32, np.float64]))
def test_what_goes_in_comes_out(n, width, seed, kind):
    rng = np.random.default_rng(seed)
    number, lists = rng.integers(-100, 100, n).astype(kind), rng.normal(0, 50, (n, width)).astype(kind)
    length, blobs = rng.integers(0, width + 1, n).astype(np.int32), rng.integers(0, 256, (n, width), np.uint8)
    words = np.empty(n, object)
    words[:] = [["ä", "##b", "\U0001f600\0"][:k % 4] for k in range(n)]
    found = read({"number": number, "whole": lists, "cut": lists, "cut_length": length, "blob": blobs, "words": words, "turned": np.asfortranarray(lists)})
    assert found == [(number[i].item(), lists[i].tolist(), lists[i, :length[i]].tolist(), blobs[i].tobytes(), words[i], lists[i].tolist())
                     for i in range(n)]


def test_nan_stays_nan_and_columns_of_a_larger_array_are_read_right():
    big = np.arange(24.0).reshape(4, 6)
    big[0, 1] = np.nan
    (a, b), = read({"a": big[:1, 1], "b": big[:1, ::2]})
    assert np.isnan(a) and b == [0.0, 2.0, 4.0]


def test_a_list_column_that_arrow_cannot_address_is_refused():
    row = np.broadcast_to(np.int8(0), (3, 2**30))
    with pytest.raises(OverflowError):
        Table({"a": row})


@pytest.mark.parametrize("columns", [{"a": np.arange(3), "b": np.arange(2)}, {"a": np.arange(2), "b": np.arange(3)},
                                     {"a": np.ones((3, 2)), "a_length": np.arange(2)}, {"a": np.arange(3, dtype=np.uint16)}])
def test_columns_that_do_not_fit_are_refused(columns):
    with pytest.raises(ValueError, match=r"unequal length|uint16"):
        Table(columns)
