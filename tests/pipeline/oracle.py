"""An oracle behind HTTP: it knows the rules of planted units and answers as a good, a mediocre and a bad model would.

    with Server(answer, models=MODELS) as server: ...    # --llm openai/good, openai/mediocre, openai/bad

As an explainer it finds the unit by the words that it is shown, and names all of its words, half of them, or another unit's. As a
simulator and judge it reads the words that a label quotes, and is right always, mostly, or by chance (`tests.scorers.oracle`).
"""

from __future__ import annotations

import re
from typing import Any

from autolabel.subjects.planted import Noise, Plant
from autolabel.subjects.rules import word_rule
from autolabel.types import Ask, Role
from tests.scorers.oracle import Oracle

WORDS = (("two", "three", "four", "five", "seven", "eleven"), ("nothing", "nobody", "without", "never", "nowhere", "neither"),
         ("hour", "hours", "minutes", "seconds", "years", "days"), ("before", "after", "until", "during", "since", "while"))
PLANTS = tuple(Plant("0", i, "words", ((word_rule(words), 1.0 + i),), Noise(0.2, 0.01, 0.2, i)) for i, words in enumerate(WORDS))
MODELS = ("good", "mediocre", "bad")
SKILLS = {"good": 1.0, "mediocre": 0.6, "bad": 0.0}  # share of its judgements of texts that are right; the others are drawn at random
TOKEN_SKILLS = SKILLS | {"mediocre": 0.95}  # the same of single tokens, nearly all of which are silent
ROLES: tuple[tuple[str, Role], ...] = (("Words with the highest mean level", "explain"), ("Tokens: [", "simulate"), ("a marked token is <<", "fuzz"),
                                       ("The texts, each behind [", "detect"))  # what the last message of each kind of question holds


def label(model: str, unit: int) -> str:
    """What the model says of a planted unit."""
    own, other = WORDS[unit], WORDS[(unit + 1) % len(WORDS)]
    words = {"good": own, "mediocre": (*own[::2], *other[::2]), "bad": other}[model]
    quoted = [f"'{w}'" for w in words]
    return f"the words {', '.join(quoted[:-1])} and {quoted[-1]}"


def unit_of(said: str) -> int:
    """The planted unit whose words are shown as the strongest ones."""
    shown = set(re.findall(r'"(\w+)"', said.splitlines()[0]))
    return max(range(len(WORDS)), key=lambda i: len(shown & set(WORDS[i])))


def answer(body: dict[str, Any]) -> str:
    """The reply to one request."""
    said = body["messages"][-1]["content"]
    role = next(role for sign, role in ROLES if sign in said)
    if role == "explain":
        return f"LABEL: {label(body['model'], unit_of(said))}"
    skill = (TOKEN_SKILLS if role == "simulate" else SKILLS)[body["model"]]
    return Oracle(skill).complete(body["messages"], Ask(role)).text
