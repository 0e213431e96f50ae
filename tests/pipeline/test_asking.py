"""Explainers that ask an LLM: every outcome is stored, nothing depends on the number of threads, what failed is asked again."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest

import autolabel as al
from autolabel.errors import AuthError, PendingError, StoppedError
from autolabel.llms.scripted import Scripted
from autolabel.pipeline.asking import Answer, Failure, ask_each
from autolabel.types import Exemplars, Explanation, Maker, Unit, UnitStats
from tests.pipeline import scripts

UNITS = "4/0-39"


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


def rows(catalogue: al.Catalogue) -> list[tuple[object, ...]]:
    return catalogue.read("SELECT id, text, pattern, llm, prompt, abstained, cost_usd FROM explanations WHERE explainer = 'structured' ORDER BY id")


def test_failures_are_rows_and_are_asked_again(catalogue: al.Catalogue) -> None:
    asked: Counter[str] = Counter()

    def counting(messages, ask):  # type: ignore[no-untyped-def]
        asked[messages[1]["content"]] += 1
        return scripts.uneven(messages, ask)
    llm = Scripted("scripted/uneven", counting)
    count = al.explain(catalogue, "structured", units=UNITS, llm=llm)
    assert count.done + count.failed == 40 and min(count.done, count.failed) > 5
    kinds = dict(catalogue.read("SELECT kind, count(*) FROM failures WHERE stage = 'explain' GROUP BY kind"))
    assert sum(kinds.values()) == count.failed and set(kinds) == {"refused", "reply"}
    assert catalogue.read("SELECT count(*) FROM failures WHERE kind = 'reply' AND reply = 'I would rather not say.'") == [(kinds["reply"],)]
    before, answered = sum(asked.values()), rows(catalogue)
    again = al.explain(catalogue, "structured", units=UNITS, llm=llm)
    assert (again.before, again.done, again.failed) == (count.done, 0, count.failed)
    assert sum(asked.values()) - before == kinds["refused"] + 2 * kinds["reply"]  # only those, a reply that cannot be read is asked about twice
    assert catalogue.read("SELECT count(*) FROM failures WHERE stage = 'explain'") == [(count.failed,)]
    mended = al.explain(catalogue, "structured", units=UNITS, llm=Scripted("scripted/uneven", scripts.plain))
    assert (mended.done, mended.failed) == (count.failed, 0)
    assert catalogue.read("SELECT count(*) FROM failures WHERE stage = 'explain'") == [(0,)] and set(answered) < set(rows(catalogue))


def exemplars(n: int) -> list[Exemplars]:
    return [Exemplars(Unit("m", "0", "mlp", i), UnitStats(1, 1, 1, 1, 1, 0, 1, .2, 1)) for i in range(n)]


def answer(e: Exemplars) -> Answer:
    return Answer([Explanation(e.unit, "words", None, Maker("x"))], 0.0)


@pytest.mark.parametrize("error", [AuthError("the key is refused"), StoppedError("the budget ends here")])
def test_what_ends_a_run_ends_it_after_what_is_in_flight(error: Exception) -> None:
    saved: list[Answer | Failure] = []
    begun: list[int] = []

    def ask(e: Exemplars) -> Answer:
        begun.append(e.unit.index)
        if e.unit.index == 10:
            raise error
        return answer(e)
    with pytest.raises(type(error)):
        ask_each(exemplars(1000), ask, lambda answers, failures: saved.extend([*answers, *failures]), concurrency=4)
    fatal = [one for one in saved if isinstance(one, Failure)]  # a call that ends the run is a failure of its unit; one that was not made is none
    assert len(saved) == len(begun) - isinstance(error, StoppedError) and len(fatal) == isinstance(error, AuthError) and len(begun) < 40


def test_what_is_pending_is_no_failure() -> None:
    def ask(e: Exemplars) -> Answer:
        if e.unit.index % 2:
            raise PendingError("later")
        return answer(e)
    saved: list[Answer] = []
    out = ask_each(exemplars(20), ask, lambda answers, failures: saved.extend(answers), concurrency=3)
    assert (out.done, out.pending, out.failed, len(saved)) == (10, 10, 0, 10)


def test_an_interrupt_keeps_what_is_in_flight() -> None:
    saved: list[Answer] = []
    gate = threading.Event()

    def ask(e: Exemplars) -> Answer:
        gate.wait(0.2)
        return answer(e)

    def progress(done: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        ask_each(exemplars(100), ask, lambda answers, failures: saved.extend(answers), concurrency=4, progress=progress)
    assert 8 <= len(saved) <= 8 + 2 * 4
