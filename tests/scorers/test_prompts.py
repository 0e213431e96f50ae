"""What simulators and scorers send, word for word: a change of a template or of its filling is seen here."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.llms.local import load_local
from autolabel.render import show
from autolabel.scorers.contrast import Contrast
from autolabel.scorers.fuzzing import marks
from autolabel.scorers.generative import Generative
from autolabel.scorers.intruder import question
from autolabel.scorers.judging import Item, questions
from autolabel.simulators.digits import DigitsSimulator
from autolabel.simulators.logprob import LogprobSimulator
from autolabel.simulators.text import template
from autolabel.types import ActivationRecord
from tests.explainers.llm_case import same_as_golden, written
from tests.local_model import make_local
from tests.scorers.oracle import Oracle
from tests.simulators.texts import HARD, excerpt, plain

LABEL = 'the word "tea"\nand $5'
TEXTS = ["she drank her tea in the hall", "tea for two , two for tea", "cold tea is no tea at all", "a pot of tea stood there", "the rain fell on the lake all day"]


def records() -> list[ActivationRecord]:
    found = []
    for d, text in enumerate(TEXTS):
        e = plain(text, d)
        found.append(ActivationRecord(e, tuple(float(w == "tea") for w in text.split(" ")), "silent" if d == 4 else "active"))
    return found


def test_digits() -> None:
    messages, ask = DigitsSimulator(llm=Oracle()).question(LABEL, excerpt(HARD))
    same_as_golden("simulate_digits.txt", written(messages))
    assert ask.role == "simulate"


def test_detect() -> None:
    items = [Item(show(r.excerpt.text), r.band == "active", r.excerpt.id) for r in records()]
    _, [(messages, _)] = questions(Oracle(), template("detect"), LABEL, items, 5, "detect", 0)
    same_as_golden("detect.txt", written(messages))


def test_fuzz() -> None:
    from autolabel.render import marked
    items = [Item(marked(marks(r, 0.5, k % 2 == 0, 0), "qx"), k % 2 == 0, r.excerpt.id) for k, r in enumerate(records()[:4])]
    _, [(messages, _)] = questions(Oracle(), template("fuzz"), LABEL, items, 5, "fuzz", 0, "qx")
    same_as_golden("fuzz.txt", written(messages))


def test_intrude() -> None:
    (messages, _), intruder = question(Oracle(), template("intrude"), LABEL, Contrast(tuple(records()[:4]), tuple(records()[4:]), 0.5), 0, 0)
    same_as_golden("intrude.txt", written(messages))
    assert "rain" in messages[-1]["content"].split(f" {intruder}] ")[1].split("\n")[0]


@pytest.mark.parametrize("kind", ["near miss"])
def test_generate(kind: str) -> None:
    same_as_golden("generate.txt", written(Generative(llm=Oracle()).question(Oracle(), LABEL, kind)[0]))


def test_logprob(tmp_path: Path) -> None:
    llm = load_local(str(make_local(tmp_path / "m", context=4096)))
    simulator = LogprobSimulator(llm=llm)
    ids = [*simulator.prefix(LABEL).ids, *simulator.asked(excerpt(HARD)).ids]
    same_as_golden("simulate_logprob.txt", llm.tokenizer.decode(ids))
