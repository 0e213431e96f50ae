"""Revision: the worst mistakes are found, shown and answered, and the best label of all rounds is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from autolabel.errors import AuthError, EndpointError, PendingError
from autolabel.explainers import Highlight, Structured, revise
from autolabel.patterns.run import run
from autolabel.patterns.syntax import parse
from autolabel.protocols import SelectEvidence
from autolabel.render import level
from autolabel.types import Explanation, Maker, Simulation, Unit
from tests.explainers import planted
from tests.explainers.llm_case import NO_SPLIT, Scripted, answers, same_as_golden, unit

FALSE_AND_MISSED = '{"any":[{"on":{"word":["river","house"]}}]}'
UNIT = Unit("planted", "0", "mlp", planted.LIST)


@pytest.fixture(scope="module")
def evidence() -> SelectEvidence:
    s = planted.split(seed=3, documents=90)
    return SelectEvidence(s.subject, s.chunks, s.n_excerpts, s.n_tokens, s.stats, 16)


def label(pattern: str, text: str = "rivers", index: int = planted.LIST) -> Explanation:
    return Explanation(Unit("planted", "0", "mlp", index), text, pattern, Maker("structured"))


def runner(evidence: SelectEvidence) -> Any:
    return lambda patterns, excerpts: run(patterns, excerpts, vocabulary=evidence.subject.vocabulary)  # type: ignore[attr-defined]  # Planted has one


def correlations(evidence: SelectEvidence) -> Any:
    def score(labels: Sequence[Explanation]) -> list[float | None]:
        out: list[float | None] = []
        for one in labels:
            a, c = [], []
            for chunk in evidence.chunks():
                c.append(runner(evidence)([parse(one.pattern or "")], chunk).row(0))
                a += [evidence.subject.x[tuple(b)][:, one.unit.index] for batch in chunk.batches(1) for b in batch.tokens.tolist()]  # type: ignore[attr-defined]
            out.append(float(np.corrcoef(np.concatenate(a), np.concatenate(c))[0, 1]))
        return out
    return score


def test_search_finds_what_brute_force_finds(evidence: SelectEvidence) -> None:
    labels = [label(FALSE_AND_MISSED), label('{"any":[{"on":{"class":"digit"},"strength":0.2}]}', index=planted.NUMBERS)]
    for one, found in zip(labels, revise.search(evidence, labels, runner(evidence), shown=1000), strict=True):
        largest = evidence.stats["0", "+"].max[one.unit.index]
        worst: dict[int, tuple[int, int]] = {}
        for chunk in evidence.chunks():
            c = runner(evidence)([parse(one.pattern or "")], chunk).row(0)
            for row in range(len(chunk)):
                s = slice(chunk.offset[row], chunk.offset[row + 1])
                a = evidence.subject.x[tuple(chunk.tokens[s].tolist())][:, one.unit.index]  # type: ignore[attr-defined]
                gaps = [level(float(x), largest) - int(10 * y + .5) for x, y in zip(a, c[s], strict=True)]
                worst[int(chunk.id[row])] = max(gaps), max(-g for g in gaps)
        for kind, several in ((0, found.missed), (1, found.false)):
            expected = sorted((w[kind] for w in worst.values() if w[kind] >= revise.WRONG and w[kind] >= w[1 - kind]), reverse=True)
            got = sorted((max(m.gap(kind == 0)) for m in several), reverse=True)
            assert got[:3] == expected[:3] and all(worst[m.excerpt.id][kind] == max(m.gap(kind == 0)) for m in several)
        assert found.missed and (found.false or one is labels[1])
        assert not {m.excerpt.id for m in found.missed} & {m.excerpt.id for m in found.false}


def test_a_label_is_mended_and_a_worse_answer_is_not_taken(evidence: SelectEvidence) -> None:
    better = json.dumps({"label": "rivers and stones", "pattern": {"any": [{"on": {"word": ["river"]}}, {"on": {"word": ["stone"]}, "strength": .5}]}})
    worse = json.dumps({"label": "trees", "pattern": {"any": [{"on": {"word": ["tree"]}}]}})
    llm = answers(better, worse)
    exemplars = unit(unit=UNIT)
    first = label(FALSE_AND_MISSED)
    found, = revise.revise(Structured(llm=llm), [(exemplars, first)], lambda labels: revise.search(evidence, labels, runner(evidence)), correlations(evidence), rounds=5)
    assert found.best.text == "rivers and stones" and found.error is None
    scores = [value for _, value in found.tried]
    assert scores[0] is not None and scores[1] is not None and scores[1] > .95 > scores[0] and len(scores) == 2  # then there is no mistake left
    assert found.best.maker.settings["round"] == 1 and found.best.maker.settings["revises"] == first.id and found.best.maker.prompt != Structured().prompt(exemplars).template
    messages, ask = llm.asked[0]
    assert ask.role == "revise" and messages[-2]["content"].startswith('{"label": "rivers", "pattern": {"any"')
    shown = messages[-1]["content"]
    assert "stone|5>>" in shown and "house (10)" in shown
    ids = {int(i) for chunk in evidence.chunks() for i in chunk.id}
    assert set(ask.excerpts) >= set(Structured().prompt(exemplars).excerpts) and len(set(ask.excerpts) & ids) >= 2

    llm = answers(worse, better)
    found, = revise.revise(Structured(llm=llm), [(exemplars, first)], lambda labels: revise.search(evidence, labels, runner(evidence)), correlations(evidence), rounds=1)
    assert found.best == first and [e.text for e, _ in found.tried] == ["rivers", "trees"]


def test_many_labels_are_revised_in_one_round_on_threads(evidence: SelectEvidence) -> None:
    looks: list[int] = []

    def find(labels: Sequence[Explanation]) -> list[revise.Mistakes]:
        looks.append(len(labels))
        return revise.search(evidence, labels, runner(evidence))
    fixed = json.dumps({"label": "numbers", "pattern": {"any": [{"on": {"class": "digit"}}]}})
    refuse = EndpointError("503")

    def answer(messages: Any, ask: Any) -> str:
        if "trees" in messages[-2]["content"]:
            raise refuse
        return fixed
    labels = [(unit(unit=Unit("planted", "0", "mlp", planted.NUMBERS)), label('{"any":[{"on":{"word":["tree"]}}]}', text, planted.NUMBERS)) for text in ("sea", "trees")]
    labels.append((unit(), Explanation(UNIT, "", None, Maker("structured"), "no clear pattern")))
    score = lambda several: [None if e.pattern is None else v for e, v in zip(several, [correlations(evidence)([e])[0] if e.pattern else None for e in several], strict=True)]
    with ThreadPoolExecutor(4) as pool:
        one, two, three = revise.revise(Structured(llm=Scripted(answer)), labels, find, score, rounds=3, each=pool.map)
    assert one.best.text == "numbers" and two.best.text == "trees" and two.error is refuse and three.best.abstained and looks == [2, 1]


def test_what_ends_a_run_ends_it(evidence: SelectEvidence) -> None:
    asked: list[int] = []
    for error, calls in ((AuthError("key"), 1), (PendingError("open"), 2)):
        def answer(messages: Any, ask: Any, error: Exception = error) -> str:
            asked.append(1)
            raise error
        asked.clear()
        pairs = [(unit(unit=UNIT), label(FALSE_AND_MISSED, text)) for text in ("a", "b")]
        with pytest.raises(type(error)):
            revise.revise(Structured(llm=Scripted(answer)), pairs, lambda labels: revise.search(evidence, labels, runner(evidence)), lambda labels: [.1] * len(labels))
        assert len(asked) == calls


def test_sentences_are_revised_from_simulations() -> None:
    one = unit()
    simulations = [Simulation(r.excerpt.id, tuple(1. if t == 0 else None if t == 2 else 0. for t in range(len(r.activations)))) for r in one.records]
    found = revise.from_simulations(one.stats, one.records, simulations, shown=2)
    assert len(found.missed) == len(found.false) == 2 and all(max(m.gap(True)) >= 7 for m in found.missed)
    assert all(m.expected[0] == 10 and m.expected[2] is None for m in found.all)
    prompt = revise.prompt_for(Highlight(), one, Explanation(one.unit, "the first word", None, Maker("highlight")), .25, found)
    same_as_golden("revise.txt", "".join(f"=== {m['role']} ===\n{m['content']}\n\n" for m in prompt.messages[-2:]))
    assert prompt.messages[-2]["content"] == "LABEL: the first word" and prompt.messages[:-2] == Highlight().prompt(one).messages
    llm = answers("LABEL: rivers")
    better, = revise.revise(Highlight(llm=llm), [(one, Explanation(one.unit, "the first word", None, Maker("highlight")))], lambda labels: [found],
                            lambda labels: [.9 if e.text == "rivers" else None for e in labels], rounds=1)
    assert better.best.text == "rivers" and next(iter(Highlight(llm=answers("LABEL: x")).explain([one], NO_SPLIT))).text == "x"
