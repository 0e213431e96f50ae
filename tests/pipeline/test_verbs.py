"""The verbs, end to end on the real model: what they leave in the catalogue, and that nothing is done twice."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

import autolabel as al
from autolabel.errors import CatalogueError, PatternError, SettingsError, UnitError
from autolabel.pipeline import scoring
from autolabel.pipeline.selection import select_units

LABELS = ["unit", "model", "layer", "site", "neuron", "side", "label", "pattern", "explainer", "llm", "simulator", "score", "ci_low", "ci_high", "peak", "peak_low", "peak_high", "n", "p_foreign", "p_size", "p", "q_value", "baseline", "peak_baseline", "ceiling", "rho_context", "rho_context_low", "rho_context_high", "contextual", "rho_new", "rho_new_low", "rho_new_high", "carries_over", "informative", "rank", "mass_recall", "verdict", "reason", "test_looks", "cost_usd"]


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


def test_every_unit_is_attempted_once_and_has_a_verdict(small: Path) -> None:
    catalogue = al.open_catalogue(small)
    assert catalogue.read("SELECT count(*), count(DISTINCT unit), count(verdict), count(reason) FROM labels") == [(1536, 1536, 1536, 1536)]
    assert [r[0] for r in catalogue.read("DESCRIBE labels")] == LABELS
    bad = catalogue.read("SELECT count(*) FROM labels WHERE NOT (coalesce(ci_low <= score AND score <= ci_high, true) AND p = greatest(p_foreign, p_size) "
                         "AND q_value >= p - 1e-12 AND coalesce(rank, 1) BETWEEN 1 AND 1536 AND (verdict = 'confirmed') = (q_value < .05 AND verdict = 'confirmed'))")
    assert bad == [(0,)]
    assert catalogue.read("SELECT count(*) FROM labels WHERE verdict = 'confirmed' AND (q_value >= .05 OR score IS NULL)") == [(0,)]
    assert catalogue.read("SELECT count(*) FROM labels WHERE (label IS NULL) <> (verdict IN ('abstained', 'failed'))") == [(0,)]
    assert catalogue.read("SELECT count(*) > 100 FROM labels WHERE verdict = 'confirmed'") == [(True,)]


def test_the_control_stands_in_the_leaderboard_alone(small: Path) -> None:
    catalogue = al.open_catalogue(small)
    assert catalogue.read("SELECT DISTINCT model FROM labels UNION SELECT DISTINCT model FROM neurons UNION SELECT DISTINCT model FROM exemplars "
                          "UNION SELECT DISTINCT model FROM candidates") == [("minilm",)]
    assert {r for r in catalogue.read("SELECT model, control, units_attempted FROM leaderboard WHERE explainer = 'induce'")} == {
        ("minilm", False, 1536), ("minilm~shuffled", True, 256)}


def test_the_chosen_label_is_the_best_on_select_and_never_the_null(small: Path) -> None:
    catalogue = al.open_catalogue(small)
    rows = catalogue.read("SELECT count(*) FROM candidates c JOIN labels l USING (unit) WHERE c.explainer <> 'constant' AND NOT c.abstained AND "
                          "sqrt(greatest(c.select_score, 0) * greatest(c.select_peak, 0)) > 1e-9 + (SELECT sqrt(greatest(b.select_score, 0) * "
                          "greatest(b.select_peak, 0)) FROM candidates b WHERE b.unit = c.unit AND b.chosen)")
    assert rows == [(0,)]
    assert catalogue.read("SELECT count(*) FROM labels WHERE explainer = 'constant' AND label IS NOT NULL") == [(0,)]


def test_a_second_run_does_nothing(catalogue: al.Catalogue) -> None:
    before = catalogue.read("SELECT * FROM labels ORDER BY unit")
    count = al.explain(catalogue, "induce", model="minilm")
    assert (count.asked, count.done, count.before) == (1536, 0, 1536)
    assert al.score(catalogue, model="minilm").done == 0
    assert al.choose(catalogue, model="minilm").done == 0
    assert catalogue.read("SELECT * FROM labels ORDER BY unit") == before


@pytest.mark.parametrize("broken", ["store_best", "store_scores"])
def test_a_score_that_is_cut_short_leaves_nothing_out(catalogue: al.Catalogue, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    kept = "SELECT layer, side, neuron, words, best FROM baselines WHERE model = 'minilm' ORDER BY ALL"
    before = catalogue.read(kept)
    assert before and all(row[-1] for row in before)
    with catalogue.writer() as writer:
        writer.write(lambda connection: connection.execute("UPDATE baselines SET best = NULL WHERE model = 'minilm'"))
        writer.delete("scores", "model = 'minilm' AND split = 'select'")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scoring, broken, stop)
        al.score(catalogue, model="minilm")
    assert al.score(catalogue, model="minilm").done > 0
    assert catalogue.read(kept) == before


def test_a_new_candidate_is_looked_at_and_the_look_is_counted(catalogue: al.Catalogue) -> None:
    al.explain(catalogue, "tokens", units="4/0-9", settings={"words": "2"})
    with pytest.raises(SettingsError, match="run `autolabel score`"):
        al.choose(catalogue)
    al.score(catalogue)
    with catalogue.writer() as writer:  # what another scorer has said by then counts in the verdict
        writer.write(lambda c: c.execute("INSERT INTO scores (explanation, model, split, scorer, simulator, value, low, high, n, extra) SELECT id, model, "
                                         "'select', 'detection', 'j', .2, .1, .3, 40, '{\"chance\": 0.5}' FROM explanations WHERE model = 'minilm' AND neuron < 10"))
    count = al.choose(catalogue)
    assert (count.done, count.before) == (10, 1526)
    odd = "(verdict = 'contested') <> (neuron < 10 AND score IS NOT NULL AND (ci_low > 0 OR ci_high < 0) AND verdict NOT IN ('imprecise', 'unscored'))"
    assert catalogue.read(f"SELECT count(*) FILTER ({odd}), count(*) FILTER (verdict = 'contested') > 2 FROM labels") == [(0, True)]
    assert catalogue.read("SELECT test_looks, count(*) FROM labels GROUP BY 1 ORDER BY 1") == [(1, 1526), (2, 10)]


def test_a_label_of_your_own_is_scored_like_any_other(catalogue: al.Catalogue) -> None:
    unit, pattern, score, peak = catalogue.read("SELECT unit, pattern, score, peak FROM labels WHERE verdict = 'confirmed' ORDER BY score DESC LIMIT 1")[0]
    mine = al.score_label(catalogue, unit, "what the program said", pattern)
    assert mine["score"] == pytest.approx(score, abs=1e-6) and mine["peak"] == pytest.approx(peak, abs=1e-6)
    assert catalogue.read("SELECT label FROM candidates WHERE explainer = 'human'") == [("what the program said",)]
    assert al.score_label(catalogue, unit, "only a sentence")["reason"].startswith("nothing reads the sentence")
    with pytest.raises(PatternError, match="column"):
        al.score_label(catalogue, unit, "broken", '{"any": [{"onn": {"word": ["x"]}}]}')


@pytest.mark.parametrize(("selection", "count"), [
    ("4/7", 1), ("4", 1536), ("4-4", 1536), ("4/100-199", 100), ("4/1,4/3-4", 3), ("sample:12", 12), ("minilm/4-mlp/5", 1), ("L4N5", 1),
    ("sql:SELECT unit FROM labels ORDER BY score DESC NULLS LAST LIMIT 4", 4),
])
def test_selections(small: Path, selection: str, count: int) -> None:
    catalogue = al.open_catalogue(small)
    units = select_units(catalogue, "minilm", selection)
    assert len(units) == count and units == select_units(catalogue, "minilm", selection)


@pytest.mark.parametrize(("selection", "message"), [
    ("9/1", "no layer 9: it has 4"), ("4/1536", "it has 0 to 1535"), ("4/1000-2000", "it has 0 to 1535"), ("4/-3", "negative side"),
    ("4/x", "cannot read"), ("sample:0", "cannot read 'sample:0'"), ("nonsense", "cannot read"), ("sql:SELECT 'minilm/4-mlp/9999'", "there is no unit"),
])
def test_what_does_not_exist_says_what_does(small: Path, selection: str, message: str) -> None:
    with pytest.raises(UnitError, match=message):
        select_units(al.open_catalogue(small), "minilm", selection)


def test_another_model_or_corpus_under_the_same_name_is_refused(catalogue: al.Catalogue) -> None:
    with pytest.raises(CatalogueError, match="already holds minilm with other corpus"):
        al.extract("demo", corpus="demo", db=catalogue.path, layers="4", max_tokens=9_000)
    with pytest.raises(CatalogueError, match="holds no model 'nosuch'"):
        al.explain(catalogue, model="nosuch")


def test_changed_weights_are_noticed(catalogue: al.Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    from autolabel.pipeline import session

    with catalogue.writer() as writer:
        writer.write(lambda connection: connection.execute("UPDATE models SET hash = 'other' WHERE name = 'minilm'"))
    monkeypatch.setattr(session, "_LOADED", {})
    with pytest.raises(CatalogueError, match="has changed since minilm was extracted"):
        al.explain(catalogue, "tokens", settings={"words": "3"}, model="minilm")


def test_a_run_file_says_what_is_wrong(tmp_path: Path) -> None:
    for text, message in (("[extractt]\n", "unknown section"), ("[extract]\ncorpsu = 'x'\n", "unknown key 'corpsu'"), ("x = 1\n", "unknown section"),
                          ("[extract\n", "not valid TOML")):
        file = tmp_path / "plan.toml"
        file.write_text(text)
        with pytest.raises(SettingsError, match=message):
            al.run(file)
    with pytest.raises(SettingsError, match="does not exist"):
        al.run(tmp_path / "missing.toml")


def test_a_run_file_labels_what_it_extracted_in_a_catalogue_of_several_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import datetime

    from autolabel.pipeline import runfile

    catalogue, labelled = al.open_catalogue(tmp_path / "two.duckdb", create=True), []

    def extract(subject: str, control: str | None = None, **_: object) -> al.Catalogue:
        name = f"z-{subject}" if control is None else f"z-{subject}~{control}"
        with catalogue.writer() as writer:
            writer.delete("runs", "id = ?", [name])
            writer.insert("runs", {"id": [name], "command": ["extract"], "settings": ["{}"], "versions": ["{}"], "model": [name], "model_hash": ["h"], "corpus": ["c"],
                                   "seed": [0], "state": ["complete"], "started": [datetime.now()], "finished": [datetime.now()]})
        return catalogue

    monkeypatch.setattr(runfile, "extract", extract)
    monkeypatch.setattr(runfile, "label", lambda _, model, **__: labelled.append(model))
    for subject in ("first", "second", "first"):  # the third time nothing is extracted anew
        (tmp_path / "plan.toml").write_text(f"[extract]\nsubject = '{subject}'\n[control]\nkind = 'shuffled'\n")
        al.run(tmp_path / "plan.toml")
    assert labelled == ["z-first", "z-first~shuffled", "z-second", "z-second~shuffled", "z-first", "z-first~shuffled"]


def test_demo_is_the_demo_also_where_a_folder_of_that_name_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autolabel.pipeline.extracting import _spec

    (tmp_path / "demo").mkdir()
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert _spec("demo") == "demo" and _spec("org/name") == "org/name" and _spec("model") == str((tmp_path / "model").resolve())


def test_concepts_of_your_own(catalogue: al.Catalogue, tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text("all\t\tall\t\ncomma\tall\tmy own small words\tthe|a|an|of|to|in|on|at|for|and|or|but|he|she|it|they|i|we|you|is|are|was|were|be\n")
    first = al.explain(catalogue, "induce", units="4/0-299", hierarchy=str(file))
    assert (first.done, first.before) == (300, 0)
    assert al.explain(catalogue, "induce", units="4/0-299", hierarchy=str(file)).done == 0
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    mine = catalogue.read(f"SELECT count(*) FROM explanations WHERE settings ->> 'concepts' = '{sha}' AND pattern LIKE '%\"comma\"%' AND text LIKE '%my own small words%'")
    assert mine[0][0] > 0
    with pytest.raises(SettingsError, match="made with another concept hierarchy"):
        al.score(catalogue, hierarchy=str(file))
    al.score(catalogue, units="4/0-299", hierarchy=str(file))
    assert al.choose(catalogue, units="4/0-299", hierarchy=str(file)).done == 300
    assert catalogue.read("SELECT DISTINCT json_extract_string(settings, '$.hierarchy') FROM runs WHERE command = 'choose' AND settings LIKE '%0-299%'") == [(sha,)]
    unit = catalogue.read("SELECT unit FROM labels LIMIT 1")[0][0]
    assert al.score_label(catalogue, unit, "mine", '{"any": [{"on": {"concept": "comma"}}]}', hierarchy=str(file))["n"] > 0
