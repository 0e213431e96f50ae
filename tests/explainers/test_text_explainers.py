"""The explainers that answer with a sentence: what each shows, and how strictly each is read."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from autolabel.errors import ReplyError, RequestError, SettingsError
from autolabel.explainers import Contrastive, Highlight, InputOutput, Structured, Summary, TokenActivation
from autolabel.explainers.replies import read_label
from autolabel.explainers.showing import NEGATIVES
from autolabel.registry import BUILT_IN, build, settings_of
from tests.explainers.llm_case import NO_SPLIT, Scripted, answers, record, same_as_golden, unit, written

PLUGINS: dict[str, Any] = {"token_activation": TokenActivation, "highlight": Highlight, "summary": Summary, "contrastive": Contrastive,
                           "input_output": InputOutput}


@pytest.mark.parametrize("name", PLUGINS)
def test_the_prompt_is_golden(name: str) -> None:
    prompt = PLUGINS[name]().prompt(unit())
    same_as_golden(f"{name}.txt", written(prompt.messages))
    assert len(prompt.excerpts) == (14 if name == "contrastive" else 10) and not prompt.dropped


@pytest.mark.parametrize("name", PLUGINS)
def test_a_good_reply_and_one_that_abstains(name: str) -> None:
    llm = answers("It fires at water.\n**LABEL:** words for \"running water\"", "LABEL: No clear pattern.", "running water")
    one, = PLUGINS[name](llm=llm).explain([unit()], NO_SPLIT)
    assert (one.text, one.pattern, one.abstained, one.maker.explainer) == ('words for "running water', None, None, name)
    one, = PLUGINS[name](llm=llm).explain([unit()], NO_SPLIT)
    assert (one.text, one.abstained) == ("", "no clear pattern")
    with pytest.raises(ReplyError) as caught:
        list(PLUGINS[name](llm=llm).explain([unit()], NO_SPLIT))
    assert caught.value.reply == "running water" and all(ask.role == "explain" for _, ask in llm.asked)


@pytest.mark.parametrize(("reply", "text", "abstained"), [
    ("LABEL: a", "a", None), ("label : a", "a", None), ("> LABEL: `a`", "a", None), ("LABEL: first\nLABEL: second", "second", None),
    ("LABEL: no clear pattern: only names", "", "no clear pattern: only names"), ("LABEL: no clear patterns of speech", "no clear patterns of speech", None)])
def test_lines_that_are_read(reply: str, text: str, abstained: str | None) -> None:
    answer = read_label(reply)
    assert (answer.text, answer.abstained) == (text, abstained)


@pytest.mark.parametrize("reply", ["", "a", "LABEL:", "LABEL: **", "The LABEL: a", "LABELS: a"])
def test_lines_that_are_not(reply: str) -> None:
    with pytest.raises(ReplyError):
        read_label(reply)


def test_what_each_shows() -> None:
    shown = {name: written(plugin(examples=0).prompt(unit()).messages) for name, plugin in PLUGINS.items()}
    assert "\n river\t10\n rose\t0\n" in shown["token_activation"] and "\\_\t0\n" in shown["token_activation"]
    assert "<<" not in shown["summary"].replace("closed <<in>>", "") and "river (10), bank (5)" in shown["summary"]
    assert "Cafe" in shown["contrastive"] and "Cafe" not in "".join(shown[name] for name in PLUGINS if name != "contrastive")
    assert '" flows"' in shown["input_output"] and '"\\n"' in shown["input_output"] and "flows" not in shown["summary"]
    bare = written(InputOutput(examples=0).prompt(unit(promoted=(), lowered=())).messages)
    assert "raises most: none" in bare
    assert "Excerpts that hardly do:\nnone" in written(Contrastive(examples=0).prompt(unit(records=unit().records[:10])).messages)


def test_a_negative_of_the_same_token_is_shown_around_that_token() -> None:
    text = "w " * 40 + "river" + " x" * 20
    records = (*unit().records, record(text, "negative:token", 99))
    peak = unit().records[0].excerpt.tokens[1]
    far = records[-1].excerpt
    moved = far.__class__(far.id, far.document, far.start, tuple(peak if t == " river" else 10_000 + i for i, t in enumerate(text.split(" "))), far.offsets, far.text)
    with_peak = moved.__class__(moved.id, 1, 0, tuple(peak if i == 40 else 10_000 + i for i in range(len(far.tokens))), far.offsets, far.text)
    changed = (*records[:-1], records[-1].__class__(with_peak, records[-1].activations, "negative:token"))
    assert " river x" in written(Contrastive(examples=0, window=16).prompt(unit(records=changed)).messages)


def test_settings_are_those_of_the_command_line_and_the_llm_is_none_of_them() -> None:
    plugin = build("explainers", "highlight", {"top": "3", "temperature": "0.5", "candidates": "2"}, {"llm": answers("LABEL: a", "LABEL: b"), "other": 1})
    assert settings_of(plugin) == {"top": 3, "strata": 10, "window": 32, "examples": 3, "candidates": 2, "temperature": .5, "max_prompt_tokens": 6000,
                                   "max_tokens": 1024}
    assert [e.text for e in plugin.explain([unit()], NO_SPLIT)] == ["a", "b"] and {ask.temperature for _, ask in plugin.llm.asked} == {.5}
    assert json.loads(json.dumps(settings_of(plugin))) == settings_of(plugin)
    with pytest.raises(SettingsError, match="no setting 'llm'"):
        build("explainers", "highlight", {"llm": "x"})
    assert {name for name in BUILT_IN["explainers"] if name in {*PLUGINS, "structured"}} == {*PLUGINS, "structured"}
    assert Contrastive.needs >= set(NEGATIVES)


def test_a_prompt_too_long_for_the_model_is_shortened_and_says_so() -> None:
    whole = sum(len(m["content"]) for m in Highlight(examples=0).prompt(unit()).messages)

    def answer(messages: Any, ask: Any) -> str:
        if sum(len(m["content"]) for m in messages) > whole - 200:
            raise RequestError("400: This model's maximum context length is 600 tokens")
        return "LABEL: water"
    llm = Scripted(answer)
    one, = Highlight(llm=llm, examples=0).explain([unit()], NO_SPLIT)
    assert one.maker.settings["dropped_excerpts"] == 10 - len(llm.asked[-1][1].excerpts) > 0
    llm = Scripted(lambda messages, ask: (_ for _ in ()).throw(RequestError("400: unknown model")))
    with pytest.raises(RequestError):
        list(Highlight(llm=llm).explain([unit()], NO_SPLIT))
    assert len(llm.asked) == 1


def test_a_model_that_is_too_small_is_named_as_the_limit() -> None:
    llm = Scripted(lambda messages, ask: (_ for _ in ()).throw(RequestError("the prompt has 999 tokens, it takes 9: show fewer or shorter excerpts")))
    with pytest.raises(SettingsError, match=r"too long for this model, even with a single excerpt \(the prompt has 999 tokens"):
        list(Highlight(llm=llm).explain([unit()], NO_SPLIT))


def test_threads_do_not_change_an_answer() -> None:
    plugin = Structured(llm=Scripted(lambda messages, ask: json.dumps({"label": f"about {len(messages[-1]['content'])}", "pattern": {"any": [{"on": {"class": "word"}}]}})))
    units = [unit(records=unit().records[:n]) for n in range(1, 9)]
    alone = [next(iter(plugin.explain([one], NO_SPLIT))).id for one in units]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: next(iter(plugin.explain([one], NO_SPLIT))).id, units)) == alone
