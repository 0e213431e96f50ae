"""What the first batches of a pass have shown, kept so that it can be counted once something is known of all of them, instead of computed again.

It stands in the rows of the tables by token type that no type of this corpus needs: hundreds of megabytes for a small model, which are there anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from autolabel.types import Site


class Replay:
    """The first batches, as many as there is room for; the others are to be computed twice."""

    def __init__(self, rooms: Mapping[Site, Tensor], shapes: Sequence[tuple[int, int]]) -> None:
        """rooms: [R, U] of each site, whatever it holds. shapes: of each batch, windows and content tokens of a window."""
        self._rooms, self._shapes = rooms, shapes
        self._around: dict[Site, int] = {}  # special tokens of each window
        self._kept: dict[Site, dict[int, tuple[Tensor, slice]]] = {site: {} for site in rooms}

    @property
    def n(self) -> int:
        """Batches that were kept at every site: those of a number below."""
        n = 0
        while all(n in kept for kept in self._kept.values()):
            n += 1
        return n

    def keep(self, number: int, site: Site, x: Tensor, span: slice) -> None:
        """x [B, T', U] of batch `number`, content at x[:, span]; whole, so that a second look gives the same bits. Several threads may keep."""
        room, around = self._rooms[site], x.shape[1] - self._shapes[number][1]
        first = sum(windows * (length + around) for windows, length in self._shapes[:number])
        last = first + x.shape[0] * x.shape[1]
        if self._around.setdefault(site, around) == around and last <= len(room):
            self._kept[site][number] = room[first:last].view(x.shape).copy_(x), span

    def show(self, site: Site, visit: Callable[[int, Tensor, slice], None]) -> None:
        """One layer of every batch that was kept, in order: visit(number, x, span)."""
        with torch.inference_mode():
            for number in range(self.n):
                visit(number, *self._kept[site][number])
