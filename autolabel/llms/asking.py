"""Many questions to one LLM: answers in the order of the questions, failures as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from autolabel.errors import LLMError, PendingError, SettingsError
from autolabel.llms.pool import ordered_map
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion

Answer = TypeVar("Answer")
Question = tuple[Sequence[Message], Ask]


def attempt(call: Callable[[], Answer]) -> Answer | LLMError | PendingError:
    """What a call gives, or the failure that it ended in. Raises errors that end the run: a refused key, a spent budget."""
    try:
        return call()
    except LLMError as error:
        if error.fatal:
            raise
        return error
    except PendingError as error:
        return error


def attempt_all(calls: Sequence[Callable[[], Answer]], threads: int = 1, halt: Callable[[], None] = lambda: None) -> list[Answer | LLMError]:
    """All of them, in order. Every call is made before PendingError is raised, so that one round of a batch holds all its questions.

    `halt` keeps the LLM from sending more, after Ctrl-C.
    """
    done: list[Answer | LLMError] = []
    pending: PendingError | None = None
    for result in ordered_map(attempt, calls, threads, halt):
        if isinstance(result, PendingError):
            pending = result
        else:
            done.append(result)
    if pending is not None:
        raise pending
    return done


def ask_all(llm: LLM, questions: Sequence[Question], read: Callable[[int, Completion], Answer], threads: int = 1) -> list[Answer | LLMError]:
    """read(i, completion) of each question's answer, or its LLMError; `read` raises ReplyError where an answer cannot be read."""
    def call(i: int) -> Callable[[], Answer]:
        return lambda: read(i, llm.complete(*questions[i]))
    return attempt_all([call(i) for i in range(len(questions))], threads, halt_of(llm))


def halt_of(llm: LLM) -> Callable[[], None]:
    """What keeps an LLM from sending more; nothing where it has no such thing."""
    return getattr(llm, "stop", lambda: None)


def need(llm: LLM | None, what: str) -> LLM:
    """The LLM. Raises SettingsError where there is none."""
    if llm is None:
        raise SettingsError(f"{what} asks an LLM: write --llm PROVIDER/MODEL")
    return llm


def failure(error: LLMError) -> str:
    """An error as one line: `kind: message`."""
    return f"{error.kind}: {' '.join(str(error).split())[:200]}"
