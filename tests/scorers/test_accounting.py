"""Layer accounting where the answer is known: the original values, the means, planted units with their true labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.excerpts import Excerpts
from autolabel.neurons import QUANTILES, LayerStats
from autolabel.patterns.run import run
from autolabel.scorers.accounting import NO_COST, account
from autolabel.scorers.labels import Layer, word_list
from autolabel.scorers.lookup import Table
from autolabel.scorers.predicted import Fit, PatternSource, Read, TableSource, Wiring
from autolabel.subjects.planted import Plant, Planted
from autolabel.subjects.rules import Reading
from autolabel.subjects.whole import Whole, open_whole
from autolabel.types import Site
from tests.scorers.scorer_world import STEMS, VOCABULARY, excerpts
from tests.subjects.conftest import make_model, save_tokenizer  # noqa: F401 (fixtures)
from tests.subjects.test_hf import BERT
from tests.subjects.test_lens import GPT2

Make = Callable[..., Path]


@dataclass(frozen=True)
class Tokens:
    """A rule and a source: these token ids, one set per label."""

    sets: tuple[tuple[int, ...], ...]

    def strength(self, reading: Reading) -> np.ndarray:
        return np.isin(reading.excerpts.tokens, self.sets[0]).astype(float)

    def read(self, e: Excerpts) -> Read:
        return lambda span: np.stack([np.isin(e.tokens[span], s) for s in self.sets], 1).astype(float)


@dataclass(frozen=True)
class Exact:
    """A source that knows every value; `scale` 0: it says nothing."""

    whole: Whole
    site: Site
    scale: float = 1.0

    def read(self, e: Excerpts) -> Read:
        x = np.concatenate([self.whole.read(b.tokens, self.site).reshape(-1, self.site.width).numpy() for b in e.batches(32)])
        return lambda span: self.scale * x[span]


def windows(tokens: np.ndarray) -> Excerpts:
    n, none = np.arange(len(tokens)), [np.zeros(tokens.shape[1], np.int64)] * len(tokens)
    return Excerpts.build(n, n // 3, n // 3, n, list(tokens), none, none, [""] * len(tokens))


def uniform(seed: int, n: int = 150, length: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, 30, (n, length)).astype(np.int64)


def layer_of(whole: Whole, number: int, explain: np.ndarray) -> Layer:
    """Statistics of explain; only the means of x and a are used here."""
    site = whole.subject.sites[number]
    x = whole.read(explain, site).reshape(-1, site.width).double().numpy()
    nan, a = np.full(site.width, np.nan), np.maximum(x, 0)
    return Layer(site, (LayerStats(site, "+", len(x), x.mean(0), x.std(0), x.min(0), x.max(0), a.mean(0), a.std(0), a.max(0), nan, nan,
                                   np.zeros((site.width, len(QUANTILES))), nan),))


@pytest.fixture
def encoder(make_model: Make) -> Whole:  # noqa: F811
    return open_whole(str(make_model("bert", **BERT)), device="cpu")


def test_the_original_is_everything_and_the_means_are_nothing(encoder: Whole) -> None:
    layer, column = layer_of(encoder, 1, uniform(1)), np.arange(48)
    found = account(encoder, layer, column, {"labels": Exact(encoder, layer.site), "silent": Exact(encoder, layer.site, 0.0)}, windows(uniform(2)),
                    windows(uniform(3)))
    by = {(r.scope, r.predictor): r for r in found.rows}
    assert len(by) == 4 and found.labelled == found.neurons == 48 and found.n_documents == 50 and found.n_tokens == 1500
    for scope in ("layer", "labelled"):
        exact, silent = by[scope, "labels"], by[scope, "silent"]  # type: ignore[index]  # the loop's names are scopes
        assert exact.share == pytest.approx(1, abs=1e-9)
        assert silent.share == silent.low == silent.high == 0.0 and silent.loss == found.loss_mean["layer"] > 0
    assert found.flat == {"labels": 0, "silent": 48} and found.loss_original == 0


def planted(encoder: Whole, sets: list[tuple[int, ...]]) -> Whole:
    subject = Planted(encoder.subject, tuple(Plant("1", u, "tokens", ((Tokens((s,)), 1.0 + u % 3),)) for u, s in enumerate(sets)))
    return Whole(encoder.subject, "1 - cosine", encoder.pooling, before=subject.edits)


def test_planted_units_with_their_true_labels(encoder: Whole) -> None:
    rng = np.random.default_rng(5)
    sets = [tuple(rng.choice(np.arange(5, 30), 6, replace=False).tolist()) for _ in range(48)]
    whole = planted(encoder, sets)
    layer = layer_of(whole, 1, uniform(1, 400))
    subject = Planted(encoder.subject, tuple(Plant("1", u, "tokens", ((Tokens((s,)), 1.0 + u % 3),)) for u, s in enumerate(sets)))
    tokens = uniform(9)
    assert torch.equal(subject.activations(tokens, layer.site), whole.read(tokens, layer.site))  # planted as ever
    select, test = windows(uniform(2, 400)), windows(uniform(3))
    true, foreign = Tokens(tuple(sets)), Tokens(tuple(np.roll(np.array(sets, int), 1, 0).tolist()))
    found = account(whole, layer, np.arange(48), {"labels": true, "permuted": foreign}, select, test)
    share = {r.predictor: r for r in found.rows if r.scope == "layer"}
    assert share["labels"].share is not None and share["labels"].share > 0.99
    assert share["permuted"].high is not None and share["permuted"].high < 0.5
    half = account(whole, layer, np.arange(0, 48, 2), {"labels": Tokens(tuple(sets[::2]))}, select, test)
    by = {r.scope: r for r in half.rows}
    assert by["labelled"].share > 0.99 and 0.1 < by["layer"].share < 0.9  # type: ignore[operator]  # both have one
    assert half.loss_mean["labelled"] < half.loss_mean["layer"] and half.labelled == 24


def test_a_decoder(make_model: Make) -> None:  # noqa: F811
    whole = open_whole(str(make_model("gpt2", tokenizer="gpt2", head=True, **GPT2)), device="cpu")
    layer, model = layer_of(whole, 0, uniform(1)), whole.subject.model

    def written(seed: int, n: int = 180, length: int = 12) -> np.ndarray:  # by the model itself: nothing predicts such a text better
        generator, ids = torch.Generator().manual_seed(seed), torch.zeros(n, 1, dtype=torch.long)
        with torch.no_grad():
            for _ in range(length):
                ids = torch.cat([ids, torch.multinomial(model(input_ids=ids).logits[:, -1].softmax(-1), 1, generator=generator)], 1)
        return ids[:, 1:].numpy()

    sources = {"labels": Exact(whole, layer.site), "silent": Exact(whole, layer.site, 0.0)}
    found = account(whole, layer, np.arange(layer.site.width), sources, windows(written(2)), windows(written(3)))
    share = {r.predictor: r for r in found.rows if r.scope == "layer"}
    assert share["labels"].share == pytest.approx(1, abs=1e-5) and share["silent"].share == 0
    assert found.loss_original < found.loss_mean["layer"]


def test_a_layer_that_does_nothing_has_no_share(encoder: Whole) -> None:
    layer = layer_of(encoder, 1, uniform(1))
    weight = encoder.subject.place(layer.site).module.get_parameter("weight")
    kept = weight.detach().clone()
    weight.data[:] = 0
    found = account(encoder, layer, np.arange(48), {"labels": Exact(encoder, layer.site)}, windows(uniform(2, 30)), windows(uniform(3, 30)))
    weight.data[:] = kept
    assert all(r.share is None and r.low is None and r.reason == NO_COST for r in found.rows)


def test_lines_are_least_squares_also_where_both_sides_have_a_label() -> None:
    rng = np.random.default_rng(0)
    column = np.array([2, 0, 5, 2])  # neuron 2 has two labels
    wiring = Wiring.of(column)
    assert wiring.neuron.tolist() == [0, 2, 5] and wiring.partner.tolist() == [3, -1, -1, 0]
    c = rng.random((500, 4)) * (rng.random((500, 4)) < 0.3)
    c[:, 3] *= c[:, 0] == 0
    c[:, 2] = 0.7  # does not vary
    x = np.stack([3 * c[:, 1], 2 * c[:, 0] - 5 * c[:, 3] + 0.1 * rng.normal(size=500), rng.normal(size=500)], 1)
    fit = Fit(wiring)
    for part in np.array_split(np.arange(500), 3):
        fit.add(c[part], x[part])
    line = fit.line(np.array([10.0, 20.0, 30.0]))
    wanted = np.linalg.lstsq(np.c_[c[:, [0, 3]], np.ones(500)], x[:, 1], rcond=None)[0]
    np.testing.assert_allclose(line.slope, [wanted[0], 3, 0, wanted[1]], atol=1e-8)
    assert line.flat == 1
    values = line(c)
    np.testing.assert_allclose(values.mean(0), [*x[:, :2].mean(0), 30.0])
    np.testing.assert_allclose(values[:, 1] - values[:, 1].mean(), np.c_[c[:, [0, 3]]] @ wanted[:2] - (c[:, [0, 3]] @ wanted[:2]).mean(), atol=1e-8)


def test_sources_say_what_patterns_and_tables_say() -> None:
    e = excerpts(3, 20, STEMS[:20])
    patterns = [word_list((STEMS[0], STEMS[3])), None, word_list((STEMS[1],))]
    patterns.append(patterns[0])
    read = PatternSource(patterns, lambda ps, es: run(ps, es, vocabulary=VOCABULARY)).read(e)
    whole = run([p for p in patterns if p is not None], e, vocabulary=VOCABULARY).csr().toarray().T
    span = slice(17, 90)
    np.testing.assert_array_equal(read(span), np.c_[whole[:, 0], np.zeros(e.n_tokens), whole[:, 1], whole[:, 2]][span])
    types = np.unique(e.tokens)[::2]
    table = Table(types, np.ones(len(types), np.int64), np.random.default_rng(0).random((len(types), 6)).astype(np.float32), np.zeros(0, np.int64),
                  np.zeros((0, 6), np.float32))
    site = Site("0", 0, "mlp", 6, False)
    nan, mean = np.full(6, np.nan), np.arange(6.0)
    stats = LayerStats(site, "+", 1, nan, nan, nan, nan, mean, nan, nan, nan, nan, np.zeros((6, len(QUANTILES))), nan)
    got = TableSource(table, Layer(site, (stats,)), np.array([4, 1])).read(e)(span)
    row = {int(t): table.mean[i, [4, 1]] for i, t in enumerate(types)}
    np.testing.assert_allclose(got, [row.get(int(t), [4.0, 1.0]) for t in e.tokens[span]], rtol=1e-6)
