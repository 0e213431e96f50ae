"""The maps are those of numpy and scikit-learn; what has no value keeps none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from autolabel.errors import CorpusError
from autolabel.simulators.calibrated import fit
from autolabel.types import Excerpt, Simulation
from tests.simulators.texts import plain


class Fixed:
    """Says the same levels of every excerpt."""

    def __init__(self, *values: float | None) -> None:
        self.values = values

    def simulate(self, label: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        return [Simulation(e.id, self.values, "decile", "reply: cut") for e in excerpts]


def test_both_maps_are_the_judges() -> None:
    rng = np.random.default_rng(0)
    c = np.round(rng.random(300) * 10, 1)
    a = np.maximum(0, 0.3 * c - 1 + rng.normal(size=300))
    w = rng.random(300) + 0.1
    c[:5] = np.nan
    have = ~np.isnan(c)
    new = [0.0, 4.4, 10.0, 12.0, None]
    line = np.polyfit(c[have], a[have], 1, w=np.sqrt(w[have]))
    [got] = fit(Fixed(*new), c, a, w).simulate("x", [plain("a b c d e")])
    assert got.expected[:4] == pytest.approx(np.polyval(line, [0.0, 4.4, 10.0, 12.0])) and got.expected[4] is None
    assert got.scale == "activation" and got.failure == "reply: cut"
    judge = IsotonicRegression(out_of_bounds="clip").fit(c[have], a[have], sample_weight=w[have])
    [got] = fit(Fixed(*new), c, a, w, "isotonic").simulate("x", [plain("a b c d e")])
    assert got.expected[:4] == pytest.approx(judge.predict([0.0, 4.4, 10.0, 12.0])) and got.expected[4] is None


def test_a_constant_cannot_be_calibrated() -> None:
    with pytest.raises(CorpusError, match="the same of every token"):
        fit(Fixed(1.0), np.ones(4), np.arange(4.0), np.ones(4))
