from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autolabel.catalogue import Catalogue
from autolabel.catalogue.checks import check_all, counts_add_up, leaks
from autolabel.stats import benjamini_hochberg
from tests.catalogue.making import TEXT, small

COLUMNS = {
    "neurons": "unit model layer layer_order site neuron firing_rate active_rate mean std min max quantiles top_tokens lexicality positional_share n_tokens",
    "labels": "unit model layer site neuron side label pattern explainer llm simulator score ci_low ci_high peak peak_low peak_high n p_foreign "
              "p_size p q_value baseline peak_baseline ceiling rho_context rho_context_low rho_context_high contextual rho_new rho_new_low "
              "rho_new_high carries_over informative rank mass_recall verdict reason test_looks cost_usd",
    "exemplars": "unit model layer site neuron side split band rank max_activation token before after tokens activations document excerpt weight",
    "kinds": "unit model layer site neuron side kind lexicality positional_share context_length correlations same_token n",
    "senses": "unit model layer site neuron side sense label pattern words attribution share gain gain_low gain_high confusion is_real score ci_low ci_high "
              "n p_foreign p_size p q_value confirmed n_eff clusters reason",
    "documents": "id corpus split n_tokens metadata",
    "excerpts": "id document split start n_tokens token_ids text",
    "accounting": "model layer layer_order site scope predictor share share_low share_high loss loss_original loss_mean measure pooling neurons labels "
                  "flat reason n_tokens n_excerpts n_documents fit_tokens created",
    "validity": "unit model layer site neuron side label corpus subgroup score ci_low ci_high peak n simulator reason own",
    "weakest": "unit model layer site neuron side label score min_score min_low min_high min_corpus min_subgroup min_n min_simulator corpora left_out",
    "stale": "unit model layer site neuron side label subject own score ci_low ci_high fall fall_low fall_high stale planted planted_low noticed power n simulator "
             "reason",
    "nulls": "unit model layer layer_order site neuron side kind other likeness score null_score better_low better_high rank bits n_tokens n_documents created",
    "leaderboard": "model control explainer simulator units_attempted coverage mean_score mean_low mean_high share_above_chance share_confirmed cost_usd",
}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return small(tmp_path_factory.mktemp("views") / "x.duckdb")


@pytest.mark.parametrize("view", COLUMNS)
def test_columns_are_the_contract(catalogue: Catalogue, view: str) -> None:
    assert catalogue.sql(f"FROM {view}").columns == COLUMNS[view].split()


@pytest.mark.parametrize("view", ["neurons", "labels", "candidates", "exemplars", "failures", "kinds", "validity", "weakest"])
def test_a_control_is_in_no_view_but_the_leaderboard(catalogue: Catalogue, view: str) -> None:
    assert catalogue.read(f"SELECT DISTINCT model FROM {view}") == [("org/m",)]
    assert catalogue.read("SELECT model, control FROM leaderboard ORDER BY 1") == [("org/m", False), ("org/m#shuffled", True)]


def test_neurons(catalogue: Catalogue) -> None:
    assert catalogue.read("SELECT unit, mean, std, min, max, lexicality FROM neurons ORDER BY unit") == [
        ("org/m/3-mlp/0", -.1, 1., -2., 3., None), ("org/m/3-mlp/1", -.1, 1., -2., 3., None)]


def test_labels_hold_those_that_abstained(catalogue: Catalogue) -> None:
    assert catalogue.read("SELECT unit, side, label, score, verdict, reason FROM labels ORDER BY unit") == [
        ("org/m/3-mlp/-1", "-", None, None, "abstained", "no pattern"), ("org/m/3-mlp/0", "+", "words for a", .4, "confirmed", None),
        ("org/m/3-mlp/1", "+", "words for b", .2, "rejected", None)]
    joined = catalogue.read("SELECT l.unit FROM labels l JOIN neurons n USING (model, layer, site, neuron)")
    assert len(joined) == 3


def test_candidates(catalogue: Catalogue) -> None:
    rows = catalogue.read("SELECT label, select_score, test_score, chosen, abstained, reason FROM candidates ORDER BY explanation")
    assert rows == [("words for a", .5, .4, True, False, None), ("words for b", .3, .2, True, False, None),
                    (None, None, None, True, True, "no pattern")]


def test_exemplars_give_back_the_text(catalogue: Catalogue) -> None:
    for before, token, after, tokens, activations, document in catalogue.read(
            "SELECT before, token, after, tokens, activations, document FROM exemplars"):
        assert before + token + after == TEXT == "".join(tokens) and tokens == ["añb", " 中", " c😀", " d"]
        assert token == " c😀" and activations == [0, 1, 3, 0] and document == 3
    assert catalogue.read("SELECT count(*) FROM exemplars") == [(3,)]


def test_leaderboard(catalogue: Catalogue) -> None:
    model, control = catalogue.sql("FROM leaderboard ORDER BY control").dicts()
    half = 1.959964 * (.02 ** .5) / 2 ** .5  # standard deviation of .4 and .2 over two units
    assert model["units_attempted"] == 4 and model["coverage"] == .5 and model["share_confirmed"] == .25 and model["cost_usd"] == .75
    assert model["mean_score"] == pytest.approx(.3) and model["mean_low"] == pytest.approx(.3 - half) and model["mean_high"] == pytest.approx(.3 + half)
    assert control["units_attempted"] == 2 and control["mean_score"] == .1 and control["mean_low"] is None and control["cost_usd"] is None


def test_the_leaderboard_takes_each_explainers_best_on_select(tmp_path: Path) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    with catalogue.writer() as w:
        w.insert("explanations", {"id": "better", "model": "org/m", "layer": "3", "site": "mlp", "neuron": 0, "side": "+", "text": "t",
                                  "explainer": "induce"})
        w.insert("scores", {"explanation": "better", "model": "org/m", "split": ["select", "test"], "scorer": "correlation",
                            "simulator": "pattern", "value": [.9, .1]})
    assert catalogue.read("SELECT mean_score FROM leaderboard WHERE NOT control")[0][0] == pytest.approx((.1 + .2) / 2)


def test_better_than_chance_is_benjamini_hochberg_over_all_attempted(tmp_path: Path) -> None:
    catalogue = Catalogue.open(tmp_path / "x.duckdb", create=True)
    rng = np.random.default_rng(0)
    p = np.r_[rng.uniform(0, 0.002, 30), rng.uniform(0, 1, 50)].round(6)
    n, attempted = len(p), 90  # ten abstained: p = 1
    ids = [f"e{i}" for i in range(attempted)]
    with catalogue.writer() as w:
        w.insert("models", {"name": "m", "hash": "h", "corpus_id": "c", "context": 64, "is_control": False})
        w.insert("explanations", {"id": ids, "model": "m", "layer": "0", "site": "mlp", "neuron": np.arange(attempted), "side": "+", "explainer": "x"})
        w.insert("scores", {"explanation": ids[:n], "model": "m", "split": "test", "scorer": "correlation", "simulator": "pattern", "value": 0.5,
                            "extra": [f'{{"p_foreign": {x}, "verdict": "partial"}}' for x in p]})
    (share,), = catalogue.read("SELECT share_above_chance FROM leaderboard")
    wanted = (benjamini_hochberg(np.r_[p, np.ones(attempted - n)]) <= 0.05).sum() / attempted
    assert share == wanted and 25 / 90 < share < 50 / 90


@pytest.mark.parametrize("name", ["b", "top", "x"])
def test_a_file_may_be_called_like_a_name_inside_a_view(tmp_path: Path, name: str) -> None:
    """DuckDB writes `b.b.p` down otherwise where the file is b.duckdb: such a catalogue was refused as soon as it was made."""
    Catalogue.open(Catalogue.open(tmp_path / f"{name}.duckdb", create=True).path)


def test_labels_are_read_from_one_table(tmp_path: Path) -> None:
    """A million of them are filtered and ordered in milliseconds only so: a join takes a third of a second."""
    (_, plan), = small(tmp_path / "x.duckdb").read("EXPLAIN SELECT * FROM labels WHERE verdict = 'confirmed' AND score > .1 ORDER BY score DESC LIMIT 20")
    assert "choices" in plan and "explanations" not in plan and "models" not in plan


def failing(catalogue: Catalogue) -> list[str]:
    return [finding.check.name for finding in check_all(catalogue) if not finding.holds]


def test_checks_hold_and_each_can_fail(tmp_path: Path) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    assert failing(catalogue) == [] and leaks(catalogue) == [] and counts_add_up(catalogue) == []
    unit = {"model": "org/m", "layer": "3", "site": "mlp", "neuron": 0, "side": "+"}
    with catalogue.writer() as w:
        for role, excerpt, bad in (("explain", 10, 0), ("revise", 20, 0), ("simulate", 30, 0), ("explain", 20, 1), ("explain", 30, 2), ("revise", 30, 3)):
            w.insert("calls", {"digest": f"{role}{excerpt}", "role": role})
            w.insert("prompts_excerpts", {"call": f"{role}{excerpt}", "excerpt": excerpt})
            assert len(leaks(catalogue)) == bad
        w.insert("choices", {**unit, "score": .4, "verdict": "confirmed", "explanation": "e0", "label": "words for a"})  # a second one of the same unit
        assert counts_add_up(catalogue) == [("org/m", 4, 3, 3, 0, 1)]
        w.insert("documents", {"corpus_id": "c", "id": 1, "block": 1, "split": "test"})
        w.insert("excerpts", {"corpus_id": "c", "id": 40, "document": 3, "block": 3, "split": "test", "n_tokens": 4, "token_ids": [[1, 2, 3, 4]]})
        w.insert("activations", {**unit, "split": "explain", "excerpt": 30})
        w.insert("choices", {**unit, "model": "org/m#shuffled", "score": .99, "verdict": "confirmed", "explanation": "e0", "neuron": 9})
    assert failing(catalogue) == ["counts_add_up", "leaks", "one_split", "no_repeats", "records_in_split", "scored_on_test", "as_explained"]
