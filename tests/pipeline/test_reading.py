"""Labels that are only sentences: read by a simulator on select and on test, chosen and judged as any other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import autolabel as al
from autolabel.catalogue.checks import counts_add_up
from autolabel.errors import RefusedError, SettingsError
from autolabel.llms.scripted import Scripted
from autolabel.protocols import Message
from autolabel.types import Ask

LABEL = "the words 'the' and 'of'"
UNITS = "4/0-5"
SMALL = {"start": "40", "cap": "40"}


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


def knows(messages: Sequence[Message], ask: Ask) -> str:
    """Explains every neuron by two words, and simulates that label to the letter."""
    if ask.role == "explain":
        return f"LABEL: {LABEL}"
    if ask.role == "detect":
        numbers = re.findall(r"^\[\w+ (\d+)\]", messages[-1]["content"], re.M)
        return json.dumps({"answers": [[int(n), int(n) % 2] for n in numbers]})
    tokens = json.loads(messages[-1]["content"][messages[-1]["content"].rindex("[[0,"):].split("\n")[0])
    return json.dumps({"activations": [[i, t, 10 if t.strip().lower() in ("the", "of") else 0] for i, t in tokens]})


def test_a_sentence_is_explained_scored_chosen_and_judged(catalogue: al.Catalogue) -> None:
    llm = Scripted("scripted/knows", knows)
    count = al.label(catalogue, explainers=["summary"], llm=llm, units=UNITS, simulator="digits", scorer_settings=SMALL)
    assert count.pending == 0 and count.failed == 0
    rows = catalogue.read("SELECT select_score, test_score, simulator FROM candidates WHERE explainer = 'summary'")
    assert len(rows) == 6 and all(simulator == "digits" and a is not None and b is not None for a, b, simulator in rows)
    # the same label as a pattern, over the whole split, agrees with what was read on samples
    for unit, sampled in catalogue.read("SELECT unit, test_score FROM candidates WHERE explainer = 'summary' ORDER BY unit LIMIT 3"):
        exact = al.score_label(catalogue, unit, LABEL, '{"any": [{"on": {"word": ["the", "of"]}}]}')
        assert sampled == pytest.approx(exact["score"], abs=0.12), unit
    found = catalogue.read("SELECT count(*), count(test_score) FROM candidates WHERE explainer = 'summary' AND simulator = 'digits'")
    assert found == [(6, 6)]
    board = catalogue.read("SELECT units_attempted, coverage FROM leaderboard WHERE explainer = 'summary' AND simulator = 'digits'")
    assert board == [(6, 1.0)]


def test_a_simulator_that_asks_another_llm_scores_anew(catalogue: al.Catalogue) -> None:
    al.explain(catalogue, explainer="summary", llm=Scripted("scripted/knows", knows), units="4/0-1")
    how = {"scorer": "simulation", "simulator": "digits", "which": "sentences", "settings": SMALL, "units": "4/0-1"}
    for name, done in (("scripted/knows", 2), ("scripted/knows", 0), ("scripted/other", 2), ("scripted/other", 0)):
        assert al.score(catalogue, llm=Scripted(name, knows), **how).done == done, name
    assert catalogue.read("SELECT DISTINCT extra ->> 'judge' FROM scores WHERE simulator = 'digits'") == [("scripted/other",)]


def test_a_sentence_that_wins_has_its_columns(catalogue: al.Catalogue) -> None:
    with catalogue.writer() as writer:  # nothing else to choose from for these
        writer.delete("explanations", "model = 'minilm' AND neuron < 6 AND explainer <> 'constant'")
    llm = Scripted("scripted/knows", knows)
    al.label(catalogue, explainers=["summary"], llm=llm, units=UNITS, scorer_settings=SMALL)
    rows = catalogue.read("SELECT label, simulator, score, n, p_foreign, p_size, baseline, rank, rho_context, verdict, informative, llm FROM labels WHERE neuron < 6")
    assert len(rows) == 6
    for label, simulator, score, n, p_foreign, p_size, baseline, rank, context, verdict, informative, who in rows:
        assert (label, simulator, who, context) == (LABEL, "digits", "scripted/knows", None) and score is not None and 30 <= n <= 45
        assert 0 < p_foreign <= 1 and 0 <= p_size <= 1 and baseline is not None and rank >= 1 and informative is not None
        assert verdict in ("confirmed", "partial", "rejected", "imprecise")
    asked: list[Ask] = []

    def silent(messages: Sequence[Message], ask: Ask) -> str:
        asked.append(ask)
        raise AssertionError("nothing is asked twice")
    again = al.label(catalogue, explainers=["summary"], llm=Scripted("scripted/knows", silent), units=UNITS, scorer_settings=SMALL)
    assert (again.done, asked) == (0, [])


def test_units_whose_calls_failed_are_attempted_units(catalogue: al.Catalogue) -> None:
    with catalogue.writer() as writer:
        writer.delete("explanations", "model = 'minilm' AND neuron < 6")

    def refuse(messages: Sequence[Message], ask: Ask) -> str:
        raise RefusedError("the model refuses", "no")
    count = al.label(catalogue, explainers=["summary"], llm=Scripted("scripted/refuse", refuse), units=UNITS)
    assert count.failed == 6
    assert catalogue.read("SELECT verdict, reason, label, p, q_value FROM labels WHERE neuron < 6") == [("failed", "refused: the model refuses", None, 1.0, 1.0)] * 6
    assert counts_add_up(catalogue) == []


def test_other_scorers_stand_beside_and_a_missing_llm_is_named(catalogue: al.Catalogue) -> None:
    llm = Scripted("scripted/knows", knows)
    al.explain(catalogue, "summary", units="4/0-1", llm=llm)
    count = al.score(catalogue, scorer="detection", llm=llm, units="4/0-1")
    assert count.done + count.failed + count.unscored + count.before == count.asked - count.abstained and count.done > 0
    rows = catalogue.read("SELECT simulator, value, extra ->> 'chance' FROM scores WHERE scorer = 'detection' AND value IS NOT NULL")
    assert rows and all(judge == "scripted/knows" and 0 <= v <= 1 and float(chance) == .5 for judge, v, chance in rows)
    with pytest.raises(SettingsError, match="asks an LLM"):
        al.score(catalogue, scorer="fuzzing")
    with pytest.raises(SettingsError, match="the simulator digits asks an LLM"):
        al.score(catalogue, scorer="simulation", simulator="digits")
    assert al.score_label(catalogue, "4/3", "small words", simulator="embedding")["score"] is not None
