"""Sums by token type and by position: what a neuron does for a token whatever its context.

Lexicality eta2 = 1 - MS_within / Var(a), MS_within over types seen at least twice: the unbiased share of a unit's variance
that the token type alone carries. MS_within needs sum_r sum (a - m_r)^2 = sum (a - p)^2 - sum_r n_r (m_r - p)^2 for any pivot p,
so one sum of squares over the repeated types does the work of a whole table of squares by type: half the memory, half the time.
The positional share is the same figure for the position in the window, of all tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling import kernels
from autolabel.sampling.bags import BatchTokens
from autolabel.sampling.work import Content

Ints = NDArray[np.int64]
BUDGET = 1 << 30  # bytes of all tables together
POSITION_MIN = 5  # a type counts towards the effect of position from this many occurrences
BLOCK = 1024  # rows of a table that are copied at a time
TOP_MIN = 3  # a type can be a top token from this many occurrences


@dataclass(frozen=True)
class TypeTable:
    """Which token types have a row: the most frequent of explain, ties to the smaller id. The row after the last is for all others."""

    types: Ints  # [R] token ids, ascending
    count: Ints  # [R] occurrences in explain
    reserve: int = 0  # rows that are allocated beforehand, so that memory does not depend on the corpus

    @classmethod
    def choose(cls, types: Ints, count: Ints, vocabulary: int, bytes_per_row: int, budget: int = BUDGET) -> TypeTable:
        """The most frequent types that fit the budget; `types` [n] ids that occur, `count` [n] how often, of `vocabulary` ids."""
        room = max(1, min(budget // max(bytes_per_row, 1) - 1, max(vocabulary, len(types))))
        best = np.lexsort((types, -count))[:room]
        keep = best[count[best] > 0]
        order = np.argsort(types[keep])
        return cls(types[keep][order].astype(np.int64), count[keep][order].astype(np.int64), room)

    def __len__(self) -> int:
        return len(self.types)

    @cached_property
    def _lookup(self) -> Ints:
        table = np.full(int(self.types.max(initial=-1)) + 2, len(self), np.int64)
        table[self.types] = np.arange(len(self))
        return table

    def row(self, tokens: Ints) -> Ints:
        """The row of each token id, in any shape."""
        return self._lookup[np.minimum(tokens, len(self._lookup) - 1)]

    @cached_property
    def eligible(self) -> NDArray[np.bool_]:
        """[R + 1] types that take part in the means by position."""
        return np.append(self.count >= POSITION_MIN, False)

    @cached_property
    def repeated(self) -> NDArray[np.bool_]:
        """[R + 1] types that say something about variance within a type."""
        return np.append(self.count >= 2, False)


@dataclass(frozen=True)
class TypeStatistics:
    """What is stored of the sums of one side."""

    types: Ints  # [R] token ids, ascending
    n: Ints  # [R] occurrences
    mean: NDArray[np.float16]  # [R, U] of a
    position_n: Ints  # [T] tokens of eligible types
    position_mean: NDArray[np.float32]  # [T, U]; 0 with a count of 0 where there is none
    top: Ints  # [U, 8] token ids with the largest mean a, -1 where fewer are seen often enough or have a mean above 0
    lexicality: NDArray[np.float64]  # [U] eta2; nan where no type is repeated or a does not vary
    positional: NDArray[np.float64]  # [U] share of the variance that the position alone carries; nan likewise


class TypeSums:
    """Sums of a by type and position for U units. Everything is allocated when it is made."""

    def __init__(self, table: TypeTable, units: int, context: int, device: torch.device) -> None:
        self.table = table
        # empty and zeroed, not zeros: the pages are taken now, and a longer corpus with more types takes no more
        self.sum = torch.empty(max(len(table), table.reserve) + 1, units, device=device).zero_()
        self.position = torch.zeros(context, units, dtype=torch.float64, device=device)
        self.position_n = np.zeros(context, np.int64)
        self.rest = torch.zeros(context, units, dtype=torch.float64, device=device)  # by position, of the types that are not eligible
        self.rest_n = np.zeros(context, np.int64)
        self.alone_square = torch.zeros(units, dtype=torch.float64, device=device)  # sum of (a - pivot)^2 outside the repeated types

    @property
    def spare(self) -> Tensor:
        """[R, U] the rows that no type needs."""
        return self.sum[len(self.table) + 1:]

    def add(self, content: Content, a: Tensor, pivot: Tensor, mean: Tensor | None) -> None:
        """a [B, T, U] >= 0 of one batch, contiguous, 0 at special ids; its mean over windows [T, U] where it is known.

        On an accelerator; on a CPU `kernels.add_types` adds.
        """
        lists, length, flat = content.work.lists(a.device), a.shape[1], a.view(-1, a.shape[-1])
        bags = lists.bags
        parts = _sums(flat, bags.tokens, bags.pieces)
        self.sum.index_add_(0, bags.seldom, parts[:len(bags.seldom)])  # every row once: no order to depend on
        if len(bags.frequent):
            self.sum.index_add_(0, bags.frequent, _sums(parts, bags.again, bags.parts))
        position = self.position[:length]
        if mean is None:
            position.add_(a.sum(0))
        else:
            position.add_(mean, alpha=len(a))
        if len(bags.rest):
            rest = _sums(flat, bags.rest, bags.places)
            position.sub_(rest)
            self.rest[:length].add_(rest)
        if len(bags.alone):
            norm = torch.linalg.vector_norm(flat.index_select(0, bags.alone).sub_(pivot), dim=0, dtype=torch.float64)
            self.alone_square.addcmul_(norm, norm)
        self.count(lists)

    def count(self, lists: BatchTokens) -> None:
        """The tokens of a batch by position."""
        length = len(lists.counts)
        self.position_n[:length] += lists.counts - lists.rest_counts
        self.rest_n[:length] += lists.rest_counts

    def close(self, pivot: NDArray[np.float64], square: NDArray[np.float64], variance: NDArray[np.float64]) -> TypeStatistics:
        """What is stored of the sums, which are let go: most of the memory of a pass. pivot [U], square [U] of a - pivot and variance [U] over all tokens."""
        by_position = (self.position.cpu().numpy() / np.maximum(self.position_n, 1)[:, None]).astype(np.float32)
        found = TypeStatistics(self.table.types, self.table.count, self.means(), self.position_n, by_position, self.top(),
                               self.lexicality(pivot, square, variance), self.positional(pivot, square, variance))
        self.sum = self.sum.new_empty(0, self.sum.shape[1])
        return found

    def means(self) -> NDArray[np.float16]:
        """[R, U] mean of a by type."""
        half = np.empty((len(self.table), self.sum.shape[1]), np.float16)
        for first in range(0, len(half), BLOCK):
            part = slice(first, first + BLOCK)
            kernels.halves(self._rows(part), self.table.count[part], half[part].view(np.uint16))
        return half

    def lexicality(self, pivot: NDArray[np.float64], square: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
        """[U] eta2; nan where no type is repeated or a does not vary. square: sum of (a - pivot)^2 over all tokens."""
        repeated = self.table.repeated[:-1]
        freedom = int(self.table.count[repeated].sum() - repeated.sum())
        eta = np.full(len(pivot), np.nan)
        if freedom < 1:
            return eta
        between = np.zeros(len(pivot))
        for first in range(0, len(self.table), BLOCK):
            part = slice(first, first + BLOCK)
            kernels.between(self._rows(part), self.table.count[part], pivot, between)
        within = np.maximum(square - self.alone_square.cpu().numpy() - between, 0.0) / freedom
        varies = variance > 0
        eta[varies] = 1 - within[varies] / variance[varies]
        return eta

    def positional(self, pivot: NDArray[np.float64], square: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
        """[U] share of the variance of a that the position alone carries, 1 - MS_within / Var(a); nan as for `lexicality`."""
        n = (self.position_n + self.rest_n).astype(np.float64)
        there, share = n > 0, np.full(len(pivot), np.nan)
        freedom = n.sum() - there.sum()
        if freedom < 1:
            return share
        mean = (self.position + self.rest).cpu().numpy()[there] / n[there, None]
        within = np.maximum(square - (n[there, None] * (mean - pivot) ** 2).sum(0), 0.0) / freedom
        varies = variance > 0
        share[varies] = 1 - within[varies] / variance[varies]
        return share

    def top(self, n: int = 8) -> Ints:
        """[U, n] token ids with the largest mean a, of equal ones the smaller first; -1 where fewer are seen often enough or have a mean above 0."""
        units = self.sum.shape[1]
        value, found = np.zeros((n, units), np.float32), np.full((n, units), -1, np.int64)
        for first in range(0, len(self.table), BLOCK):
            part = slice(first, first + BLOCK)
            kernels.strongest(self._rows(part), self.table.types[part], self.table.count[part], TOP_MIN, value, found)
        return np.ascontiguousarray(found.T)

    def _rows(self, part: slice) -> NDArray[np.float32]:
        """Some of the table, not the row for all others: no second table is ever in memory."""
        rows: NDArray[np.float32] = self.sum[:len(self.table)][part].cpu().numpy()
        return rows

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was counted."""
        return {"sum": self.sum[:len(self.table) + 1].cpu().numpy(), "position": self.position.cpu().numpy(), "position_n": self.position_n,
                "rest": self.rest.cpu().numpy(), "rest_n": self.rest_n, "alone_square": self.alone_square.cpu().numpy()}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        self.sum[:len(self.table) + 1].copy_(torch.from_numpy(state["sum"]))
        self.position.copy_(torch.from_numpy(state["position"]))
        self.position_n[:] = state["position_n"]
        self.rest.copy_(torch.from_numpy(state["rest"]))
        self.rest_n[:] = state["rest_n"]
        self.alone_square.copy_(torch.from_numpy(state["alone_square"]))


def _sums(rows: Tensor, which: Tensor, first: Tensor) -> Tensor:
    """[G, U] of rows [n, U]: the sum over which[first[g]:first[g + 1]], one after another."""
    total: Tensor = torch.embedding_bag(rows, which, first)[0]
    return total
