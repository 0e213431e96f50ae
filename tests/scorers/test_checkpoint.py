"""Falls between two checkpoints against a dense recomputation; exactly the changed units are stale; the planted fall is what it says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from autolabel.patterns.run import run as run_patterns
from autolabel.patterns.syntax import parse
from autolabel.scorers.checkpoint import BAR, PLANTED, compare_checkpoints
from autolabel.stats import Sums, correlate, influence, paired_rho
from autolabel.types import Explanation, Maker, Unit
from tests.scorers.scorer_world import VOCABULARY, ToySubject, dense, world

CHANGED = (3, 7, 11)


@dataclass(frozen=True)
class Later(ToySubject):
    """The same model, three units of layer 0 trained on: one gone elsewhere, one noisy, one dead."""

    def x(self, tokens: np.ndarray, layer: int) -> np.ndarray:
        out = super().x(tokens, layer)
        if layer == 0:
            out[:, :, 3] = super().x(tokens, 0)[:, :, 20]
            out[:, :, 7] = np.random.default_rng(5).permutation(out[:, :, 7].reshape(-1)).reshape(out.shape[:2])
            out[:, :, 11] = -1.0
        return out


@pytest.fixture(scope="module")
def found():
    """A label for each unit: the words that it fires most for. All scored on both."""
    w = world(documents=(80, 50, 400))
    rows = []
    for layer in (0, 1):
        effect = w.subject.table(layer, "type", len(VOCABULARY), 1.0)
        for u in range(w.subject.width):
            words = [VOCABULARY[i] for i in np.argsort(-effect[:, u])[:12] if not VOCABULARY[i].startswith("##") and effect[i, u] > 0]
            clauses = ", ".join(f'{{"on": {{"word": ["{x}"]}}, "strength": {max(0.1, 1 - 0.07 * k):.2f}}}' for k, x in enumerate(words))
            rows.append(Explanation(Unit("toy", str(layer), "mlp", u), f"{layer} {u}", f'{{"any": [{clauses}]}}', Maker("x")))
    rows.append(Explanation(Unit("toy", "0", "mlp", 0), "only words", None, Maker("x")))
    other = replace(w.test, subject=Later(hash="later"))
    rho = [None] * len(rows)
    first = compare_checkpoints(rows, rho, w.test, other)
    return w, other, rows, compare_checkpoints(rows, [*first.own[:-1], None], w.test, other)


def test_against_dense(found) -> None:
    w, other, rows, falls = found
    e = w.split["test"]
    c = np.asarray(run_patterns([parse(r.pattern) for r in rows[:-1]], e, vocabulary=w.subject.vocabulary).csr().todense(), np.float64).T
    group = np.repeat(e.block % 256, e.lengths)
    a, b = (np.concatenate([dense(s, e, site) for site in w.subject.sites], axis=1) for s in (w.subject, other.subject))
    # the noisy unit is drawn batch by batch: what the walk saw is not what a dense pass sees
    keep = [i for i in range(48) if i not in CHANGED[1:]]
    x, y = (Sums.of(z[:, keep], c[:, keep], group, 256) for z in (a, b))
    want, r = paired_rho(influence(x), influence(y), 0.95), correlate(y)
    for got, exact in ((falls.own[keep], correlate(x).rho), (falls.value[keep], r.rho), (falls.low[keep], r.low), (falls.fall[keep], want.value),
                       (falls.fall_low[keep], want.low), (falls.fall_high[keep], want.high)):
        np.testing.assert_allclose(got, exact, atol=2e-6)
    assert falls.reason[-1] is not None and falls.stale[-1] is None and np.isnan(falls.own[-1])


def test_exactly_the_changed_units_are_stale(found) -> None:
    *_, falls = found
    assert [i for i, s in enumerate(falls.stale) if s] == list(CHANGED)
    assert "does not vary" in falls.reason[11] and np.isnan(falls.fall[11])
    same = [i for i in range(48) if i not in CHANGED]
    assert (falls.fall[same] == 0).all() and (falls.fall_high[same] == 0).all()


def test_the_planted_fall_is_as_large_as_it_says(found) -> None:
    *_, falls = found
    high = falls.own > PLANTED
    assert high.sum() > 20 and ((falls.noticed != None) == high).all()  # noqa: E711  # elementwise
    assert abs(falls.planted[high].mean() - PLANTED) < 0.02 and falls.planted[high].std() < 0.1
    assert (falls.noticed[high] == (falls.planted_low[high] > BAR)).all() and np.isnan(falls.planted[~high]).all()


def test_a_fall_at_the_bar_is_seldom_called_stale() -> None:
    """Both checkpoints noisy versions of one signal, the true fall exactly .1: at most 2.5 % within binomial error."""
    rng = np.random.default_rng(0)
    units, documents, tokens = 400, 120, 30
    group = np.repeat(np.arange(documents), tokens)
    c = (rng.random((documents * tokens, units)) < 0.1).astype(float)
    z = (c - 0.1) / 0.3
    a, b = (r * z + np.sqrt(1 - r * r) * rng.normal(size=z.shape) for r in (0.5, 0.4))
    low = paired_rho(influence(Sums.of(a, c, group, documents)), influence(Sums.of(b, c, group, documents)), 0.95).low
    assert 0 < (low > BAR).mean() < 0.025 + 3 * np.sqrt(0.025 * 0.975 / units)
