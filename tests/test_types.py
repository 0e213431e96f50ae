"""Addresses, digests, names of layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import PatternError, UnitError
from autolabel.types import Explanation, Maker, Unit, digest, hash63, layer_order

names = st.text("abcXYZ019._/-~", min_size=1, max_size=20).filter(lambda s: s.strip("/") == s and "//" not in s)


@given(names, st.sampled_from(["0", "11", "e3", "d0"]), st.sampled_from(["mlp", "res-jb"]), st.integers(0, 10**6), st.sampled_from("+-"))
def test_an_address_is_read_back(model: str, layer: str, site: str, index: int, side: str) -> None:
    unit = Unit(model, layer, site, index, side)  # type: ignore[arg-type]  # one of the two
    assert Unit.parse(str(unit)) == unit


@pytest.mark.parametrize(("text", "expected"), [
    ("5/1330", Unit("m", "5", "mlp", 1330)),
    ("5/-0", Unit("m", "5", "mlp", 0, "-")),
    ("L5N1330", Unit("m", "5", "mlp", 1330)),
    ("blocks.5.mlp.hook_post[1330]", Unit("m", "5", "mlp", 1330)),
    ("https://www.neuronpedia.org/gpt2-small/6-res-jb/6048", Unit("gpt2-small", "6", "res-jb", 6048)),
    ("org/name/e3-mlp/7", Unit("org/name", "e3", "mlp", 7)),
])
def test_other_ways_to_write_it(text: str, expected: Unit) -> None:
    assert Unit.parse(text, "m") == expected


@pytest.mark.parametrize("text", ["", "five", "5/x", "m/5-mlp/", "5//3", "5/99999999999", "../../etc/passwd"])
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(UnitError, match="cannot read"):
        Unit.parse(text)


def test_layers_sort_as_numbers() -> None:
    assert sorted(["10", "9", "0"], key=layer_order) == ["0", "9", "10"]
    assert sorted(["d0", "e10", "e9"], key=layer_order) == ["e9", "e10", "d0"]


def test_ids_depend_on_the_content_alone() -> None:
    maker = Maker("induce", {"words": 8})
    a = Explanation(Unit("m", "0", "mlp", 1), "numbers", None, maker)
    assert a.id == Explanation(Unit("m", "0", "mlp", 1), "numbers", None, Maker("induce", {"words": 8})).id
    assert a.id != Explanation(Unit("m", "0", "mlp", 1, "-"), "numbers", None, maker).id
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert 0 <= hash63("x") < 2**63 and hash63("ab", "c") != hash63("a", "bc")


def test_a_pattern_error_says_where() -> None:
    error = PatternError("no such key", '{"any":\n [{"onn": 1}]}', 11)
    assert (error.line, error.column) == (2, 4) and "line 2, column 4" in str(error)
