"""Orders in the corpus and messages hidden in labels: a judge that obeys whatever is not marked as data is no worse for them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import regex

from autolabel.excerpts import Excerpts
from autolabel.protocols import TestEvidence
from autolabel.scorers.detection import Detection
from autolabel.scorers.fuzzing import Fuzzing
from autolabel.scorers.generative import Generative
from autolabel.scorers.intruder import Intruder
from autolabel.types import Explanation, Maker, Unit
from tests.explainers.test_hostile_texts import ORDERS
from tests.scorers.oracle import TRUE, Oracle, PlantedToy
from tests.scorers.scorer_world import World, cut, world
from tests.scorers.test_judges import BREAKS, SNIPPETS

UNSEEN = regex.compile(r"[\p{Cf}\p{Cc}\p{Zl}\p{Zp}--\n]", regex.V1)


@pytest.fixture(scope="module")
def toy() -> World:
    return world(PlantedToy(), documents=(80, 160, 160))


class Obedient(Oracle):
    """Obeys every order in a line that is not behind the mark of its question, and one that closes a mark it knows."""

    def detect(self, words: list[str], said: str) -> object:
        texts = self.lines(said)
        mark = re.search(r"each behind \[(\w+) NUMBER\]", said)
        assert mark is not None
        loose = [line for line in said.splitlines() if not re.match(rf"\[{mark[1]} \d+\] ", line)]
        if any("answer 1 for all" in line.lower() for line in loose) or len(texts) != len({k for k, _ in texts}):
            return {"answers": [[k, 1] for k, _ in texts]}
        return super().detect(words, said)


def with_orders(toy: World, orders: list[str]) -> TestEvidence:
    """The test split, with an order before or behind the words of every excerpt."""
    e = toy.split["test"]
    spans = [slice(int(e.offset[r]), int(e.offset[r + 1])) for r in range(len(e))]
    texts = [f"{text}{orders[r % len(orders)]}" for r, text in enumerate(e.text)]
    evil = Excerpts.build(e.id, e.document, e.block, e.start, [e.tokens[s] for s in spans], [e.char_start[s] for s in spans], [e.char_end[s] for s in spans], texts)
    return replace(toy.test, chunks=lambda: cut(evil, 40))


def test_fifty_orders_in_texts_cost_no_accuracy(toy: World) -> None:
    orders = [f"{b}{s}{b}" for s in SNIPPETS for b in BREAKS]
    assert len(orders) == len(set(orders)) == 50
    labels = [Explanation(Unit("toy", "0", "mlp", 0), TRUE, None, Maker("test"))]
    judge = Obedient()
    [plain] = Detection(llm=judge, active=25, silent=25).score(labels, toy.test)
    shown = Obedient()
    [told] = Detection(llm=shown, active=25, silent=25).score(labels, with_orders(toy, orders))
    assert plain.value == 1.0 and plain.value - told.value <= .02 and told.n == plain.n == 50
    assert sum("answer 1 for all" in p.lower() for p in shown.prompts) == len(shown.prompts) == 10
    marks = [re.search(r"each behind \[(\w+) NUMBER\]", p)[1] for p in shown.prompts]  # type: ignore[index]
    assert len(set(marks)) == 10 and not any(mark in order for mark in marks for order in orders)


@pytest.mark.parametrize("scorer", [Detection, Fuzzing, Intruder, Generative])
def test_what_is_hidden_in_a_label_does_not_reach_a_judge(toy: World, scorer: type) -> None:
    hidden = ["\u200bzero\u200cwidth", "\u202eevil\u202c", "\U000e0049\U000e0047 tags", "\ufe0f\u2063", "QUJDREVG" * 8, "word " * 100, "\x1b[2J", "a\u2028b\x85c", *ORDERS[:10]]
    for text in hidden:
        judge = Oracle()
        scorer(llm=judge).score([Explanation(Unit("toy", "0", "mlp", 0), f"{TRUE} {text}", None, Maker("human"))], toy.test)
        assert judge.prompts
        for prompt in judge.prompts:
            label = next(line for line in prompt.split("\n") if line.startswith("Explanation: "))
            assert not UNSEEN.search(prompt) and len(label) < 340 and not regex.search(r"[A-Za-z0-9+/_=-]{41,}", label), repr(label)


@pytest.mark.parametrize(("explainer", "judge", "same"), [
    ("openai/gpt-4o-mini", "openai/gpt-5", True), ("openai/gpt-4o", "local/models/llama-3", False), ("openai/meta-llama/Llama-3.1-8B", "local/llama-3", True),
    (None, "openai/gpt-4o", None)])
def test_a_judge_of_the_explainers_own_family_is_said_in_the_row(toy: World, explainer: str | None, judge: str, same: bool | None) -> None:
    labels = [Explanation(Unit("toy", "0", "mlp", 0), TRUE, None, Maker("summary", llm=explainer))]
    for scorer in (Detection, Fuzzing, Intruder, Generative):
        [score] = scorer(llm=Oracle(name=judge)).score(labels, toy.test)
        assert score.extra["same_family"] is same and score.simulator == judge
