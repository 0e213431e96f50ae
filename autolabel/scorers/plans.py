"""What the scorers that ask have in common: the questions of all labels are made first, asked together, then read label by label."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.errors import LLMError, UnitError
from autolabel.llms.asking import Question, ask_all, failure
from autolabel.protocols import LLM, SelectEvidence, TestEvidence
from autolabel.scorers.labels import Layer, layers_of
from autolabel.scorers.reading import Reading
from autolabel.stats.delong import delong
from autolabel.types import Completion, Explanation, Score, Simulation

Extra = dict[str, float | int | str | bool | None]
ENOUGH = 5  # answers of either kind below which there is no score


@dataclass(frozen=True)
class Figure:
    """What a plan ends in: a value with its interval, or the reason why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0  # excerpts (or texts) that were judged
    reason: str | None = None
    extra: Extra | None = None


@dataclass(frozen=True)
class Plan:
    """One label."""

    questions: Sequence[Question]
    read: Callable[[int, Completion], Any]  # the answer to a question; raises ReplyError
    finish: Callable[[list[Any]], Figure]  # from the answers; an LLMError in the place of one that failed


def unreadable(e: Explanation) -> str | None:
    """Why a label has no sentence to judge; None where it has one."""
    if e.abstained is not None:
        return f"abstained: {e.abstained}"
    return None if e.text.strip() else "the label has no sentence"


def run_plans(explanations: Sequence[Explanation], view: SelectEvidence | TestEvidence, scorer: str, judge: str, seed: int,
              plan: Callable[[Explanation, Layer, Reading], Plan | str], llm: LLM | None = None, threads: int = 1) -> list[Score]:
    """One score per explanation, in order. `plan` gives a reason where a label cannot be scored; `judge` is what reads the labels.

    Raises UnitError, what ends a run, and PendingError after every question of this round was asked.
    """
    layers = {(lay.site.layer, lay.site.name): lay for lay in layers_of(view)}
    reading = Reading(view, seed)
    reasons = {i: why for i, e in enumerate(explanations) if (why := unreadable(e)) is not None}
    plans: dict[int, Plan] = {}
    order = {name: k for k, name in enumerate(layers)}
    for i in sorted(set(range(len(explanations))) - set(reasons), key=lambda i: (order.get(_site(explanations[i]), -1), i)):
        lay = layers.get(_site(explanations[i]))
        if lay is None:
            raise UnitError(f"{explanations[i].unit} does not exist here: the layers with statistics are {', '.join(f'{a}-{b}' for a, b in layers)}")
        made = plan(explanations[i], lay, reading)
        if isinstance(made, str):
            reasons[i] = made
        else:
            plans[i] = made
    asked = [(i, q) for i in sorted(plans) for q in range(len(plans[i].questions))]
    answers: list[Any] = []
    if llm is not None and asked:
        answers = ask_all(llm, [plans[i].questions[q] for i, q in asked], lambda k, reply: plans[asked[k][0]].read(asked[k][1], reply), threads)
    out = []
    for i, e in enumerate(explanations):
        if i in reasons:
            out.append(Score.unscored(e.id, scorer, judge, view.split, reasons[i]))
            continue
        mine = [answer for (k, _), answer in zip(asked, answers, strict=True) if k == i]
        figure = plans[i].finish(mine)
        failed = [Simulation(0, (), failure=failure(a), reply=a.reply) for a in mine if isinstance(a, LLMError)]
        extra: Extra = {**(figure.extra or {}), **failed_calls(failed)}
        if llm is not None:
            extra["same_family"] = same_family(e.maker.llm, llm.name)
        reason = figure.reason if not failed or figure.reason is None else f"{figure.reason} ({len(failed)} calls failed, first {failed[0].failure})"
        out.append(Score(e.id, scorer, judge, view.split, figure.value, figure.low, figure.high, figure.n, reason, extra))
    return out


def failed_calls(failed: Sequence[Simulation]) -> Extra:
    """How many calls failed, and the first of them: `failure` (kind: message) and `reply`, as it came."""
    return {"failed": len(failed), "failure": failed[0].failure if failed else None, "reply": failed[0].reply if failed else None}


def area(positive: Sequence[float], negative: Sequence[float], extra: Extra | None = None) -> Figure:
    """AUC of values of active against silent excerpts, with DeLong's interval; chance is .5."""
    import numpy as np

    if min(len(positive), len(negative)) < ENOUGH:
        return Figure(None, reason=too_few(len(positive), len(negative)))
    found = delong(np.array([*positive, *negative]), np.arange(len(positive) + len(negative)) < len(positive))
    return Figure(float(found.value[0]), float(found.low[0]), float(found.high[0]), len(positive) + len(negative), None,
                  {"chance": 0.5, "n_active": len(positive), "n_silent": len(negative), **(extra or {})})


def too_few(active: int, silent: int) -> str:
    """The reason of a label with too few excerpts or answers."""
    return f"{active} active and {silent} silent excerpts are too few to be told apart: at least {ENOUGH} of each"


def same_family(explainer: str | None, judge: str) -> bool | None:
    """Whether a judge is of the family of models that wrote the label (`gpt`, `llama`, ...), so might favour it; None where no model wrote it."""
    if explainer is None:
        return None
    return _family(explainer) == _family(judge)


def _family(name: str) -> str:
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    found = re.match(r"[a-z]+", last)
    return found[0] if found else last


def _site(e: Explanation) -> tuple[str, str]:
    return e.unit.layer, e.unit.site
