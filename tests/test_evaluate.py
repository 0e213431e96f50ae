"""Suites are read strictly, run, and leave a report that says how it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from autolabel.audits.nulls import Pool, catalogue
from autolabel.errors import SettingsError
from autolabel.evaluate import evaluate, read_suite, rows, suites
from autolabel.excerpts import Excerpts
from autolabel.stats.proportions import wilson
from autolabel.suites.control import Counted, _apart, _difference
from autolabel.suites.retest import halves
from autolabel.suites.world import Line, Some


def test_every_suite_that_is_there_can_be_read() -> None:
    import importlib
    import inspect

    assert {"planted", "null", "degraded", "estimator", "metrics", "control", "retest", "agreement", "cost"} <= set(suites())
    for name in suites():
        suite = read_suite(name)
        module, function = suite.run.split(":")
        wanted = set(inspect.signature(getattr(importlib.import_module(f"autolabel.suites.{module}"), function)).parameters) - {"seed"}
        assert set(suite.settings) == wanted and set(suite.quick) <= wanted, name


def test_a_report_names_command_seed_machine_and_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*, seed: int, **_settings: object) -> Iterator[Line]:
        yield Line("a | b", f"{seed}", "<= 3", seed <= 3)
    monkeypatch.setattr("autolabel.suites.planted.run", run)
    lines = evaluate("planted", seed=5, out=tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text("utf-8")
    assert rows(lines) == [("a | b", "5", "<= 3", "NO")]
    assert "`autolabel eval planted --seed 5`, 2" in text and "| a \\| b | 5 | <= 3 | NO |" in text and "Machine: " in text and "`units` = " in text


def test_the_difference_of_two_shares_has_newcombes_interval() -> None:
    d = _difference(wilson(56, 70), wilson(48, 80))  # the first example of Newcombe 1998, method 10
    assert (round(d.value, 4), round(d.low, 4), round(d.high, 4)) == (0.2, 0.0524, 0.3339)


def test_a_control_is_told_apart_only_where_every_copy_is() -> None:
    def counted(hits: int) -> Counted:
        return Counted({"0": 100}, {"confirmed": {"0": hits}}, 0, (0.1, 0.1, 0.1))
    apart = _apart("shuffled", "confirmed", counted(80), [counted(20), counted(30)])
    assert apart.measured.startswith("told apart; +60.0 points")
    assert _apart("shuffled", "confirmed", counted(80), [counted(20), counted(79)]).measured.startswith("NOT told apart")


def test_some_neurons_of_a_layer_are_a_subject() -> None:
    import torch

    from autolabel.types import Site

    class Inner:
        name = "inner"

        def run(self, tokens: np.ndarray, sites: list[Site], visit: Callable[..., None]) -> None:
            visit(sites[0], torch.from_numpy(tokens[..., None] * np.arange(8.0)), slice(1, 3))

        def activations(self, tokens: np.ndarray, site: Site) -> torch.Tensor:
            assert site.width == 8
            return torch.from_numpy(tokens[..., None] * np.arange(8.0))
    some = Some(Inner(), Site("3", 3, "mlp", 8, False), np.array([5, 2]))
    seen = []
    tokens = np.arange(8).reshape(2, 4)
    some.run(tokens, some.sites, lambda site, x, span: seen.append((site.width, x.numpy(), span)))
    assert seen[0][0] == 2 and seen[0][2] == slice(1, 3)
    np.testing.assert_array_equal(seen[0][1], tokens[..., None] * np.array([5.0, 2.0]))
    np.testing.assert_array_equal(some.activations(tokens, some.sites[0]).numpy(), seen[0][1])
    assert some.name == "inner"


def test_halves_share_no_document() -> None:
    rows = [np.array([i, i + 1]) for i in range(40)]
    blocks = np.arange(40) // 2
    e = Excerpts.build(np.arange(40), blocks, blocks, np.zeros(40, int), rows, rows, rows, ["xx"] * 40)
    one, two = halves(e, 3)
    assert len(one) + len(two) == 40 and min(len(one), len(two)) > 5 and not set(one.block) & set(two.block)


def test_mistakes() -> None:
    with pytest.raises(SettingsError, match="no suite 'nosuch'"):
        evaluate("nosuch")
    with pytest.raises(SettingsError, match="quick run"):
        evaluate("planted", quick=True, out="x.md")


def test_catalogues_of_half_false_labels_hold_their_rate() -> None:
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    documents = np.repeat(np.arange(300), 60)
    c = rng.random((len(documents), 80)) < rng.beta(1, 20, (300, 80))[documents] * 0.2
    pool = Pool(sp.csc_matrix(c.astype(float)), documents)
    made = [catalogue(pool, np.random.default_rng(k), 80, 1) for k in range(12)]
    rate = np.mean([d.false / max(1, d.confirmed) for d in made])
    assert rate <= 0.05 and sum(d.found for d in made) >= 0.8 * sum(d.strong for d in made)
