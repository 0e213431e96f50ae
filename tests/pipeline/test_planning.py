"""A plan counts what a run then asks, and its upper bounds are not passed."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from autolabel.errors import SettingsError
from autolabel.llms import open_llm
from autolabel.llms.stack import stack
from autolabel.pipeline.asked import Access, asking
from autolabel.pipeline.plan_extract import plan_extract
from autolabel.pipeline.planning import plan_label
from tests.llms.server import Server
from tests.pipeline.test_batch import answer

UNITS = "4/0-5"


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


def test_a_run_stays_within_its_plan(catalogue: al.Catalogue, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text('[[price]]\nmodel = "test-model"\neffective_from = 2025-01-01\ninput = 1.0\noutput = 4.0\n')
    with Server(answer) as server:
        access = Access("openai/test-model", base_url=server.url, prices=str(tmp_path / "prices.toml"))
        plan = plan_label(catalogue, access, explainers=["summary"], units=UNITS, start=40, cap=40)
        explain = plan.stages[0]
        assert (explain.calls, explain.paid) == (6, 0) and explain.dollars is not None and explain.dollars_most is not None
        with asking(catalogue, access) as made:
            al.explain(catalogue, "summary", units=UNITS, llm=made.llm)
            spent = made.spent
            assert spent.calls == explain.calls and spent.tokens_in <= explain.tokens_in_most and spent.tokens_out <= explain.tokens_out_most
            assert spent.settled <= explain.dollars_most
            al.label(catalogue, explainers=["summary"], units=UNITS, llm=made.llm, scorer_settings={"start": "40", "cap": "40"})
            total = plan.total
            assert made.spent.calls <= total.calls_most and made.spent.tokens_in <= total.tokens_in_most
            assert made.spent.settled <= Decimal(total.dollars_most or 0)
            assert explain.calls < made.spent.calls <= total.calls  # equal labels are simulated once
        again = plan_label(catalogue, access, explainers=["summary"], units=UNITS)
        assert (again.stages[0].calls, again.stages[0].paid) == (0, 6)


def test_known_tokenizers_count_to_the_token(catalogue: al.Catalogue, material: Path) -> None:
    model = material / "models" / "stories260K"
    plan = plan_label(catalogue, Access(f"local/{model}"), explainers=["summary"], units="4/3")
    assert plan.counted_by.startswith("the tokenizer of") and plan.total.dollars == 0
    llm: Any = open_llm(f"local/{model}")
    shown: list[int] = []

    class Counts:
        name, capabilities = llm.name, llm.capabilities

        def complete(self, messages: Any, ask: Any) -> Any:
            shown.append(len(llm.prompt_ids(messages)))
            return answer_of(messages)

    def answer_of(messages: Any) -> Any:
        from autolabel.types import Completion
        return Completion("LABEL: words")
    al.explain(catalogue, "summary", units="4/3", llm=stack(Counts()).llm)
    assert plan.stages[0].tokens_in == pytest.approx(shown[0], rel=0.02)


def test_what_cannot_be_planned_is_one_line(catalogue: al.Catalogue) -> None:
    with pytest.raises(SettingsError, match="nothing to pay for"):
        plan_label(catalogue, Access("openai/x"), explainers=["induce"], units=UNITS)
    with pytest.raises(SettingsError, match="name the LLM"):
        plan_label(catalogue, Access(""), explainers=["summary"], units=UNITS)
    with pytest.raises(SettingsError, match="cannot read the tokenizer"):
        plan_label(catalogue, Access("openai/x"), explainers=["summary"], units=UNITS, tokenizer="no/such/folder")


def test_an_extraction_is_counted(small: Path) -> None:
    plan = plan_extract("demo", corpus="demo", max_tokens=20_000)
    tokens = al.open_catalogue(small).read("SELECT sum(n_tokens) FROM documents")[0][0]
    assert plan.tokens == pytest.approx(tokens, rel=0.02) and plan.neurons == 9216
    assert 0 < plan.seconds_low < plan.seconds_high and plan.disk_bytes > 1e8
