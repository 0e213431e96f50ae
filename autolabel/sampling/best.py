"""The K best windows of each of N cells (a cell: a unit, or a stratum of a unit), with a row of T numbers each.

Best: the largest value, ties to the smaller excerpt id; so the result is a function of the set of windows alone, whatever their order
or the batch size. On a CPU a window that is better than the worst one kept takes its place at once; after n windows that is K/n of
the time. On an accelerator a test would wait for the device at every batch, and sorting is nearly free: there each batch is
merged densely (`DenseBest`), with the same result.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.sampling import kernels
from autolabel.sampling.kernels import NOBODY
from autolabel.sampling.work import Content

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
FLOOR = float(np.finfo(np.float32).tiny)  # an empty place has value 0; what is below this never enters


class Best:
    """Values are > 0. `width` 0: no rows are kept; rows shorter than `width` are filled up with nan."""

    def __init__(self, cells: int, k: int, width: int, device: torch.device) -> None:
        self.cells, self.k, self.width, self.device = cells, k, width, device
        self.value = torch.zeros(cells, k, device=device)  # 0 where empty
        self.id = torch.full((cells, k), NOBODY, dtype=torch.int64, device=device)
        self.rows = torch.zeros(cells, k, width, device=device)
        self.refresh()

    def refresh(self) -> None:
        """What follows from the values."""
        order = self._order()
        worst = order[:, -1]
        self.worst: Ints = np.ascontiguousarray(worst)
        self.bar: Floats = np.maximum(self.value.numpy()[np.arange(self.cells), worst], np.float32(FLOOR))

    def add(self, value: Tensor, content: Content, sign: int) -> None:
        """value [B, cells] of the windows of the content; a cell is a unit."""
        kernels.keep(value.numpy(), content.work.ids, *content.windows(sign), *self.places())

    def places(self) -> tuple[Floats, Ints, Floats, Floats, Ints]:
        """What a kernel writes into."""
        return self.value.numpy(), self.id.numpy(), self.rows.numpy(), self.bar, self.worst

    def largest(self) -> Floats:
        """[cells] the largest value, 0 where there is none."""
        best: Floats = self.value.amax(1).cpu().numpy()
        return best

    def result(self) -> tuple[Floats, Ints, Floats]:
        """value [cells, K] (0 where there is none), id [cells, K], rows [cells, K, T]; best first."""
        order, cell = self._order(), np.arange(self.cells)[:, None]
        return self.value.numpy()[cell, order], self.id.numpy()[cell, order], self.rows.numpy()[cell, order]

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was kept, in order."""
        value, ids, rows = self.result()
        return {"value": value, "id": ids, "rows": rows}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        for kept, name in ((self.value, "value"), (self.id, "id"), (self.rows, "rows")):
            kept.copy_(torch.from_numpy(state[name]))
        self.refresh()

    def _order(self) -> Ints:
        return np.lexsort((self.id.numpy(), -self.value.numpy()), axis=1)


class DenseBest(Best):
    """The same on an accelerator: nothing waits for it."""

    def refresh(self) -> None:
        """Nothing: values are always in order."""

    def add(self, value: Tensor, content: Content, sign: int) -> None:
        """value [B, cells]; unit = cell modulo the units of the content."""
        batch, k, numbers = len(value), self.k, content.work.on(self.device)[0]
        value = torch.where(value >= FLOOR, value, 0.0)
        every = torch.cat([self.value, value.T], 1)  # [cells, K + B]
        all_id = torch.cat([self.id, torch.where(value.T > 0, numbers[None, :], NOBODY)], 1)
        by_id = torch.sort(all_id, dim=1, stable=True).indices
        by_value = torch.sort(every.gather(1, by_id), dim=1, descending=True, stable=True).indices
        chosen = by_id.gather(1, by_value)[:, :k]
        if self.width:
            new, cell = chosen >= k, torch.arange(self.cells, device=self.device)[:, None].expand(-1, k)
            got = content.rows(sign, (chosen - k).clamp(0, batch - 1).reshape(-1), cell.reshape(-1) % content.units).reshape(self.cells, k, -1)
            got = torch.nn.functional.pad(got, (0, self.width - got.shape[2]), value=torch.nan)
            old = self.rows.gather(1, chosen.clamp(max=k - 1)[:, :, None].expand(-1, -1, self.width))
            self.rows = torch.where(new[:, :, None], got.float(), old)
        self.value, self.id = every.gather(1, chosen), all_id.gather(1, chosen)

    def result(self) -> tuple[Floats, Ints, Floats]:
        """As `Best.result`."""
        value, ids, rows = (part.cpu().numpy() for part in (self.value, self.id, self.rows))
        return value, ids, rows


def best_for(device: torch.device) -> type[Best]:
    """The one that is fast there."""
    return Best if device.type == "cpu" else DenseBest
