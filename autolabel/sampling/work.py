"""One batch on its way through all layers: what every layer needs to know of it, computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling.bags import BatchBags

if TYPE_CHECKING:
    from autolabel.sampling.typesums import TypeTable

Ints = NDArray[np.int64]


class Scratch:
    """One buffer for all layers, made anew only when a larger one is needed."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None

    def like(self, x: Tensor) -> Tensor:
        """Uninitialised memory of x's shape, type and device."""
        n = x.numel()
        if self._buffer is None or self._buffer.numel() < n or self._buffer.device != x.device:
            self._buffer = torch.empty(n, dtype=x.dtype, device=x.device)
        return self._buffer[:n].view(x.shape)


class Work:
    """Windows of one length."""

    def __init__(self, ids: Ints, tokens: Ints, special: Ints, u: NDArray[np.float64] | None = None,
                 table: TypeTable | None = None) -> None:
        """ids [B] of the excerpts, tokens [B, T] content, special: ids that are no text, u [B] uniforms of the
        priority sample."""
        self.ids, self.tokens, self.table = ids, tokens, table
        self.valid = ~np.isin(tokens, special) if len(special) else np.ones(tokens.shape, np.bool_)
        self._u = u
        self._bags: dict[tuple[int, int], BatchBags] = {}
        self._device: torch.device | None = None

    def bags(self, x: Tensor, span: slice) -> BatchBags:
        """The bags for tensors shaped like x [B, T', U] with content at x[:, span]."""
        key = x.shape[1], span.start or 0
        if key not in self._bags:
            self._bags[key] = BatchBags(self.tokens, self.valid, *key, x.device, self.table)
        return self._bags[key]

    def on(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """ids [B] and u [B] (float32) on the device."""
        if self._device != device:
            self._device = device
            self._ids = torch.from_numpy(self.ids).to(device)
            self._uniform = None if self._u is None else torch.from_numpy(self._u.astype(np.float32)).to(device)
        return self._ids, self._uniform


class Sides:
    """x of one layer and batch, with what special ids inside the content need: nothing where there are none."""

    def __init__(self, x: Tensor, span: slice, bags: BatchBags) -> None:
        self.x, self.span, self.bags = x, span, bags

    def _filled(self, sign: int) -> Tensor:
        """Content [B, T, U], special ids below everything on this side."""
        if self.bags.all_valid:
            return self.x[:, self.span]
        x = self.x.clone()
        x.view(-1, x.shape[-1])[self.bags.invalid_rows] = -torch.inf * sign
        return x[:, self.span]

    def peak(self, sign: int) -> Tensor:
        """[B, U] largest sign * x of each window."""
        y = self._filled(sign)
        return y.amax(1) if sign > 0 else -y.amin(1)

    def a(self, sign: int, out: Tensor) -> Tensor:
        """max(sign * x, 0), [B * T', U], written to `out`."""
        flat = self.x.view(-1, self.x.shape[-1])
        if sign > 0:
            return torch.clamp_min(flat, 0, out=out)
        return torch.neg(flat, out=out).clamp_min_(0)

    def rows(self, sign: int, b: Tensor, unit: Tensor) -> Tensor:
        """[C, T] a of window b[i] and unit[i]; 0 at special ids."""
        y = self.x[b, self.span, unit]
        y = y.clamp_min_(0) if sign > 0 else y.neg_().clamp_min_(0)
        if not self.bags.all_valid:
            y[~torch.from_numpy(self.bags.valid).to(y.device)[b]] = 0
        return y
