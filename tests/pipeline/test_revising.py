"""Revision in the pipeline: better labels join the candidates, worse ones do no harm, and calls that show select are no explanations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import autolabel as al
from autolabel.catalogue.checks import leaks
from autolabel.errors import RefusedError, SettingsError
from autolabel.llms.scripted import Scripted
from autolabel.pipeline.asked import Access, asking
from autolabel.pipeline.revising import revise
from autolabel.protocols import Message
from autolabel.types import Ask

UNITS = "4/0-7"


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


def learns(messages: Sequence[Message], ask: Ask) -> str:
    """A poor label first; after it has seen its mistakes a better one, for some units none at all."""
    words = ["zebra", "the"] if ask.role == "explain" else ["the", "of", "and", "a", "in", "to"]
    if ask.role == "revise" and "whale" in messages[-1]["content"]:
        raise RefusedError("the model refuses", "no")
    return json.dumps({"label": f"the words {words}", "pattern": {"any": [{"on": {"word": words}}]}})


def test_revised_labels_join_the_candidates(catalogue: al.Catalogue) -> None:
    llm = Scripted("scripted/learns", learns)
    al.label(catalogue, explainers=["structured"], units=UNITS, llm=llm, rounds=2)
    rows = catalogue.read("SELECT unit, e.settings ->> 'round', select_score FROM candidates c JOIN explanations e ON e.id = c.explanation "
                          "WHERE c.explainer = 'structured' ORDER BY unit")
    first, later = [r for r in rows if r[1] is None], [r for r in rows if r[1] is not None]
    assert len(first) == 8 and len(later) >= 6 and all(score is not None for _, _, score in rows)
    best = {unit: score for unit, _, score in later}
    assert sum(best[unit] > score for unit, _, score in first if unit in best) >= 3  # what the oracle says fits some neurons
    assert leaks(catalogue) == []
    count = catalogue.read("SELECT count(*) FROM explanations WHERE explainer = 'structured'")
    al.label(catalogue, explainers=["structured"], units=UNITS, llm=llm, rounds=2)
    assert catalogue.read("SELECT count(*) FROM explanations WHERE explainer = 'structured'") == count


def test_no_call_is_made_twice_and_its_role_is_kept(catalogue: al.Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(messages: Sequence[Message], ask: Ask) -> str:
        calls.append(ask.role)
        return learns(messages, ask)
    import tests.pipeline.scripts as scripts
    monkeypatch.setattr(scripts, "plain", counted)
    access = Access("scripted/tests.pipeline.scripts:plain")
    for _ in range(2):
        with asking(catalogue, access) as made:
            al.explain(catalogue, "structured", units=UNITS, llm=made.llm)
            revise(catalogue, "structured", units=UNITS, llm=made.llm, rounds=1)
    assert calls.count("explain") == 8 and calls.count("revise") == 8
    shown = dict(catalogue.read("SELECT e.split, count(*) FROM calls c JOIN prompts_excerpts p ON p.call = c.digest JOIN t_excerpts e ON e.id = p.excerpt "
                                "WHERE c.role = 'revise' GROUP BY 1"))
    assert set(shown) == {"explain", "select"} and leaks(catalogue) == []


def test_sentences_are_revised_by_what_a_simulator_reads(catalogue: al.Catalogue) -> None:
    def says(messages: Sequence[Message], ask: Ask) -> str:
        return "LABEL: words about zebras" if ask.role == "explain" else "LABEL: the words 'the', 'of' and 'and'"
    llm = Scripted("scripted/says", says)
    al.explain(catalogue, "summary", units="4/0-1", llm=llm)
    count = revise(catalogue, "summary", units="4/0-1", llm=llm, rounds=1, simulator="embedding")
    assert (count.asked, count.done, count.failed) == (2, 2, 0)
    with pytest.raises(SettingsError, match="rounds of revision are none"):
        revise(catalogue, "summary", llm=llm, rounds=0)
    with pytest.raises(SettingsError, match="name one with --llm"):
        revise(catalogue, "induce", llm=llm)
