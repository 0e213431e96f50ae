"""Which tokens of a batch are summed into what: counts, and on an accelerator lists of token numbers shared by all layers.

A batch's content [B, T, U] is read as [B * T, U]; special ids inside the content are in no list. A sum over a list is cut into bags, which
are summed in parallel, each in the order of its tokens: the same bits every time. The bags of frequent types are cut into pieces, whose
sums are summed again: the longest bag is what everything else would wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.subjects.moving import moved

if TYPE_CHECKING:
    from autolabel.sampling.typesums import TypeTable

Ints = NDArray[np.int64]
PIECE = 32  # tokens


@dataclass(frozen=True)
class Bags:
    """Lists of a batch on a device: tokens by type, in pieces; others by position."""

    tokens: Tensor  # [n] all that count: seldom types, then frequent ones, each type's one after another
    pieces: Tensor  # [P] where each piece begins in `tokens`; one of a seldom type is the whole of it
    seldom: Tensor  # [S] rows in the table of the types with one piece, P begins with these
    again: Tensor  # [P - S] numbers of the other pieces
    parts: Tensor  # [F] where those of each frequent type begin in `again`
    frequent: Tensor  # [F] rows in the table
    rest: Tensor  # [R] tokens whose type takes no part in the means by position, by position
    places: Tensor  # [T] where each position begins in `rest`
    alone: Tensor  # [A] tokens whose type is seen once in explain, or is outside the table (no variance within a type can be said)

    @classmethod
    def of(cls, row: Ints, valid: NDArray[np.bool_], table: TypeTable, device: torch.device) -> Bags:
        """row [B, T] of each token in the table. One transfer."""
        kind, at = row[valid], np.flatnonzero(valid)
        order = np.argsort(kind.astype(np.uint16) if len(table) < 1 << 16 else kind, kind="stable")  # of short integers: by radix
        kind, at = kind[order], at[order]
        first = np.flatnonzero(np.append(True, kind[1:] != kind[:-1])) if len(kind) else np.zeros(0, np.int64)
        count = np.diff(np.append(first, len(kind)))
        often = count > PIECE
        tokens = np.repeat(often, count)
        n_parts = -(-count[often] // PIECE)
        within = np.arange(n_parts.sum()) - np.repeat(_starts(n_parts), n_parts)
        pieces = int(count[~often].sum()) + np.repeat(_starts(count[often]), n_parts) + PIECE * within
        seldom = _starts(count[~often])
        by_position = np.flatnonzero((~table.eligible[row] & valid).T)  # position * B + window
        per_position = (~table.eligible[row] & valid).sum(0)
        rest = by_position % len(row) * row.shape[1] + by_position // len(row)
        alone = np.flatnonzero(~table.repeated[row] & valid)
        again = np.arange(len(seldom), len(seldom) + len(pieces))
        lists = [np.append(at[~tokens], at[tokens]), np.append(seldom, pieces), kind[first[~often]], again,
                 _starts(n_parts), kind[first[often]], rest, _starts(per_position), alone]
        return cls(*torch.split(moved(torch.from_numpy(np.concatenate(lists)), device), [len(one) for one in lists]))


@dataclass(frozen=True)
class BatchTokens:
    """The tokens of one batch of windows [B, T]."""

    tokens: Ints  # [B, T] content ids
    valid: NDArray[np.bool_]  # [B, T] false where a content id is a special id
    device: torch.device
    table: TypeTable | None = None  # token types, on explain

    @cached_property
    def n(self) -> int:
        """Tokens that count, in all."""
        return int(self.valid.sum())

    @cached_property
    def counts(self) -> Ints:
        """[T] tokens that count, at each position."""
        count: Ints = self.valid.sum(0)
        return count

    @cached_property
    def rest_counts(self) -> Ints:
        """[T] how many of them are of types that take no part in the means by position."""
        assert self.table is not None
        count: Ints = (~self.table.eligible[self._row] & self.valid).sum(0)
        return count

    @cached_property
    def special(self) -> Tensor | None:
        """[B, T] true at special ids inside the content; None where there are none: the rule."""
        return None if self.n == self.valid.size else moved(torch.from_numpy(~self.valid), self.device)

    @cached_property
    def kept(self) -> Tensor | None:
        """[n] numbers of the tokens that count; None where all do."""
        return None if self.n == self.valid.size else moved(torch.from_numpy(np.flatnonzero(self.valid)), self.device)

    @cached_property
    def bags(self) -> Bags:
        """What they are summed into."""
        assert self.table is not None
        return Bags.of(self._row, self.valid, self.table, self.device)

    @cached_property
    def _row(self) -> Ints:
        assert self.table is not None
        row: Ints = self.table.row(self.tokens)
        return row


def _starts(count: Ints) -> Ints:
    """[n] where each run of a list begins, from their lengths [n]."""
    starts: Ints = np.cumsum(count) - count
    return starts
