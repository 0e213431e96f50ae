"""Functions that answer as an LLM would, well or badly; `scripted/tests.pipeline.scripts:NAME` finds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from autolabel.errors import RefusedError
from autolabel.protocols import Message
from autolabel.types import Ask


def plain(messages: Sequence[Message], ask: Ask) -> str:
    """A structured answer that does not depend on who asks when: words of the prompt's own excerpts."""
    name = hashlib.sha256(messages[-1]["content"].encode()).hexdigest()
    return json.dumps({"label": f"words such as the and of ({name[:6]})", "pattern": {"any": [{"on": {"word": ["the", "of", name[:3]]}}]}})


def uneven(messages: Sequence[Message], ask: Ask) -> str:
    """One prompt in three is refused, one in three answered with what cannot be read."""
    turn = int(hashlib.sha256(messages[1]["content"].encode()).hexdigest(), 16) % 3
    if turn == 0:
        raise RefusedError("the model refuses", "no")
    return "I would rather not say." if turn == 1 else plain(messages, ask)
