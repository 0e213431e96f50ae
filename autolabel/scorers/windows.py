"""What the activations of each window add up to: counted while they are fetched, a few windows at a time, so that they stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.memory import PART_BYTES
from autolabel.scorers.labels import Layer

if TYPE_CHECKING:
    import torch

Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class WindowSums:
    """Of B windows and W units. Every array is [B, W] float32."""

    total: Floats32  # sum of a
    square: Floats32  # sum of a^2
    largest: Floats32  # max of a
    positives: Floats32  # tokens with a > tau99
    mass: Floats32 | None  # sum of a over tokens with a > tau; None where nobody asked


class Windows:
    """Counts them for one layer."""

    def __init__(self, layer: Layer, mass: bool) -> None:
        import torch

        self.mass = mass
        self.tau, self.tau99 = (torch.from_numpy(x.astype(np.float32)) for x in (layer.tau, layer.tau99))
        self._scratch = torch.empty(0)

    def sums(self, a: torch.Tensor, fill: Callable[[slice, torch.Tensor], object] | None = None) -> WindowSums:
        """Of a [B, T, W]. `fill(windows, a[windows])`: writes these windows first."""
        import torch

        windows, length, width = a.shape
        step = max(1, PART_BYTES // max(1, length * width * 4))
        if self._scratch.numel() < step * length * width:
            self._scratch = torch.empty(step * length * width)
        total, square, largest, positives, mass = (torch.empty(windows, width) for _ in range(5))
        for first in range(0, windows, step):
            rows = slice(first, min(first + step, windows))
            here = a[rows]
            if fill is not None:
                fill(rows, here)
            z = self._scratch[:here.numel()].view(here.shape)
            torch.sum(here, 1, out=total[rows])
            torch.amax(here, 1, out=largest[rows])
            torch.sum(torch.mul(here, here, out=z), 1, out=square[rows])
            torch.sum(torch.gt(here, self.tau99, out=z), 1, out=positives[rows])
            if self.mass:
                torch.sum(torch.gt(here, self.tau, out=z).mul_(here), 1, out=mass[rows])
        return WindowSums(total.numpy(), square.numpy(), largest.numpy(), positives.numpy(), mass.numpy() if self.mass else None)
