"""One layer of one batch, as a part of the walk sees it: what the model gave, read where it lies; the dense activations where a part needs them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Batch
from autolabel.scorers.kernels import rectify
from autolabel.scorers.labels import Layer

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]


class Room:
    """Memory for activations, one piece for each thread, used again and again."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def rows(self, n: int, width: int) -> Floats32:
        """[n, width], whatever it holds; what was lent to this thread before is no longer its own."""
        buffer: Floats32 | None = getattr(self._of_thread, "buffer", None)
        if buffer is None or buffer.size < n * width:
            buffer = self._of_thread.buffer = np.empty(n * width, np.float32)
        return buffer[:n * width].reshape(n, width)


@dataclass(frozen=True)
class Block:
    """One layer's activations on one batch of B windows of T tokens: of token i, a = max(signs[k] * x[rows[i]], 0) on the k-th side. Good for one visit."""

    layer: int  # number of the layer in the walk
    batch: Batch
    block: Ints  # [B] document (block) of each window
    x: Floats32  # [R, U] contiguous, on the CPU; a part must leave it unchanged
    rows: Ints  # [B * T] row of each token
    signs: Floats32  # [sides]
    room: Room

    @classmethod
    def of(cls, number: int, layer: Layer, batch: Batch, block: Ints, x: torch.Tensor, span: slice, room: Room) -> Block:
        """From what a subject shows: x [B, T', U], content at x[:, span]."""
        if x.device.type != "cpu":
            x, span = x[:, span].cpu(), slice(0, span.stop - span.start)
        signs = np.array([1 if side == "+" else -1 for side in layer.sides], np.float32)
        return cls(number, batch, block, x.float().contiguous().view(-1, x.shape[2]).numpy(), _rows(len(x), x.shape[1], span.start, span.stop), signs, room)

    @property
    def length(self) -> int:
        """T."""
        return int(self.batch.tokens.shape[1])

    @property
    def width(self) -> int:
        """W."""
        return len(self.signs) * int(self.x.shape[1])

    @cached_property
    def flat(self) -> Floats32:
        """[B * T, W] the activations, a row per token; to be left unchanged."""
        out = self.room.rows(len(self.rows), self.width)
        rectify(self.x, self.rows, self.signs, out)
        return out

    @property
    def a(self) -> Floats32:
        """[B, T, W] the same."""
        return self.flat.reshape(*self.batch.tokens.shape, -1)


@lru_cache(maxsize=8)
def _rows(windows: int, whole: int, start: int, stop: int) -> Ints:
    """Rows of x read as [windows * whole, U] that are content, start .. stop - 1 of each window: the same for all layers of a batch."""
    return (np.arange(windows, dtype=np.int64)[:, None] * whole + np.arange(start, stop)).reshape(-1)
