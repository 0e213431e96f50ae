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
from autolabel.pipeline import account, nulls, open_catalogue
from autolabel.pipeline.accounting import PREDICTORS
from autolabel.scorers.misfits import KINDS


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


def test_labels_that_should_not_fit_are_scored_beside_the_own_one(catalogue: Catalogue) -> None:
    looks = catalogue.read("SELECT sum(test_looks) FROM labels")[0][0]
    first = nulls(catalogue, units="4/0-99", max_tokens=600, threads=1)
    n = catalogue.read("SELECT count(*) FROM labels WHERE neuron < 100 AND score IS NOT NULL AND pattern IS NOT NULL")[0][0]
    assert (first.done, first.before) == (1, 0) and [r[0] for r in first.rows] == list(KINDS)
    assert catalogue.read("SELECT sum(test_looks) FROM labels") == [(looks + n,)]
    assert catalogue.read("SELECT DISTINCT kind, count(*) OVER (PARTITION BY kind) FROM nulls ORDER BY 1") == [(kind, n) for kind in sorted(KINDS)]
    figures = dict((r[0], r[2:]) for r in first.rows)
    assert figures["random unit"][1] < figures["nearest unit"][1] < figures["nearest unit"][0]
    assert catalogue.read("SELECT count(*) FROM nulls WHERE other = unit OR (kind = 'nearest unit' AND (other IS NULL OR NOT likeness BETWEEN -1 AND 1))") == [(0,)]
    assert catalogue.read("SELECT count(*) FROM nulls JOIN labels USING (unit) WHERE bits IS DISTINCT FROM log2(1536 / labels.rank)") == [(0,)]
    assert catalogue.read("SELECT count(*) FROM nulls WHERE NOT coalesce(score - null_score BETWEEN better_low - 1e-9 AND better_high + 1e-9, true)") == [(0,)]
    again = nulls(catalogue, units="4/0-99", max_tokens=600, threads=1)
    assert (again.done, again.before, again.rows) == (0, 1, first.rows)
    with pytest.raises(SettingsError, match="control"):
        nulls(catalogue, model="minilm~shuffled")
