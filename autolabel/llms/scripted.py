"""Answers from a Python function: `scripted/module:function`. For tests, for people who answer with something else, for offline runs.

The function is called with (messages, ask) and returns a text or a Completion; it may raise any LLMError. Called from many threads.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autolabel.errors import SettingsError
from autolabel.protocols import Message
from autolabel.types import Ask, Completion, Usage

Function = Callable[[Sequence[Message], Ask], str | Completion]


@dataclass(frozen=True)
class Scripted:
    """A function as an LLM."""

    name: str  # `scripted/module:function`
    function: Function = field(repr=False)
    capabilities: frozenset[str] = frozenset({"logprobs", "json"})  # what the function may give
    address: str = ""  # names another version of the function, so that its answers are not taken from the cache

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """What the function says. Words are counted as tokens where it does not say."""
        said = self.function(messages, ask)
        if isinstance(said, Completion):
            return said
        if not isinstance(said, str):
            raise SettingsError(f"{self.name} returned a {type(said).__name__}: it must return text or a Completion")
        words = sum(len(m["content"].split()) for m in messages)
        return Completion(said, usage=Usage(max(words, 1), len(said.split())), model=self.name)


def load(target: str) -> Scripted:
    """The function `module:function`. Raises SettingsError."""
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise SettingsError(f"scripted/{target}: write scripted/module:function")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"cannot load scripted/{target}: {error}") from error
    if not callable(function):
        raise SettingsError(f"scripted/{target} is no function")
    return Scripted(f"scripted/{target}", function, address=str(getattr(function, "version", "")))
