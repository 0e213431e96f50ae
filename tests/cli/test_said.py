"""What commands say of what they did: counts that are true, tables that fit, and a hint that works when it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from autolabel.card import Card
from autolabel.cli.build import _report
from autolabel.cli.card import _candidate_lines
from autolabel.cli.common import print_rows
from autolabel.errors import CorpusError
from autolabel.pipeline.explaining import Count
from autolabel.pipeline.reader import Reader, read_all
from autolabel.types import Explanation, Maker, Score, Unit
from tests.cli.test_commands import run

NO_KEY = ("--llm", "openai/gpt-4o-mini")


class _Scorer:
    def score(self, labels: Any, evidence: Any) -> list[Score]:
        extras: tuple[dict[str, Any], ...] = ({}, {"failed": 0}, {}, {"failed": 2, "failure": "reply: no list"})
        return [Score(e.id, "detection", "x", "select", 0.7 if i == 0 else None, None, None, 9, None if i == 0 else "why", extra)
                for i, (e, extra) in enumerate(zip(labels, extras, strict=True))]


def test_a_label_that_cannot_be_scored_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    labels = [Explanation(Unit("toy", "0", "mlp", i), f"label {i}", None, Maker("test")) for i in range(4)]
    saved: list[Any] = []
    assert read_all(_Scorer(), labels, None, saved.extend) == (1, 2, 1, 0) and len(saved) == 4  # type: ignore[arg-type]  # no evidence is read
    flags = {"quiet": False, "max_failures": None}
    assert _report("scored", Count(4, 2, 0, 0, 0, unscored=2), flags) == 0 and "2 cannot be scored" in capsys.readouterr().err
    assert _report("scored", Count(4, 1, 0, 0, 1, unscored=2), flags) == 1


def test_scores_by_embeddings_are_found_again_by_the_name_they_are_stored_under() -> None:
    from autolabel.embeddings import default_embedder

    assert Reader("embedding").judge == default_embedder().name


def test_only_the_layers_that_are_read_are_announced(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is empty"):  # an empty corpus ends the run after the notes
        (tmp_path / "a.txt").write_text("", "utf-8")
        said: list[str] = []
        al.extract("demo", corpus=str(tmp_path / "a.txt"), layers="1,3", db=tmp_path / "c.duckdb", notes=said.append)
    assert [line[:8] for line in said if line.startswith("layer")] == ["layer 1:", "layer 3:"]


def test_a_plan_fits_into_80_columns(small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, "plan", "label", "--units", "4/0-9", "--explainer", "structured", "--db", str(small), *NO_KEY)
    assert code == 0 and len(out.splitlines()) == 5 and "explain: structured  at most" in out and " seconds, if an answer" in err


def test_a_card_names_the_simulators_of_a_label_that_several_have_read() -> None:
    rows = ({"explanation": "a", "explainer": "induce", "label": "numbers", "select_score": 0.4, "simulator": "pattern", "chosen": True},
            {"explanation": "b", "explainer": "tokens", "label": "words", "select_score": 0.3, "simulator": "pattern", "chosen": False},
            {"explanation": "a", "explainer": "induce", "label": "numbers", "select_score": -0.1, "simulator": "digits", "chosen": True})
    card = Card("u", {}, {"simulator": "pattern"}, (), (), {}, (), rows, (), None, ())
    assert _candidate_lines(card) == ["* 0.400 by pattern  induce: numbers", "  0.300  tokens: words", "  -0.100 by digits  induce: numbers"]


def test_numbers_are_never_broken_and_what_does_not_fit_is_written_line_by_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    columns, row = ("unit", "label", *(f"figure_{i}" for i in range(8))), ("minilm/1-mlp/866", "words for numbers, and " * 9, *([-0.123456] * 7), None)
    print_rows(columns[:5], [row[:5]] * 2)
    out = capsys.readouterr().out
    assert out.count("-0.123") == 6 and out.count("minilm/1-mlp/866") == 2 and max(map(len, out.splitlines())) <= 80
    print_rows(columns, [row] * 2, title="Of both")
    out = capsys.readouterr().out
    assert out.count("-0.123") == 14 and out.count("Of both") == 1 and out.count("figure_6  -0.123") == 2 and "figure_7" not in out
    assert max(map(len, out.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "200")
    print_rows(columns, [row] * 2)
    assert capsys.readouterr().out.splitlines()[0].split() == list(columns)


@pytest.mark.parametrize("verb", ["submit", "read"])
def test_batches_of_no_llm_are_one_clear_line(small: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, _, err = run(capsys, "batch", verb, "--db", str(small))
    assert code == 2 and "--llm openai/MODEL" in err and "called ''" not in err and err.count("\n") == 1
