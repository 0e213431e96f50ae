"""A plan counts what a run then asks, and its upper bounds are not passed."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from autolabel.assets import data_path
from autolabel.errors import SettingsError
from autolabel.llms import open_llm
from autolabel.llms.stack import stack
from autolabel.pipeline.asked import Access, asking
from autolabel.pipeline.plan_extract import plan_extract
from autolabel.pipeline.planning import counter, plan_label
from tests.llms.server import Answer, Server
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


def replayed(catalogue: al.Catalogue, material: Path, explainer: str, n: int) -> tuple[float, float]:
    """Tokens settled over tokens planned, of all calls and per call of the simulator, by a server that counts as a known tokenizer does.

    Answers are those of an LLM, as they were recorded. The upper bounds hold.
    """
    from transformers import AutoTokenizer

    tokenizer = str(material / "models" / "TinyStories-656K")
    count, _ = counter(Access("openai/test-model"), tokenizer)
    known = AutoTokenizer.from_pretrained(tokenizer)
    lines = data_path("labels", "minilm.jsonl").read_text("utf-8").splitlines()[-110:]  # not those the plan looks at
    replies = [reply for line in lines if json.loads(reply := json.loads(line)["reply"])["label"]]
    turn: dict[str, int] = {}

    def say(body: dict[str, Any]) -> Answer:
        asked = body["messages"][-1]["content"]
        reply = replies[turn.setdefault(asked, len(turn)) % len(replies)]
        text = answer(body) if "[[0," in asked else reply if "response_format" in body else f"LABEL: {json.loads(reply)['label']}"
        return Answer(text, usage={"prompt_tokens": count(body["messages"]), "completion_tokens": len(known(text)["input_ids"])})
    with Server(say) as server:
        access = Access("openai/test-model", base_url=server.url)
        plan = plan_label(catalogue, access, explainers=[explainer], units=f"4/0-{n - 1}", tokenizer=tokenizer, start=40, cap=40)
        with asking(catalogue, access) as made:
            if explainer == "structured":
                al.explain(catalogue, explainer, units=f"4/0-{n - 1}", llm=made.llm)
            else:
                al.label(catalogue, explainers=[explainer], units=f"4/0-{n - 1}", llm=made.llm, scorer_settings={"start": "40", "cap": "40"})
            spent = made.spent
    most, first, rest = plan.total, plan.stages[0], plan.stages[1:]
    assert spent.tokens_in <= most.tokens_in_most and spent.tokens_out <= most.tokens_out_most and spent.calls <= most.calls_most
    simulated, cost = catalogue.read("SELECT count(*), coalesce(sum(tokens_in + tokens_out), 0) FROM calls WHERE role = 'simulate'")[0]
    each = (cost / simulated) / (sum(s.tokens_in + s.tokens_out for s in rest) / sum(s.calls for s in rest)) if rest else 1.0
    return (spent.tokens_in + spent.tokens_out - cost) / (first.tokens_in + first.tokens_out), each


def test_a_plan_is_within_a_tenth_of_what_is_settled(catalogue: al.Catalogue, material: Path) -> None:
    """Prompts and answers to the token; how many excerpts a simulator reads depends on labels that are not there yet: of those, each call."""
    for explainer, n in (("structured", 11), ("summary", 2)):
        assert replayed(catalogue, material, explainer, n) == (pytest.approx(1, abs=.1), pytest.approx(1, abs=.1))


@pytest.mark.soak
def test_a_plan_is_within_a_tenth_over_all_recorded_answers(catalogue: al.Catalogue, material: Path) -> None:
    for explainer, n in (("structured", 110), ("summary", 20)):
        found = replayed(catalogue, material, explainer, n)
        print(f"{explainer}: tokens settled over tokens planned {found[0]:.3f}, per call of the simulator {found[1]:.3f}")
        assert found == (pytest.approx(1, abs=.1), pytest.approx(1, abs=.1))
