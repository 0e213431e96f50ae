"""One batch on its way through all layers: what every layer needs to know of it, computed once; and how a layer's numbers are walked through.

What a statistic costs on a CPU is its passes over memory. So a batch is walked through in small parts: the first operation fetches
one, reading rows in order, and all others find it in the cache, at a third of the time of whole-batch operations.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.memory import PART_BYTES
from autolabel.sampling.bags import BatchTokens
from autolabel.subjects.moving import moved

if TYPE_CHECKING:
    from autolabel.sampling.typesums import TypeTable

Ints = NDArray[np.int64]
POSITIONS = 8  # of a part


class Scratch:
    """One buffer for each thread, which all layers share, made anew only when a larger one is needed."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def like(self, x: Tensor) -> Tensor:
        """Uninitialised contiguous memory of x's shape, type and device."""
        n, buffer = x.numel(), getattr(self._of_thread, "buffer", None)
        if buffer is None or buffer.numel() < n or buffer.device != x.device:
            buffer = self._of_thread.buffer = torch.empty(n, dtype=x.dtype, device=x.device)
        out: Tensor = buffer[:n].view(x.shape)
        return out


class Work:
    """Windows of one length."""

    def __init__(self, ids: Ints, tokens: Ints, special: Ints, u: NDArray[np.float64] | None = None,
                 table: TypeTable | None = None) -> None:
        """ids [B] of the excerpts, tokens [B, T] content, special: ids that are no text, u [B] uniforms of the
        priority sample."""
        self.ids, self.tokens, self.table = ids, tokens, table
        self.valid = ~np.isin(tokens, special) if len(special) else np.ones(tokens.shape, np.bool_)
        self._u = u
        self._lists: BatchTokens | None = None
        self._device: torch.device | None = None

    def lists(self, device: torch.device) -> BatchTokens:
        """What its tokens are summed into."""
        if self._lists is None or self._lists.device != device:
            self._lists = BatchTokens(self.tokens, self.valid, device, self.table)
        return self._lists

    def on(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """ids [B] and u [B] (float32) on the device."""
        if self._device != device:
            self._device = device
            self._ids = moved(torch.from_numpy(self.ids), device)
            self._uniform = None if self._u is None else moved(torch.from_numpy(self._u.astype(np.float32)), device)
        return self._ids, self._uniform


@dataclass(frozen=True)
class Part:
    """Some windows of a batch, some positions."""

    windows: slice
    positions: slice
    x: Tensor  # [b, t, U]; a view
    special: Tensor | None  # [b, t] true at special ids inside the content; None where there are none

    def copy(self, out: Tensor) -> Tensor:
        """out [b, t, U]: x; 0 at special ids."""
        return self._emptied(out.copy_(self.x))

    def a(self, sign: int, out: Tensor) -> Tensor:
        """out [b, t, U]: max(sign * x, 0); 0 at special ids."""
        return self._emptied(torch.clamp_min(self.x, 0, out=out) if sign > 0 else torch.neg(self.x, out=out).clamp_min_(0))

    def raise_to(self, largest: Tensor, x: Tensor) -> None:
        """largest [B, U]: of each window, raised to that of x [b, t, U] where this is larger; special ids are passed over."""
        at = largest[self.windows]
        torch.maximum(at, (x if self.special is None else x.masked_fill(self.special[..., None], -torch.inf)).amax(1), out=at)

    def lower_to(self, smallest: Tensor, x: Tensor) -> None:
        """The same for the smallest."""
        at = smallest[self.windows]
        torch.minimum(at, (x if self.special is None else x.masked_fill(self.special[..., None], torch.inf)).amin(1), out=at)

    def _emptied(self, out: Tensor) -> Tensor:
        return out if self.special is None else out.masked_fill_(self.special[..., None], 0)


class Content:
    """x [B, T', U] of one layer and batch, left as it is, and its content x[:, span] [B, T, U]."""

    def __init__(self, x: Tensor, span: slice, work: Work) -> None:
        self.x, self.lists = x[:, span], work.lists(x.device)

    def parts(self) -> Iterator[Part]:
        """The content in parts (on an accelerator all at once). A part is about as many windows as positions: what is reduced over
        either is small then."""
        windows, length, units = self.x.shape
        few, some = windows, length
        if self.x.device.type == "cpu":
            some = min(length, POSITIONS)
            few = max(1, PART_BYTES // (some * units * 4))
        for w in range(0, windows, few):
            for t in range(0, length, some):
                rows, columns = slice(w, min(w + few, windows)), slice(t, min(t + some, length))
                special = self.lists.special
                yield Part(rows, columns, self.x[rows, columns], None if special is None else special[rows, columns])

    def per_window(self, value: float) -> Tensor:
        """[B, U] to begin with."""
        return self.x.new_full((len(self.x), self.x.shape[-1]), value)

    def tokens(self, sign: int, at: Tensor) -> Tensor:
        """[n, U] a of the tokens at [n], places in the content read as [B * T]; none of them special."""
        length = self.x.shape[1]
        y = self.x[at // length, at % length]
        return y.clamp_min_(0) if sign > 0 else y.neg_().clamp_min_(0)

    def rows(self, sign: int, b: Tensor, unit: Tensor) -> Tensor:
        """[C, T] a of window b[i] and unit[i]; 0 at special ids."""
        y = self.x[b, :, unit]
        y = y.clamp_min_(0) if sign > 0 else y.neg_().clamp_min_(0)
        if self.lists.special is not None:
            y[self.lists.special[b]] = 0
        return y
