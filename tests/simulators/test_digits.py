"""Replies of every kind: what is aligned counts, the rest is missing, never 0."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import AuthError, EndpointError, PendingError, ReplyError, SettingsError
from autolabel.protocols import Message, Simulator
from autolabel.render import show_token
from autolabel.simulators.digits import DigitsSimulator, levels
from autolabel.types import Ask, Completion
from tests.simulators.texts import HARD, excerpt, plain


@dataclass
class Scripted:
    """Answers from a function of the tokens that are asked about."""

    answer: Callable[[list[list[object]]], str]
    capabilities: frozenset[str] = frozenset({"json"})
    name: str = "scripted/test"
    asked: list[Ask] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        with self.lock:
            self.asked.append(ask)
        return Completion(self.answer(json.loads(messages[-1]["content"].split("Tokens: ", 1)[1])))


def reply(entries: object, around: str = "") -> str:
    return around + json.dumps({"activations": entries}, ensure_ascii=False) + around


def test_every_token_survives() -> None:
    llm = Scripted(lambda tokens: reply([[i, t, i % 11] for i, t in tokens], "\nwell: "))
    simulator = DigitsSimulator(llm=llm)
    assert isinstance(simulator, Simulator)
    one = excerpt(HARD)
    [found] = simulator.simulate("anything", [one])
    assert found.expected == tuple(float(i % 11) for i in range(len(HARD))) and found.failure is None and found.scale == "decile"
    assert llm.asked[0].role == "simulate" and llm.asked[0].excerpts == (one.id,) and llm.asked[0].schema is not None


@given(st.lists(st.text(max_size=4), min_size=1, max_size=12), st.data())
def test_what_is_echoed_is_read_back(tokens: list[str], data: st.DataObject) -> None:
    shown = [show_token(t) for t in tokens]
    values = data.draw(st.lists(st.integers(0, 10), min_size=len(tokens), max_size=len(tokens)))
    text = reply([[i, t, v] for i, (t, v) in enumerate(zip(shown, values, strict=True))])
    assert levels(Completion(text), shown) == [float(v) for v in values]


@given(st.text(max_size=80))
def test_no_reply_breaks_it(text: str) -> None:
    for whole in (text, '{"activations": [' + text, reply([[0, text, 3]])):
        try:
            assert len(levels(Completion(whole), ["a", "b"])) == 2
        except ReplyError as error:
            assert error.reply == whole


TOKENS = ["The", " rain", " rain", " fell"]


@pytest.mark.parametrize(("entries", "expected"), [
    ([[0, "The", 0], [1, " rain", 9]], [0, 9, None, None]),  # too few
    ([[0, "The", 0], [2, " rain", 9], [3, "fell", 1]], [0, None, 9, 1]),  # one left out: the numbers still align the rest
    ([[i, t, 1] for i, t in enumerate(TOKENS)] + [[4, "extra", 3]], [1, 1, 1, 1]),  # too many
    ([[0, "The", 11], [1, " rain", -1], [2, " rain", "3"], [3, " fell", 2]], [None, None, None, 2]),  # out of range, no number
    ([[0, " rain", 5], [1, "The", 5], [2, " rain", 5]], [None, None, 5, None]),  # another token
    ([[0, "The", 1], [0, "The", 2], [1, " rain", True], [2, " rain", 4.0]], [None, None, 4, None]),  # twice, differing; no number
    ([["0", "The", 1], [1, " rain"], None, {"a": 1}, [3, " fell", 7]], [None, None, None, 7]),
])
def test_only_what_is_aligned_counts(entries: list[object], expected: list[float | None]) -> None:
    assert levels(Completion(reply(entries)), TOKENS) == expected


def test_a_broken_reply_keeps_its_beginning_and_the_last_list_counts() -> None:
    whole = reply([[i, t, 2] for i, t in enumerate(TOKENS)])
    assert levels(Completion(whole[:-14]), TOKENS) == [2, 2, 2, None]
    assert levels(Completion(reply([[0, "The", 9]]) + " no: " + whole), TOKENS) == [2, 2, 2, 2]
    for nothing in ("", "I cannot do that.", reply([]), reply([[0, "x", 1]]), "[" * 5000):
        with pytest.raises(ReplyError):
            levels(Completion(nothing), TOKENS)


def test_expected_value_where_there_are_logprobs() -> None:
    text = reply([[0, "3", 3], [1, "x", 10]])
    cut = text.index(", 3]")
    tokens = [(text[:cut], {}), (", 3", {", 3": math.log(.6), ", 5": math.log(.2), ", x": math.log(.1), "4": math.log(.05), ", 11": math.log(.05)}),
              (text[cut + 3:-4], {}), ("1", {"1": -.1}), ("0", {"0": -.1}), (text[-2:], {})]
    tokens[2] = (text[cut + 3:text.rindex("10")], {})
    tokens[5] = (text[text.rindex("10") + 2:], {})
    assert "".join(t for t, _ in tokens) == text
    found = levels(Completion(text, tuple(tokens)), ["3", "x"])
    assert found == [pytest.approx((3 * .6 + 5 * .2) / .8), 10]  # a level in two tokens is taken as written
    assert levels(Completion(text, tuple(tokens[:-1])), ["3", "x"]) == [3, 10]  # tokens that do not spell the reply are not used


def test_failures_are_missing_and_pending_waits_for_all() -> None:
    texts = [plain("a b", 1), plain("c d", 2), plain("e f", 3)]

    def answer(tokens: list[list[object]]) -> str:
        if tokens[0][1] == "c":
            raise EndpointError("down for\na while")
        return reply([[i, t, 1] for i, t in tokens]) if tokens[0][1] == "a" else "no"
    found = DigitsSimulator(llm=Scripted(answer), threads=3).simulate("x", texts)
    assert [s.expected for s in found] == [(1, 1), (None, None), (None, None)]
    assert [s.failure and s.failure.split(":")[0] for s in found] == [None, "server", "reply"]

    def later(tokens: list[list[object]]) -> str:
        raise PendingError("later")
    llm = Scripted(later)
    with pytest.raises(PendingError):
        DigitsSimulator(llm=llm).simulate("x", texts)
    assert len(llm.asked) == 3

    def refused(tokens: list[list[object]]) -> str:
        raise AuthError("no key")
    with pytest.raises(AuthError):
        DigitsSimulator(llm=Scripted(refused)).simulate("x", texts)
    with pytest.raises(SettingsError, match="--llm"):
        DigitsSimulator().simulate("x", texts)


def test_threads_change_nothing() -> None:
    texts = [plain(f"word{i} and more", i) for i in range(9)]
    answers = [DigitsSimulator(llm=Scripted(lambda tokens: reply([[i, t, len(str(t)) % 10] for i, t in tokens])), threads=n).simulate("x", texts) for n in (1, 4)]
    assert answers[0] == answers[1]


def test_prompt_is_golden() -> None:
    messages, ask = DigitsSimulator(llm=Scripted(lambda tokens: "", capabilities=frozenset({"logprobs"}))).question('say "10"\n\u202eeverywhere', excerpt(("The", "\n", " \u200b")))
    assert messages[-1] == {"role": "user", "content": 'Explanation: "say \\"10\\" everywhere"\nTokens: [[0, "The"], [1, "\\\\n"], [2, " \\\\u200b"]]'}
    assert messages[0]["role"] == "system" and len(messages) == 2 and "$" not in messages[0]["content"]
    assert ask.schema is None and ask.logprobs == 15 and ask.temperature == 0
