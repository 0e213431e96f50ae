"""Context length and same-token contrast: against brute force, on a subject whose reach is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from autolabel import unitkinds
from autolabel.excerpts import Excerpts
from autolabel.neurons import QUANTILES, LayerStats
from autolabel.protocols import ExplainSplit
from autolabel.types import Site

WIDTH, LENGTH, TYPES = 6, 40, 30


@dataclasses.dataclass(frozen=True)
class Reach:
    """x: the token alone; the token 3 before; the one 6 after (if it reads ahead); how often token 5 occurs; never; minus unit 0."""

    ahead: bool
    name: str = "reach"
    hash: str = "reach"
    context: int = 64
    special_ids: frozenset[int] = frozenset()

    @property
    def sites(self):
        return (Site("0", 0, "mlp", WIDTH, True),)

    def _x(self, tokens):
        t = torch.from_numpy(tokens)
        value = torch.sin(torch.arange(TYPES) * 1.7)
        x = torch.zeros(*t.shape, WIDTH)
        x[..., 0] = value[t]
        x[:, 3:, 1] = value[t[:, :-3]] if t.shape[1] > 3 else 0
        if self.ahead:
            x[:, :-6, 2] = value[t[:, 6:]] if t.shape[1] > 6 else 0
        else:
            x[:, 6:, 2] = value[t[:, :-6]] if t.shape[1] > 6 else 0
        five = (t == 5).float()
        x[..., 3] = five.mean(1, keepdim=True) if self.ahead else five.cumsum(1) / 40
        x[..., 5] = -x[..., 0]
        return x

    def run(self, tokens, sites, visit):
        x = self._x(tokens)
        padded = torch.cat([torch.full((len(x), 1, WIDTH), 9.0), x], 1)
        for site in sites:
            visit(site, padded, slice(1, None))

    def activations(self, tokens, site):
        return self._x(tokens)


def split(ahead: bool) -> ExplainSplit:
    rng = np.random.default_rng(0)
    n = 60
    tokens = [rng.integers(0, TYPES, LENGTH) for _ in range(n)]
    place = [np.arange(LENGTH)] * n
    excerpts = Excerpts.build(np.arange(n), np.arange(n), np.arange(n), np.zeros(n, int), tokens, place, place, ["x" * LENGTH] * n)
    subject = Reach(ahead)
    x = subject._x(excerpts.tokens.reshape(n, LENGTH)).reshape(-1, WIDTH).numpy().astype(np.float64)
    stats = {}
    for side, sign in (("+", 1), ("-", -1)):
        a = np.maximum(sign * x, 0)
        stats["0", side] = LayerStats(subject.sites[0], side, len(a), x.mean(0), x.std(0), x.min(0), x.max(0), a.mean(0), a.std(0), a.max(0), (a > 0).mean(0),
                                      (a > 0.2 * a.max(0)).mean(0), np.quantile(a, QUANTILES, axis=0).T, np.full(WIDTH, np.nan))
    return ExplainSplit(subject, lambda: iter([excerpts]), n, excerpts.n_tokens, stats, 8)


@pytest.mark.parametrize("ahead", [False, True])
def test_context_length_is_the_reach_of_a_unit(ahead: bool) -> None:
    view, every = split(ahead), np.arange(WIDTH)
    assert unitkinds.reads_ahead(view.subject, view.subject.sites[0], next(view.chunks())) is ahead
    found = unitkinds.kinds(view, {("0", "+"): every, ("0", "-"): np.array([0, 5])}, sample=600)
    plus, minus = found["0", "+"], found["0", "-"]
    assert plus.context_length[:3].tolist() == [0, 4, 8] and plus.context_length[4] == -1 and plus.n[4] == 0
    assert plus.context_length[3] >= 32
    assert plus.context_length[5] == 0 and minus.context_length.tolist() == [0, 0]
    assert plus.correlations[0] == pytest.approx(1) and np.isnan(plus.correlations[4]).all()
    assert minus.correlations[1] == pytest.approx(plus.correlations[0]) and minus.same_token[1] == plus.same_token[0]
    assert plus.same_token[0] == pytest.approx(0, abs=1e-6) and plus.same_token[1] > 0.3 and np.isnan(plus.same_token[4])


def test_truncated_windows_are_the_subjects_own() -> None:
    view = split(True)
    pool = next(view.chunks())
    token, k = np.array([0, 5, 39, 41, 700]), 8
    x = unitkinds.truncated(view, pool, token, view.subject.sites, {"0": np.array([0, 2, 3])}, k, True)["0"]
    for row, t in zip(x, token.tolist(), strict=True):
        excerpt, at = divmod(t, LENGTH)
        low, high = max(0, at - k), min(LENGTH, at + k + 1)
        window = pool.tokens[excerpt * LENGTH + low:excerpt * LENGTH + high][None]
        assert row == pytest.approx(view.subject._x(window)[0, at - low, [0, 2, 3]].numpy())


def test_same_token_contrast_by_hand() -> None:
    rng = np.random.default_rng(1)
    tokens, a = rng.integers(0, 25, 900), np.maximum(rng.normal(size=(900, 3)), 0).astype(np.float32)
    a[:, 1] *= tokens < 4
    found = unitkinds.same_token(a, tokens)
    for u in range(3):
        of = {t: a[tokens == t, u].astype(np.float64) for t in range(25) if (tokens == t).sum() >= 5}
        top = sorted(of, key=lambda t: -of[t].mean())[:8]
        within = sum(len(of[t]) * of[t].var(ddof=1) for t in top)
        assert found[u] == pytest.approx(within / sum((of[t] ** 2).sum() for t in top), rel=1e-5)
    on_or_off = ((tokens == 3) & (rng.random(900) < 0.25)).astype(np.float32)[:, None]
    share = 1 - on_or_off[tokens == 3].mean()
    assert unitkinds.same_token(on_or_off, tokens)[0] == pytest.approx(share, abs=0.03)
    assert np.isnan(unitkinds.same_token(a[:30], np.arange(30))).all()


def test_weighted_correlation_against_numpy() -> None:
    rng = np.random.default_rng(2)
    x, y, w = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)), rng.integers(1, 4, 50)
    found = unitkinds.correlation(x, y, w.astype(float))
    for u in range(2):
        assert found[u] == pytest.approx(np.corrcoef(np.repeat(x[:, u], w), np.repeat(y[:, u], w))[0, 1])
    assert np.isnan(unitkinds.correlation(x, np.ones_like(y), w.astype(float))).all()
