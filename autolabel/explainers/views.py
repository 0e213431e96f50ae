"""The text of each template variable: a view of a unit, as the prompts of the literature show it."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel import render
from autolabel.explainers.showing import View
from autolabel.render import Snippet

NONE = "none"


def graded(view: View) -> str:
    """Numbered lines, active words marked with their level."""
    return _graded(view.excerpts, view.word)


def hard(view: View) -> str:
    """The hard negatives, in the same form."""
    return _graded(view.negatives, view.word) or NONE


def highlighted(view: View) -> str:
    """Numbered lines, active runs marked, each followed by its active words and their levels."""
    return "\n".join(f"{i}. {render.marked(one, view.word)}\n   {render.active_list(one) or NONE}" for i, one in enumerate(view.excerpts, 1))


def summarised(view: View) -> str:
    """Numbered lines of plain text, each followed by its active words and their levels."""
    return "\n".join(f"{i}. {render.plain(one)}\n   {render.active_list(one) or NONE}" for i, one in enumerate(view.excerpts, 1))


def token_blocks(view: View) -> str:
    """Every token on a line, with its level."""
    return "\n".join(f"<{view.word} {i}>\n{render.token_lines(one)}\n</{view.word} {i}>" for i, one in enumerate(view.excerpts, 1))


def active_lists(view: View) -> str:
    """Numbered lines of active words and their levels."""
    return "\n".join(f"{i}. {render.active_list(one) or NONE}" for i, one in enumerate(view.excerpts, 1))


def top_tokens(view: View) -> str:
    """The token types with the largest mean activation."""
    return render.listed(view.top_tokens) or NONE


def promoted(view: View) -> str:
    """Output tokens that are raised."""
    return render.listed(view.promoted) or NONE


def lowered(view: View) -> str:
    """Output tokens that are lowered."""
    return render.listed(view.lowered) or NONE


def _graded(excerpts: Sequence[Snippet], word: str) -> str:
    return "\n".join(f"{i}. {render.marked(one, word, grades=True)}" for i, one in enumerate(excerpts, 1))
