"""`structured`: what it sends, what it accepts, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autolabel.assets import read_prompt
from autolabel.errors import AuthError, EndpointError, PendingError, ReplyError, SettingsError
from autolabel.explainers import Structured
from autolabel.explainers.estimate import tokens_of
from autolabel.explainers.hygiene import tidy
from autolabel.explainers.showing import chosen
from autolabel.explainers.structured import STYLE, read_reply
from autolabel.patterns.syntax import parse
from autolabel.prompts import few_shot, prompt_digest
from tests.explainers.llm_case import NO_SPLIT, Scripted, answers, same_as_golden, unit, written

GOOD = '{"label": "running water", "pattern": {"any": [{"on": {"word": ["river", "stream"]}}]}}'
BROKEN = '{"label": "running water", "pattern": {"any": [{"onn": {"word": ["river"]}}]}}'


def test_the_prompt_is_golden() -> None:
    prompt = Structured().prompt(unit())
    same_as_golden("structured.txt", written(prompt.messages))
    assert prompt.dropped == 0 and prompt.excerpts == tuple(dict.fromkeys(prompt.excerpts)) and len(prompt.excerpts) == 10
    assert prompt.digest == prompt_digest(prompt.messages) == Structured().prompt(unit()).digest


def test_no_negative_and_no_random_record_is_shown() -> None:
    shown = written(Structured().prompt(unit()).messages)
    assert "Cafe" not in shown and "ocean" not in shown and "The <<" in shown


def test_records_are_of_top_and_strata() -> None:
    bands = [r.band for r in chosen(unit(), 2, 3)]
    assert bands == ["top", "stratum:9", "top", "stratum:7", "stratum:4"]


def test_a_good_answer_is_a_candidate() -> None:
    llm = answers(GOOD)
    one, = Structured(llm=llm).explain([unit()], NO_SPLIT)
    assert (one.text, one.pattern, one.abstained) == ("running water", '{"any":[{"on":{"word":["river","stream"]}}]}', None)
    assert one.maker.explainer == "structured" and one.maker.llm == "scripted/test" and "llm" not in one.maker.settings
    messages, ask = llm.asked[0]
    assert one.maker.prompt == Structured().prompt(unit()).template
    assert ask.role == "explain" and ask.temperature == 0 and ask.excerpts == Structured().prompt(unit()).excerpts and ask.schema
    assert Structured().read(unit(), GOOD, "scripted/test").id == one.id and messages == Structured().prompt(unit()).messages


def test_a_pattern_that_does_not_parse_goes_back_once() -> None:
    llm = answers(BROKEN, GOOD)
    one, = Structured(llm=llm).explain([unit()], NO_SPLIT)
    assert one.text == "running water"
    first, second = (messages for messages, _ in llm.asked)
    assert tuple(second[:len(first)]) == first and second[-2]["content"] == BROKEN and "has no key 'onn'" in second[-1]["content"]
    llm = answers(BROKEN, BROKEN)
    with pytest.raises(ReplyError, match="has no key 'onn'") as caught:
        list(Structured(llm=llm).explain([unit()], NO_SPLIT))
    assert caught.value.reply == BROKEN and len(llm.asked) == 2


@pytest.mark.parametrize(("reply", "message"), [
    ("", "no JSON object"), ("river", "no JSON object"), ('{"label": "a"', "not valid JSON"), ('{"label": "a"}', "a label and no pattern"),
    ('{"pattern": {"any": []}}', "no label"), ('{"label": 3, "pattern": {}}', "no label"), ('{"label": "a", "pattern": {"any": []}}', "any is empty"),
    ('{"label": "a", "label": "b", "pattern": null}', "'label' comes twice"), (GOOD + BROKEN, "several JSON objects"),
    (GOOD[:-1] + ', "score": 1}', "unknown key 'score'"), ('{"label": "a", "pattern": "river"}', "no pattern"),
    ('{"label": "a", "pattern": {"any": [{"on": {"regex": "(a+)+(?=b)"}}]}}', "RE2 cannot read"),
    ('{"label": "a", "pattern": {"any": [{"on": {"concept": "animal.n"}}]}}', "'animal.n' is not known here"),
    ('{"label": "a", "pattern": {"any": [{"on": {"word": ["two words"]}}]}}', "is 2 words"), ("{" * 3000, "not valid JSON"),
    ('{"label": "a", "pattern": ' + '{"any": [' * 2000 + "]}" * 2000 + "}", "."),
])
def test_what_is_refused(reply: str, message: str) -> None:
    with pytest.raises(ReplyError, match=message) as caught:
        read_reply(reply)
    assert caught.value.reply == reply


@pytest.mark.parametrize("reply", [f"```json\n{GOOD}\n```", f"Here you are:\n{GOOD}\nI hope {{this}} helps.", GOOD + "\n" + GOOD,
                                   GOOD.replace('"on"', '"before": [], "unless": null, "near": null, "on"')])
def test_what_is_read_all_the_same(reply: str) -> None:
    answer = read_reply(reply)
    assert answer.text == "running water" and answer.pattern == '{"any":[{"on":{"word":["river","stream"]}}]}'


@pytest.mark.parametrize(("reply", "why"), [
    ('{"label": null, "why": "nothing in common"}', "no clear pattern: nothing in common"), ('{"label": null}', "no clear pattern"),
    ('{"label": "No clear pattern.", "pattern": null}', "no clear pattern"), ('{"label": null, "pattern": null, "why": null}', "no clear pattern")])
def test_abstaining_is_an_answer(reply: str, why: str) -> None:
    one, = Structured(llm=answers(reply)).explain([unit()], NO_SPLIT)
    assert (one.text, one.pattern, one.abstained) == ("", None, why)


def test_candidates_are_samples_and_distinct() -> None:
    other = GOOD.replace("running", "flowing")
    llm = answers(GOOD, other, GOOD)
    found = list(Structured(llm=llm, candidates=3).explain([unit()], NO_SPLIT))
    assert [e.text for e in found] == ["running water", "flowing water"]
    assert [(ask.sample, ask.temperature) for _, ask in llm.asked] == [(0, 1.), (1, 1.), (2, 1.)]


def failing(*outcomes: object) -> Scripted:
    rest = list(outcomes)

    def answer(messages: object, ask: object) -> str:
        one = rest.pop(0)
        if isinstance(one, Exception):
            raise one
        return str(one)
    return Scripted(answer)


def test_a_failed_candidate_does_not_cost_the_good_ones_and_is_no_label() -> None:
    found, llm = [], failing(EndpointError("503"), GOOD, "nonsense", "nonsense")
    with pytest.raises(EndpointError):
        for one in Structured(llm=llm, candidates=3).explain([unit()], NO_SPLIT):
            found.append(one.text)
    assert found == ["running water"] and len(llm.asked) == 4


def test_open_calls_are_all_asked_for_in_one_round_and_fatal_ones_end_it() -> None:
    llm = failing(PendingError("open"), GOOD, PendingError("open"))
    with pytest.raises(PendingError):
        list(Structured(llm=llm, candidates=3).explain([unit()], NO_SPLIT))
    assert len(llm.asked) == 3
    llm = failing(AuthError("no key"), GOOD)
    with pytest.raises(AuthError):
        list(Structured(llm=llm, candidates=2).explain([unit()], NO_SPLIT))
    assert len(llm.asked) == 1
    with pytest.raises(SettingsError, match="name one with --llm"):
        list(Structured().explain([unit()], NO_SPLIT))


def test_a_prompt_over_its_budget_drops_excerpts_and_says_so() -> None:
    whole = Structured(examples=0).prompt(unit())
    budget = tokens_of(whole.messages) - 60
    short = Structured(examples=0, max_prompt_tokens=budget).prompt(unit())
    assert 0 < short.dropped == len(whole.excerpts) - len(short.excerpts)
    assert set(short.excerpts) < set(whole.excerpts) and {1000, 1005} <= set(short.excerpts)  # the first of the top band and of the strata
    one, = Structured(llm=answers(GOOD), examples=0, max_prompt_tokens=budget).explain([unit()], NO_SPLIT)
    assert one.maker.settings["dropped_excerpts"] == short.dropped
    with pytest.raises(SettingsError, match="does not fit into 200 tokens"):
        Structured(max_prompt_tokens=200).prompt(unit())
    with pytest.raises(SettingsError, match="has no record"):
        Structured().prompt(unit(records=()))


def test_a_template_of_ones_own_is_checked_before_a_call_is_paid_for(tmp_path: Path) -> None:
    llm = answers(GOOD)
    mine = Structured(llm=llm, prompts=str(tmp_path))
    for text, message in (("## user\n$excerpts $nosuch", r"unknown variable \$nosuch"), ("## user\nnothing", r"lacks the variable \$excerpts"),
                          ("## user\n$excerpts\n## assistant\n$answer", "no section `## retry`")):
        (tmp_path / "structured.md").write_text(text, "utf-8")
        with pytest.raises(SettingsError, match=message):
            list(mine.explain([unit()], NO_SPLIT))
    assert not llm.asked
    (tmp_path / "structured.md").write_text("## user\nTELL ME: $excerpts\n## assistant\n$answer\n## retry\n$error", "utf-8")
    one, = mine.explain([unit()], NO_SPLIT)
    assert llm.asked[0][0][-1]["content"].startswith("TELL ME: 1.") and one.maker.prompt != Structured().prompt(unit()).template


def test_the_examples_that_are_shipped_are_in_order() -> None:
    rows = few_shot("neurons.jsonl", read_prompt("few_shot", "neurons.jsonl"))
    assert len(rows) >= 3 and any(row["label"] is None for row in rows)
    for row in rows:
        assert set(row) == {"label", "why", "pattern", "tokens", "excerpts", "inactive", "promoted", "lowered"} - ({"why"} if row["label"] else set())
        answer = read_reply(STYLE.answer(row))
        assert answer.text == (row["label"] or "") and (answer.pattern is None) == (row["label"] is None)
        if answer.pattern:
            parse(answer.pattern)
            assert tidy(row["label"]) == (row["label"], ())


@pytest.mark.parametrize(("text", "clean", "flags"), [
    ("  a \n label\t here ", "a label here", ()), ("ri\u200bver\u202e\ufe0f", "river", ("removed 3 unseen characters",)),
    ("see " + "QUJD" * 11, "see [...]", ("removed 1 encoded run",)), ("x\x1b[31m", "x [31m", ()), ("ab " * 120, "ab " * 98 + "ab...", ("cut from 359 characters",)),
    ("\U000e0041\U000e0042hidden tags", "hidden tags", ("removed 2 unseen characters",)), ("日本語 é 🦊", "日本語 é 🦊", ())])
def test_labels_are_plain(text: str, clean: str, flags: tuple[str, ...]) -> None:
    assert tidy(text) == (clean, flags) and len(clean) <= 300
    reply = json.dumps({"label": text, "pattern": {"any": [{"on": {"word": ["x"]}}]}})
    one, = Structured(llm=answers(reply)).explain([unit()], NO_SPLIT)
    assert one.text == clean and tuple(one.maker.settings.get("flags", ())) == flags


def test_a_label_of_nothing_that_can_be_seen_is_a_failure() -> None:
    reply = json.dumps({"label": "\u200b\u200b", "pattern": {"any": [{"on": {"word": ["x"]}}]}})
    with pytest.raises(ReplyError, match="empty after cleaning"):
        list(Structured(llm=answers(reply)).explain([unit()], NO_SPLIT))
