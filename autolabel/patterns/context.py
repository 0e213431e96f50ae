"""Which tokens have a held atom within so many words of them.

An atom at slot s (words.py) reaches, forwards, the tokens whose first slot lies in (s, s + 2k] and, backwards, those whose
last slot lies in [s - 2k, s): k words. A gap reaches one slot less, because the word beside it is the first one counted.
Slots ascend, so the stretches of tokens that they reach ascend too, and their union costs no sort.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autolabel.patterns import kernels
from autolabel.patterns.atoms import Held
from autolabel.patterns.syntax import Reach
from autolabel.patterns.words import Ints, WordTable, distinct

MAX_KEPT = 8_000_000  # tokens remembered, in all: contexts that many patterns share are asked for again and again
Direction = Literal["before", "after", "near"]


class Contexts:
    """Answers, for one table, `which tokens have this before, after, near them`."""

    def __init__(self, table: WordTable) -> None:
        self.table = table
        self._stretches: dict[tuple[str, Reach], tuple[Ints, Ints]] = {}
        self._found: dict[tuple[int, str, Reach], Ints] = {}
        self._room = MAX_KEPT

    def tokens(self, held: Held, direction: Direction, within: Reach) -> Ints:
        """Tokens, ascending, that have `held` in the `within` words before (after, on either side of) them."""
        key = (id(held), direction, within)  # the evaluator keeps `held` alive as long as this object is used
        found = self._found.get(key)
        if found is None:
            if direction == "near":
                both = self.tokens(held, "before", within), self.tokens(held, "after", within)
                found = distinct(np.concatenate(both))
            else:
                found = self._reach(held.slots, direction, within)
            if self._room >= len(found):
                self._found[key] = found
                self._room -= len(found)
        return found

    def _reach(self, slots: Ints, direction: Direction, within: Reach) -> Ints:
        first, last = self.stretch(direction, within)
        order = self._order[direction]
        found = kernels.reached(slots, first, last)
        return found if order is None else np.sort(order[found])

    @cached_property
    def _order(self) -> dict[str, Ints | None]:
        # tokenizers give tokens in the order of the text; where one does not, its tokens are walked in that order here
        keys = {"before": self.table.slot_low, "after": self.table.slot_high}
        return {name: np.argsort(key, kind="stable") if np.any(np.diff(key) < 0) else None for name, key in keys.items()}

    @cached_property
    def _excerpt_ends(self) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """[slots] first and last slot of each slot's excerpt, and whether it is a gap."""
        table = self.table
        n = 2 * np.diff(table.word_offset) + 1
        low = np.concatenate([[0], np.cumsum(n)])[:-1].astype(np.int64)
        slot = np.arange(table.n_slots, dtype=np.int64)
        return np.repeat(low, n), np.repeat(low + n - 1, n), (slot - np.repeat(low, n)) % 2 == 0

    def order(self) -> Ints:
        """[2, T] tokens in the order of their first slots, and of their last: what `stretch` counts before and after."""
        plain = np.arange(len(self.table.cell), dtype=np.int64)
        return np.stack([plain if (order := self._order[name]) is None else order for name in ("before", "after")])

    def stretch(self, direction: Direction, within: Reach) -> tuple[Ints, Ints]:
        """[slots] which tokens, of those in order, an atom at the slot reaches: from, to."""
        known = self._stretches.get((direction, within))
        if known is not None:
            return known
        low, high, gap = self._excerpt_ends
        slot, order = np.arange(self.table.n_slots, dtype=np.int64), self._order[direction]
        reach = None if within == "excerpt" else 2 * int(within) - gap
        key = self.table.slot_low if direction == "before" else self.table.slot_high
        key = key if order is None else key[order]
        if direction == "before":
            end = high if reach is None else np.minimum(slot + reach, high)
            out = np.searchsorted(key, slot, side="right"), np.searchsorted(key, end, side="right")
        else:
            start = low if reach is None else np.maximum(slot - reach, low)
            out = np.searchsorted(key, start, side="left"), np.searchsorted(key, slot, side="left")
        self._stretches[direction, within] = out
        return out
