"""One batch on its way through all layers: what every layer needs to know of it, computed once; and a layer's numbers, as they stand in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling.bags import BatchTokens
from autolabel.subjects.moving import moved

if TYPE_CHECKING:
    from autolabel.sampling.typesums import TypeTable

Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
LOW = (1 << 29) - 1  # the bits of a float64 that are 0 where it was a float32


@dataclass(frozen=True)
class Reading:
    """The n tokens of a batch that count, window by window."""

    at: Ints  # [n] rows of x read as [B * T', U]
    window: Ints  # [n]


@dataclass(frozen=True)
class TypedReading:
    """The same, type by type."""

    at: Ints  # [n]
    kind: Ints  # [n] row of the table of types
    alone: Bools  # [n] the type says nothing about variance within a type


@dataclass(frozen=True)
class Numbers:
    """The ids of B windows on a device, and their order."""

    ids: Tensor  # [B] int64
    ascending: Tensor  # [B] the same, sorted
    rank: Tensor  # [B] place of each in `ascending`
    order: Tensor  # [B] the window of each place
    uniform: Tensor | None  # [B] float32, of the priority sample
    short_rank: Tensor  # [B, 1] rank, int32
    _low: dict[int, Tensor]

    @classmethod
    def of(cls, ids: Ints, u: NDArray[np.float64] | None, device: torch.device) -> Numbers:
        """One transfer."""
        order = np.argsort(ids)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        rows = [ids, ids[order], rank, order, *([] if u is None else [u.view(np.int64)])]
        there = moved(torch.from_numpy(np.stack(rows)), device)
        return cls(there[0], there[1], there[2], there[3], None if u is None else there[4].view(torch.float64).float(), there[2].int()[:, None], {})

    def low(self, k: int) -> Tensor:
        """[B, 1] the last 29 bits of a key of `DenseBest`: the smaller the id, the larger; room for k kept ones between any two."""
        if k not in self._low:
            self._low[k] = torch.rsub(self.rank, LOW - k, alpha=k + 1)[:, None]
        return self._low[k]


class Work:
    """Windows of one length."""

    def __init__(self, ids: Ints, tokens: Ints, special: Ints, u: NDArray[np.float64] | None = None,
                 table: TypeTable | None = None) -> None:
        """ids [B] of the excerpts, tokens [B, T] content, special: ids that are no text, u [B] uniforms of the
        priority sample."""
        self.ids, self.tokens, self.table = np.ascontiguousarray(ids, np.int64), tokens, table
        self.valid = ~np.isin(tokens, special) if len(special) else np.ones(tokens.shape, np.bool_)
        self.special = np.zeros((0, 0), np.bool_) if self.valid.all() else ~self.valid  # [B, T]; empty where there are none: the rule
        self._u = None if u is None else np.ascontiguousarray(u, np.float64)
        self._lists: BatchTokens | None = None
        self._numbers: Numbers | None = None
        self._read: dict[tuple[int, int], Reading] = {}
        self._typed: dict[tuple[int, int], TypedReading] = {}

    def read(self, start: int, whole: int) -> Reading:
        """Its tokens where the content begins at position `start` of `whole`."""
        if (start, whole) not in self._read:
            windows, positions = np.nonzero(self.valid)
            self._read[start, whole] = Reading(windows * whole + start + positions, windows)
        return self._read[start, whole]

    def read_types(self, start: int, whole: int) -> TypedReading:
        """The same, in the order of the table of types."""
        if (start, whole) not in self._typed:
            assert self.table is not None
            windows, positions = np.nonzero(self.valid)
            kind = self.table.row(self.tokens[windows, positions])
            order = np.argsort(kind, kind="stable")
            windows, positions, kind = windows[order], positions[order], kind[order]
            self._typed[start, whole] = TypedReading(windows * whole + start + positions, kind, ~self.table.repeated[kind])
        return self._typed[start, whole]

    @cached_property
    def slot(self) -> Ints:
        """[n] position of each token that counts, window by window; + T where its type takes no part in the means by position."""
        assert self.table is not None
        windows, positions = np.nonzero(self.valid)
        eligible = self.table.eligible[self.table.row(self.tokens[windows, positions])]
        slot: Ints = positions + np.where(eligible, 0, self.tokens.shape[1])
        return slot

    def lists(self, device: torch.device) -> BatchTokens:
        """How many its tokens are, and (on an accelerator) what they are summed into."""
        if self._lists is None or self._lists.device != device:
            self._lists = BatchTokens(self.tokens, self.valid, device, self.table)
        return self._lists

    def on(self, device: torch.device) -> Numbers:
        """Its ids on the device."""
        if self._numbers is None or self._numbers.ids.device != device:
            self._numbers = Numbers.of(self.ids, self._u, device)
        return self._numbers


class Content:
    """x [B, T', U] of one layer and batch, left as it is, and its content x[:, span] [B, T, U]."""

    def __init__(self, x: Tensor, span: slice, work: Work) -> None:
        self.work, self.x = work, x[:, span]
        self.units, self._start, self._whole = x.shape[2], span.indices(x.shape[1])[0], x.shape[1]
        self._all = x

    @property
    def on_cpu(self) -> bool:
        """Kernels can read it."""
        return self.x.device.type == "cpu"

    @property
    def flat(self) -> Floats32:
        """[B * T', U] all of x (on a CPU)."""
        out: Floats32 = self._all.contiguous().view(-1, self.units).numpy()
        return out

    def read(self) -> Reading:
        """Which rows of `flat` count."""
        return self.work.read(self._start, self._whole)

    def read_types(self) -> TypedReading:
        """The same, type by type."""
        return self.work.read_types(self._start, self._whole)

    def windows(self, sign: int) -> tuple[Floats32, Ints, int, int, Bools]:
        """What a kernel copies the tokens of a window from: x, the first row of each window, its length, the sign of a, special ids."""
        first = np.arange(len(self.x), dtype=np.int64) * self._whole + self._start
        return self.flat, first, self.x.shape[1], sign, self.work.special

    def per_window(self, value: float) -> Tensor:
        """[B, U] to begin with."""
        return self.x.new_full((len(self.x), self.units), value)

    def a(self, sign: int) -> Tensor:
        """[B, T, U] max(sign * x, 0); 0 at special ids."""
        a = self.x.clamp_min(0) if sign > 0 else self.x.neg().clamp_min_(0)
        special = self.work.lists(self.x.device).special
        return a if special is None else a.masked_fill_(special[..., None], 0)

    def rows(self, sign: int, b: Tensor, unit: Tensor) -> Tensor:
        """[C, T] a of window b[i] and unit[i]; 0 at special ids."""
        y = self.x[b, :, unit]
        y = y.clamp_min_(0) if sign > 0 else y.neg_().clamp_min_(0)
        special = self.work.lists(self.x.device).special
        if special is not None:
            y[special[b]] = 0
        return y
