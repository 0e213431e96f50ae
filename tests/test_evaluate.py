"""Suites are read strictly, run, and leave a report that says how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from autolabel.audits.nulls import Pool, catalogue
from autolabel.errors import SettingsError
from autolabel.evaluate import evaluate, read_suite, rows, suites
from autolabel.suites.world import Line


def test_every_suite_that_is_there_can_be_read() -> None:
    import importlib
    import inspect

    assert {"planted", "null", "degraded", "estimator", "metrics"} <= set(suites())
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
