"""Which excerpts of a unit an LLM sees, and as what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolabel import render
from autolabel.render import Snippet
from autolabel.types import ActivationRecord, Exemplars, digest

NEGATIVES = ("negative:token", "negative:near", "negative:neighbour")  # bands of records in which the unit is silent


@dataclass(frozen=True)
class View:
    """What is shown of one unit, real or made up for an example."""

    excerpts: tuple[Snippet, ...]  # strongest first
    negatives: tuple[Snippet, ...] = ()  # the unit is silent here
    top_tokens: tuple[str, ...] = ()
    promoted: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    word: str = ""  # what marks are made with

    def texts(self) -> Iterator[str]:
        """Everything that comes from outside."""
        for one in (*self.excerpts, *self.negatives):
            yield one.text
        yield from (*self.top_tokens, *self.promoted, *self.lowered)


def chosen(exemplars: Exemplars, top: int, strata: int) -> list[ActivationRecord]:
    """Distinct excerpts, best first for leaving some out from the end: top and strata take turns."""
    tops = [r for r in exemplars.records if r.band == "top"][:top]
    taken = {r.excerpt.id for r in tops}
    by_stratum: dict[str, list[ActivationRecord]] = {}
    for r in exemplars.records:
        if r.band.startswith("stratum:") and r.excerpt.id not in taken:
            taken.add(r.excerpt.id)
            by_stratum.setdefault(r.band, []).append(r)
    columns = [by_stratum[band] for band in sorted(by_stratum, reverse=True)]
    spread = [column[i] for i in range(max(map(len, columns), default=0)) for column in columns if i < len(column)][:strata]
    turns = [record for i in range(max(len(tops), len(spread))) for record in (*tops[i:i + 1], *spread[i:i + 1])]
    return turns


def silent(exemplars: Exemplars, needs: frozenset[str]) -> list[ActivationRecord]:
    """The hard negatives asked for, the kinds taking turns."""
    kinds = [[r for r in exemplars.records if r.band == band] for band in NEGATIVES if band in needs]
    return [kind[i] for i in range(max(map(len, kinds), default=0)) for kind in kinds if i < len(kind)]


def peak_tokens(exemplars: Exemplars) -> list[int]:
    """Ids of the tokens at which the records of the top band are strongest, the most frequent first, ties by id."""
    tops = [r for r in exemplars.records if r.band == "top"]
    counts = Counter(r.excerpt.tokens[max(range(len(r.activations)), key=r.activations.__getitem__)] for r in tops)
    return sorted(counts, key=lambda token: (-counts[token], token))


def _at(record: ActivationRecord, tokens: Sequence[int]) -> int | None:
    """Where one of `tokens` stands."""
    return next((i for i, token in enumerate(record.excerpt.tokens) if token in tokens), None)


def view_of(exemplars: Exemplars, records: Sequence[ActivationRecord], others: Sequence[ActivationRecord], window: int,
            shown: Sequence[Mapping[str, Any]], template: str) -> View:
    """What is shown of a unit: `records`, `others` where it is silent. `shown`: the few-shot examples beside it; `template`: a digest."""
    largest = exemplars.stats.max
    excerpts = sorted((render.snippet(r, largest, window) for r in records), key=lambda s: (-s.highest, s.excerpt or 0))
    peaks = peak_tokens(exemplars)
    negatives = tuple(render.snippet(r, largest, window, _at(r, peaks) if r.band == "negative:token" else None) for r in others)
    view = View(tuple(excerpts), negatives, exemplars.stats.top_tokens, exemplars.promoted, exemplars.lowered)
    ids = [r.excerpt.id for r in (*records, *others)]
    texts = [*view.texts(), *(text for one in shown for text in example_view(one, "").texts())]
    return View(view.excerpts, view.negatives, view.top_tokens, view.promoted, view.lowered,
                render.nonce(digest(str(exemplars.unit), sorted(ids), template), texts))


def example_view(one: Mapping[str, Any], word: str) -> View:
    """A few-shot example, in the form that a unit has."""
    excerpts = sorted((render.example(text) for text in one["excerpts"]), key=lambda s: -s.highest)
    return View(tuple(excerpts), tuple(render.example(text) for text in one["inactive"]), tuple(one["tokens"]),
                tuple(one["promoted"]), tuple(one["lowered"]), word)
