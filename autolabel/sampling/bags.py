"""Which tokens of a batch are summed into what, as index lists shared by all layers.

A batch's content [B, T, U] is read as [B * T, U]. Tokens that are special ids inside the content are in no list, or have a = 0.
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


@dataclass(frozen=True)
class Tokens:
    """Tokens [n] of a batch by their place in the content read as [B * T]."""

    at: Tensor  # [n]
    position: Tensor  # [n] in the window

    @classmethod
    def of(cls, which: NDArray[np.bool_], device: torch.device) -> Tokens:
        """Those for which which [B, T] holds."""
        at = np.flatnonzero(which)
        return cls(moved(torch.from_numpy(at), device), moved(torch.from_numpy(at % which.shape[1]), device))


@dataclass(frozen=True)
class BatchTokens:
    """All lists of one batch of windows [B, T]."""

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
    def _row(self) -> Ints:
        assert self.table is not None
        row: Ints = self.table.row(self.tokens)
        return row

    @cached_property
    def type_row(self) -> Tensor:
        """[B, T] the row of each token's type in the table; what is outside the table has its last row."""
        return moved(torch.from_numpy(self._row), self.device)

    @cached_property
    def rest(self) -> Tokens:
        """Tokens whose type does not take part in the means by position."""
        assert self.table is not None
        return Tokens.of(~self.table.eligible[self._row] & self.valid, self.device)

    @cached_property
    def alone(self) -> Tokens:
        """Tokens whose type is seen once in explain, or is outside the table (no variance within a type can be said)."""
        assert self.table is not None
        return Tokens.of(~self.table.repeated[self._row] & self.valid, self.device)
