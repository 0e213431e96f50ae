"""The verb `account` on the real pipeline's catalogue."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from autolabel.catalogue import Catalogue
from autolabel.cli import cli
from autolabel.errors import SettingsError, UnitError
from autolabel.pipeline import account, open_catalogue
from autolabel.pipeline.accounting import PREDICTORS


@pytest.fixture(scope="module")
def catalogue(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    db = tmp_path_factory.mktemp("account") / "small.duckdb"
    shutil.copy(small, db)
    return open_catalogue(db)


def test_a_layer_is_accounted_once(catalogue: Catalogue) -> None:
    looks = dict(catalogue.read("SELECT unit, test_looks FROM labels"))
    first = account(catalogue, units="4/0-199", max_tokens=300, threads=1)
    assert (first.done, first.before) == (1, 0)
    by = {(r["scope"], r["predictor"]): r for r in first.rows}
    assert set(by) == {(scope, name) for scope in ("layer", "labelled") for name in PREDICTORS}
    mine = {u for u, in catalogue.read("SELECT unit FROM labels WHERE neuron < 200 AND score IS NOT NULL AND pattern IS NOT NULL")}
    some = by["labelled", "labels"]
    assert some["labels"] == len(mine) > 100 and some["neurons"] == 1536 and some["measure"] == "1 - cosine" and some["pooling"] == "mean of all tokens"
    assert 0 < some["n_tokens"] <= 300 < some["fit_tokens"] <= 1200 and some["n_documents"] > 3
    assert some["loss_original"] == 0 < some["loss_mean"] < by["layer", "labels"]["loss_mean"]
    share = (some["loss_mean"] - some["loss"]) / some["loss_mean"]
    assert some["share"] == pytest.approx(share) and some["share_low"] < share < some["share_high"]
    assert by["labelled", "ceiling"]["share"] > by["labelled", "permuted"]["share"]
    assert dict(catalogue.read("SELECT unit, test_looks FROM labels")) == {u: n + (u in mine) for u, n in looks.items()}
    again = account(catalogue, units="4/0-199", max_tokens=300, threads=1)
    assert (again.done, again.before) == (0, 1) and again.rows == first.rows
    result = CliRunner().invoke(cli, ["account", "--db", str(catalogue.path), "--units", "4/0-199", "--max-tokens", "300", "--json"])
    assert result.exit_code == 0 and [r["scope"] for r in json.loads(result.stdout)] == ["labelled", "layer"]


def test_mistakes_are_one_line(catalogue: Catalogue) -> None:
    with pytest.raises(SettingsError, match="control"):
        account(catalogue, model="minilm~shuffled")
    with pytest.raises(UnitError, match="no layer 3"):
        account(catalogue, units="3")
    with pytest.raises(SettingsError, match="max_tokens"):
        account(catalogue, max_tokens=0)
    none = next(u for u, in catalogue.read("SELECT unit FROM labels WHERE score IS NULL"))
    with pytest.raises(SettingsError, match="no chosen label"):
        account(catalogue, units=[none])
