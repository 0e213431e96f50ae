"""Explainers that ask an LLM: one unit at a time, many at once, each outcome stored when it is known.

What a unit ends in is a label, an abstention, a failure (a row in `failures`, with the raw reply) or, where calls go through
files, nothing yet. Results do not depend on how many threads ask: a unit's calls depend on that unit alone.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from autolabel.errors import AutolabelError, LLMError, PendingError, StoppedError
from autolabel.llms.pool import SETTLE
from autolabel.types import Exemplars, Explanation, Unit

SAVE = 1.0  # seconds between commits of outcomes; the replies themselves are stored as they come


@dataclass(frozen=True, slots=True)
class Answer:
    """What one unit came to."""

    explanations: Sequence[Explanation]  # candidates, or one abstention
    cost_usd: float | None  # of its calls together; None where no price is known
    error: LLMError | None = None  # what some of its candidates failed with, where others are there


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that ended in an error."""

    unit: Unit
    kind: str  # LLMError.kind
    message: str
    reply: str  # as it came, empty where nothing did
    created: datetime.datetime  # UTC
    explainer: str = ""  # registered name, where it is not known from elsewhere


@dataclass
class Outcomes:
    """What a run of questions came to so far."""

    answers: list[Answer] = field(default_factory=list)  # not saved yet
    failures: list[Failure] = field(default_factory=list)  # not saved yet
    done: int = 0  # units with an explanation
    abstained: int = 0  # of them
    failed: int = 0
    pending: int = 0  # units whose answers come later


Save = Callable[[Sequence[Answer], Sequence[Failure]], None]


def ask_each(units: Iterable[Exemplars], ask: Callable[[Exemplars], Answer], save: Save, *, concurrency: int,
             progress: Callable[[int], None] = lambda done: None, halt: Callable[[], None] = lambda: None) -> Outcomes:
    """Ask about every unit, `concurrency` at a time, and save outcomes about once a second.

    A unit's LLMError is a failure of that unit; after a fatal one (a refused key, a used-up quota) or a StoppedError (budget)
    the run ends: what is in flight is settled and saved, then it is raised. So does Ctrl-C, which waits at most SETTLE seconds.
    `halt` is called then: it keeps the LLM from sending more.
    """
    out, stop = Outcomes(), threading.Event()
    flying: dict[Future[Answer], Unit] = {}
    waiting, fatal = iter(units), None
    ends: list[tuple[Unit, LLMError]] = []  # calls after which no other would do better
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="ask")
    saved = time.monotonic()

    def one(exemplars: Exemplars) -> Answer:
        if stop.is_set():
            raise StoppedError("stopped before this unit was asked about")
        return ask(exemplars)

    try:
        while fatal is None or flying:
            if fatal is None:
                flying |= {pool.submit(one, e): e.unit for e in islice(waiting, 2 * concurrency - len(flying))}
            if not flying:
                break
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                unit = flying.pop(future)
                ended = _settle(out, unit, future)
                fatal = fatal or ended
                ends += [(unit, ended)] if isinstance(ended, LLMError) else []
            if fatal is not None and not stop.is_set():
                stop.set()
                halt()
            progress(out.done + out.failed + out.pending)
            if time.monotonic() - saved > SAVE:
                _save(out, save)
                saved = time.monotonic()
        if ends:  # the one that was answered so; the others were not sent because of it
            _fail(out, *max(ends, key=lambda end: bool(end[1].reply)))
    except KeyboardInterrupt:
        stop.set()
        halt()
        for future in wait(flying, timeout=SETTLE).done:
            _settle(out, flying[future], future)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        _save(out, save)
    if fatal is not None:
        raise fatal
    return out


def _settle(out: Outcomes, unit: Unit, future: Future[Answer]) -> AutolabelError | None:
    """Count one unit's outcome; the error that ends the run, where it is one."""
    try:
        made = future.result()
    except PendingError:
        out.pending += 1
    except StoppedError as error:
        return error
    except LLMError as error:
        if error.fatal:
            return error
        _fail(out, unit, error)
    else:
        out.answers.append(made)
        out.done += 1
        out.abstained += all(e.abstained is not None for e in made.explanations)
        if made.error is not None:
            out.failures.append(failure_of(unit, made.error))
    return None


def _fail(out: Outcomes, unit: Unit, error: LLMError) -> None:
    out.failed += 1
    out.failures.append(failure_of(unit, error))


def _save(out: Outcomes, save: Save) -> None:
    if out.answers or out.failures:
        save(out.answers, out.failures)
        out.answers, out.failures = [], []


def failure_of(unit: Unit, error: LLMError) -> Failure:
    """An error as the failure of a unit, now."""
    return Failure(unit, error.kind, str(error), error.reply, datetime.datetime.now(datetime.UTC).replace(tzinfo=None))
