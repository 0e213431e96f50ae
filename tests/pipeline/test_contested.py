"""Labels that another scorer contests: judged anew whenever one has read them, explained in two lines, and the curve of what is left."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

import autolabel as al
from autolabel.card import read_card
from autolabel.cli.plot import blocks, svg
from autolabel.curves import Curve, read_curve
from autolabel.llms.scripted import Scripted
from autolabel.pipeline.judging import contested, rejudge
from autolabel.protocols import Message
from autolabel.summary import summarise
from autolabel.types import Ask
from tests.catalogue.making import small as handmade


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


class Contrary:
    """Knows which texts are active, and says the opposite (or the truth)."""

    def __init__(self, catalogue: al.Catalogue, unit: str, *, lies: bool) -> None:
        self.lies = lies
        self.active = {" ".join(text.split()) for text, tau, most in catalogue.read(
            "SELECT e.text, .2 * u.max, list_max(a.activations) FROM activations a JOIN models m ON m.name = a.model "
            "JOIN t_excerpts e ON e.corpus_id = m.corpus_id AND e.id = a.excerpt JOIN units u USING (model, layer, site, neuron, side) "
            "WHERE a.split = 'select' AND a.neuron = ?", [int(unit.rsplit("/", 1)[1])]) if most > tau}

    def __call__(self, messages: Sequence[Message], ask: Ask) -> str:
        texts = re.findall(r"^\[\w+ (\d+)\] (.*)$", messages[-1]["content"], re.M)
        return json.dumps({"answers": [[int(n), int((" ".join(text.split()) in self.active) is not self.lies)] for n, text in texts]})


def test_a_scorer_below_its_chance_contests_a_confirmed_label(catalogue: al.Catalogue) -> None:
    unit, before, looks = catalogue.read("SELECT unit, verdict, test_looks FROM labels WHERE verdict = 'confirmed' ORDER BY score DESC LIMIT 1")[0]
    board = dict(catalogue.read("SELECT explainer, share_confirmed FROM leaderboard WHERE NOT control"))
    assert rejudge(catalogue, "minilm") == 0 and rejudge(catalogue, "minilm~shuffled") == 0
    al.score(catalogue, scorer="detection", llm=Scripted("scripted/honest", Contrary(catalogue, unit, lies=False)), units=unit)
    assert catalogue.read("SELECT verdict FROM labels WHERE unit = ?", [unit]) == [(before,)]
    liar = Scripted("scripted/liar", Contrary(catalogue, unit, lies=True))
    al.score(catalogue, scorer="detection", llm=liar, units=unit)
    verdict, reason, again = catalogue.read("SELECT verdict, reason, test_looks FROM labels WHERE unit = ?", [unit])[0]
    assert verdict == "contested" and again == looks and reason.startswith("detection by scripted/liar on select is 0.") and "chance level 0.5" in reason
    assert catalogue.read("SELECT count(*) FROM labels WHERE verdict = 'contested'") == [(1,)]
    now = dict(catalogue.read("SELECT explainer, share_confirmed FROM leaderboard WHERE NOT control"))
    assert sum(board.values()) - sum(now.values()) == pytest.approx(1 / 1536)
    card = read_card(catalogue, unit)
    assert len(card.why) == 2 and card.why[0].startswith("contested: rho 0.") and reason in card.why[0] and "--scorer generative" in card.why[1]
    assert al.score(catalogue, scorer="detection", llm=liar, units=unit).done == 0 and al.choose(catalogue, model="minilm").done == 0
    with catalogue.writer() as writer:  # an interrupt between the score and the verdict: the same command judges all the same
        writer.write(lambda c: c.execute("UPDATE choices SET verdict = 'confirmed' WHERE verdict = 'contested'"))
    al.score(catalogue, scorer="detection", llm=liar, units=unit)
    assert catalogue.read("SELECT count(*) FROM labels WHERE verdict = 'contested'") == [(1,)]


def test_the_same_simulator_is_no_second_opinion_and_test_comes_before_select(tmp_path: Path) -> None:
    catalogue = handmade(tmp_path / "x.duckdb")

    def states(simulator: str = "pattern") -> str:
        (why,) = contested(catalogue, "org/m", [{"explanation": "e0", "ci_low": .1, "ci_high": .3, "simulator": simulator}])
        return why or "none"

    def says(scorer: str, judge: str, low: float, high: float, split: str = "select", chance: object = 0.0) -> None:
        with catalogue.writer() as w:
            w.insert("scores", {"explanation": ["e0"], "model": "org/m", "split": split, "scorer": scorer, "simulator": judge, "value": (low + high) / 2,
                                "low": low, "high": high, "n": 9, "extra": json.dumps({"chance": chance})})

    says("simulation", "pattern", -.5, -.3)  # the label's own reader, on a sample
    says("my_scorer", "j", -.5, -.3, chance=None)  # nobody knows what it gives by chance
    assert states() == "none" and states("digits").startswith("simulation by pattern on select is -0.40")
    says("simulation", "digits", -.5, -.3)
    assert states().startswith("simulation by digits on select") and states("digits").startswith("simulation by pattern")
    says("simulation", "digits", -.1, .3, split="test")
    assert states() == "none"


def test_a_partial_label_says_what_would_settle_it(small: Path) -> None:
    catalogue = al.open_catalogue(small)
    kinds = {"p_size >= .5": "more text would only make that surer", "p_size < .5 AND p_size >= p_foreign": "times as much test text",
             "p_foreign > p_size": "a label that says what this unit alone does"}
    met = 0
    for where, words in kinds.items():
        for (unit,) in catalogue.read(f"SELECT unit FROM labels WHERE verdict = 'partial' AND {where} LIMIT 1"):
            first, second = read_card(catalogue, unit).why
            assert first.startswith("partial: rho 0.") and "is about this unit" in first and second.startswith("to settle it: ") and words in second
            met += 1
    assert met >= 2
    for (unit,) in catalogue.read("SELECT min(unit) FROM labels WHERE verdict NOT IN ('partial', 'contested') GROUP BY verdict"):
        assert len(read_card(catalogue, unit).why) == 1


def test_the_curve_is_that_of_the_view_and_is_drawn(small: Path) -> None:
    catalogue = al.open_catalogue(small)
    curve = read_curve(catalogue, "minilm")
    rows = catalogue.read("SELECT share, n, mean_score, unconfirmed FROM coverage WHERE model = 'minilm' ORDER BY share")
    assert len(rows) == len(curve.n) > 50
    for got, want in zip((curve.share, curve.n, curve.mean_score, curve.unconfirmed), zip(*rows, strict=True), strict=True):
        assert got == pytest.approx(want)
    assert [c.model for c in summarise(catalogue).coverage] == ["minilm", "minilm~shuffled"]
    hostile = Curve("<a&b>\x1b[31m", (.5, 1.0), (1, 2), (1.0, .5), (0.0, 1.0))
    picture = ElementTree.fromstring(svg([curve, hostile]))  # well-formed, so escaped
    lines = picture.findall("{*}polyline")
    assert len(lines) == 4 and "<a&b>" in [t.text for t in picture.findall("{*}text")]
    assert lines[2].get("points") and len(lines[0].get("points", "").split()) == len(curve.n)
    drawn = blocks([hostile]).plain.split("\n")
    assert "\x1b" not in blocks([hostile]).plain and "█" in drawn[2] and max(map(len, drawn)) < 100
