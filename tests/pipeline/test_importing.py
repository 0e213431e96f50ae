"""Replies from elsewhere become labels as if the call had been ours, and stand beside the others with paired intervals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import autolabel as al
from autolabel.catalogue.checks import leaks
from autolabel.comparing import compare
from autolabel.errors import SettingsError
from autolabel.explainers.structured import Structured
from autolabel.pipeline.importing import import_replies
from autolabel.pipeline.reading import read_exemplars
from autolabel.pipeline.selection import select_units
from autolabel.summary import summarise

GOOD = '{"label": "the words the and of", "pattern": {"any": [{"on": {"word": ["the", "of", "a", "and"]}}]}}'


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


def test_replies_are_read_scored_and_compared(catalogue: al.Catalogue, tmp_path: Path) -> None:
    units = select_units(catalogue, "minilm", "4/0-29")
    rows = []
    for k, exemplars in enumerate(read_exemplars(catalogue, units)):
        if exemplars.stats.max <= 0:
            continue
        digest = Structured().prompt(exemplars).digest
        reply = '{"label": null, "why": "nothing in common"}' if k == 3 else "I do not know" if k == 5 else GOOD
        rows.append({"unit": str(exemplars.unit), "prompt": "0123456789abcdef" if k == 7 else digest, "llm": "some/model", "reply": reply})
    rows.append({**rows[0], "unit": "minilm/0-mlp/3"})
    file = tmp_path / "replies.jsonl"
    file.write_text("\n".join(json.dumps(r) for r in rows))
    done = import_replies(catalogue, file)
    assert (done.lines, done.elsewhere, done.failed, done.abstained, done.stale, done.done) == (len(rows), 1, 1, 1, 1, len(rows) - 2)
    again = import_replies(catalogue, file)
    assert (again.done, again.before, again.failed) == (0, len(rows) - 2, 1)  # what could not be read is read anew, by a better reader perhaps
    assert catalogue.read("SELECT kind, reply FROM failures") == [("reply", "I do not know")]
    assert leaks(catalogue) == [] and catalogue.read("SELECT count(*) > 100 FROM prompts_excerpts") == [(True,)]
    assert catalogue.read("SELECT count(*) FROM explanations WHERE settings ->> 'stale_prompt' = 'true'") == [(1,)]
    al.label(catalogue, explainers=["induce", "tokens"])
    found = {(p.figure, p.second): p for p in compare(catalogue, "minilm", "structured", "induce")}
    pair = found["rho", "induce"]
    one, two = np.array(catalogue.read(
        "SELECT a.test_score, b.test_score FROM candidates a JOIN candidates b USING (unit) WHERE a.explainer = 'structured' AND b.explainer = 'induce' "
        "AND a.test_score IS NOT NULL AND b.test_score IS NOT NULL")).T
    assert pair.units == len(one) > 20 and pair.difference == pytest.approx(np.mean(one - two)) and pair.low < pair.difference < pair.high
    assert pair.better == int((one > two).sum()) and found["peak", "induce"].units > 20
    assert [p.second for p in summarise(catalogue).pairs if p.figure == "rho"] == ["induce", "tokens"]


def test_a_bad_file_is_one_line(catalogue: al.Catalogue, tmp_path: Path) -> None:
    for text, message in (("{", "line 1: no JSON"), ('{"unit": "minilm/4-mlp/1"}', "line 1: it must have the texts"), ("", None),
                          ('{"unit": "x", "prompt": "", "llm": "", "reply": ""}', "line 1: cannot read 'x' as a unit")):
        (tmp_path / "bad.jsonl").write_text(text)
        if message is None:
            assert import_replies(catalogue, tmp_path / "bad.jsonl").lines == 0
            continue
        with pytest.raises(SettingsError, match=message):
            import_replies(catalogue, tmp_path / "bad.jsonl")
    with pytest.raises(SettingsError, match="cannot read"):
        import_replies(catalogue, tmp_path / "missing.jsonl")
