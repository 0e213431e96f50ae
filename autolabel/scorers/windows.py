"""What the activations of each window add up to, counted while they are rectified."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.scorers.kernels import window_sums
from autolabel.scorers.labels import Layer

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class WindowSums:
    """Of B windows and W units. Every array is [B, W]."""

    total: Floats  # sum of a
    square: Floats  # sum of a^2
    largest: Floats32  # max of a
    positives: Floats32  # tokens with a > tau99
    mass: Floats  # sum of a over tokens with a > tau; 0 where nobody asked


class Windows:
    """Counts them for one layer."""

    def __init__(self, layer: Layer, mass: bool) -> None:
        self.layer, self.mass = layer, mass
        self.tau, self.tau99 = layer.tau.astype(np.float32), layer.tau99.astype(np.float32)

    def read(self, x: torch.Tensor, span: slice, out: Floats32) -> WindowSums:
        """Of x [B, T', U], content at x[:, span]: `out` [B * T, W], W = U times sides, becomes a = max(side * x, 0)."""
        if x.device.type != "cpu":
            x, span = x[:, span].cpu(), slice(0, span.stop - span.start)
        windows, stride, width = x.shape
        rows, sums = x.float().contiguous().view(-1, width).numpy(), self._room(windows)
        for i, side in enumerate(self.layer.sides):
            self._add(rows, stride, span, np.float32(1 if side == "+" else -1), out, i * width, sums)
        return sums

    def sums(self, a: Floats32) -> WindowSums:
        """Of a [B, T, W]."""
        windows, length, width = a.shape
        sums = self._room(windows)
        self._add(a.reshape(-1, width), length, slice(0, length), np.float32(1), np.empty((windows * length, width), np.float32), 0, sums)
        return sums

    def _room(self, windows: int) -> WindowSums:
        shape = windows, self.layer.width
        return WindowSums(np.empty(shape), np.empty(shape), np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape))

    def _add(self, x: Floats32, stride: int, span: slice, sign: np.float32, out: Floats32, left: int, s: WindowSums) -> None:
        window_sums(x, stride, span.start, span.stop - span.start, sign, self.tau, self.tau99, self.mass, out, left, s.total, s.square, s.largest,
                    s.positives, s.mass)


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
