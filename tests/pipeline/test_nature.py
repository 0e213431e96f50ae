"""What kind of unit, asked of a catalogue."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from autolabel.card import read_card
from autolabel.catalogue import Catalogue
from autolabel.cli import cli
from autolabel.pipeline import kinds, senses
from autolabel.pipeline.judging import rejudge


def test_kinds_are_stored_shown_and_not_computed_twice(small: Path, tmp_path: Path) -> None:
    db = tmp_path / "c.duckdb"
    shutil.copy(small, db)
    catalogue = Catalogue.open(db)
    first = kinds(catalogue, units="4/0-30", sample=40)
    again = kinds(catalogue, units="4/0-31", sample=40, limit=31)
    assert (first.asked, first.done, first.before) == (31, 31, 0) and (again.done, again.before) == (0, 31)
    rows = catalogue.read("SELECT lexicality, positional_share, context_length, correlations, same_token, n FROM kinds WHERE n IS NOT NULL")
    assert len(rows) == 31 and first.abstained == sum(r[2] is None for r in rows)
    for eta, place, length, correlations, same, n in rows:
        assert eta <= 1 and -0.1 < place < 0.5 and len(correlations) == 7 and (length is None) == (n < 10) and 0 <= same <= 1
    assert catalogue.read("SELECT count(*) FROM neurons WHERE positional_share IS NOT NULL") == catalogue.read(
        "SELECT count(*) FROM neurons WHERE std > 0 AND max > 0")
    card = read_card(catalogue, "4/3")
    assert card.kind["n"] is not None and read_card(catalogue, "4/99").kind["n"] is None
    shown = CliRunner().invoke(cli, ["kinds", "--units", "4/3", "--db", str(db), "--json", "-q"])
    assert shown.exit_code == 0 and '"unit": "minilm/4-mlp/3"' in shown.output
    text = CliRunner().invoke(cli, ["show", "4/3", "--db", str(db), "--top", "1"]).output
    assert "same-token contrast" in text and "positional share" in text


def test_senses_are_stored_proved_and_judged(small: Path, tmp_path: Path) -> None:
    db = tmp_path / "c.duckdb"
    shutil.copy(small, db)
    catalogue = Catalogue.open(db)
    units = ["4/12", "4/34", "4/3", *(f"4/{u}" for (u,) in catalogue.read("SELECT neuron FROM choices WHERE verdict = 'abstained' AND model = 'minilm' LIMIT 1"))]
    looks = dict(catalogue.read("SELECT neuron, test_looks FROM choices WHERE model = 'minilm'"))
    count = senses(catalogue, units=units)
    assert (count.asked, count.done, count.before) == (len(units), len(units), 0) and senses(catalogue, units=units).before == len(units)
    rows = catalogue.read("SELECT neuron, sense, label, share, gain_low, is_real, score, q_value, confirmed, confusion, reason FROM senses ORDER BY neuron, sense")
    assert {r[0] for r in rows} == {int(u.removeprefix("4/")) for u in units}
    for neuron, sense, label, share, low, real, score, q, confirmed, confusion, reason in rows:
        n = sum(r[0] == neuron for r in rows)
        assert (sense == 0) == (label is None) == (q is None) and (sense or (n == 1 and reason))
        assert not sense or (0 <= share <= 1 and low > 0 and len(confusion) == n and (not confirmed or (real and q < 0.05 and score > 0)))
    after = dict(catalogue.read("SELECT neuron, test_looks FROM choices WHERE model = 'minilm'"))
    assert {u for u in after if after[u] != looks[u]} == {r[0] for r in rows if r[1]}

    with catalogue.writer() as writer:  # two senses of 4/12, both confirmed: what the verdict is made of
        writer.write(lambda con: con.execute("DELETE FROM t_senses WHERE neuron = 12"))
        writer.insert("t_senses", {"model": "minilm", "layer": "4", "site": "mlp", "neuron": 12, "side": "+", "sense": [1, 2], "text": ["numbers", "x " * 40],
                                   "share": [0.5, 0.25], "n_eff": 1.9, "confirmed": True, "p": 0.001, "real": True, "gain": 0.1})
    rejudge(catalogue, "minilm")
    verdict = "SELECT verdict, reason FROM labels WHERE neuron = 12"
    assert catalogue.read(verdict)[0][0] == "polysemantic" and "2 senses, each confirmed on its own cluster: numbers (50%)" in catalogue.read(verdict)[0][1]
    text = CliRunner().invoke(cli, ["show", "4/12", "--db", str(db), "--top", "1"]).output
    assert "2 senses, n_eff 1.90" in text and "1. 50 % of the activation" in text and "polysemantic: 2 senses" in text
    shown = CliRunner().invoke(cli, ["senses", "--units", "4/12", "--db", str(db), "--json", "-q"])
    assert shown.exit_code == 0 and '"label": "numbers"' in shown.output
