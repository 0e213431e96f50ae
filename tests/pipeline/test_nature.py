"""What kind of unit, asked of a catalogue."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from autolabel.card import read_card
from autolabel.catalogue import Catalogue
from autolabel.cli import cli
from autolabel.pipeline import kinds


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
