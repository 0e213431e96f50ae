"""The K best windows of each of N cells (a cell: a unit, or a stratum of a unit), with a row of T numbers each.

Best: the largest value, ties to the smaller excerpt id; so the result is a function of the set of windows alone, whatever their order, the
batch size, or when lists were merged. A window is looked at again only where its value reaches the cell's K-th best so far,
which after n windows is K/n of the time; what passes waits in a pool, and pools are merged a number of times that grows with
the logarithm of the corpus. On an accelerator a threshold test would wait for the device at every batch, and sorting is
nearly free: there each batch is merged densely instead (`_dense`), with the same result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
FLOOR = float(np.finfo(np.float32).tiny)  # an empty place has value 0; what is below this never enters
NOBODY = np.iinfo(np.int64).max
Rows = Callable[[Tensor, Tensor], Tensor]  # (window [C], cell [C]) -> [C, T]


class Best:
    """Values are > 0. `width` 0: no rows are kept; rows shorter than `width` are filled up with nan."""

    def __init__(self, cells: int, k: int, width: int, device: torch.device, pool: int | None = None) -> None:
        self.cells, self.k, self.width, self.device = cells, k, width, device
        self.value = torch.zeros(cells, k, device=device)  # largest first; 0 where empty
        self.id = torch.full((cells, k), NOBODY, dtype=torch.int64, device=device)
        self.rows = torch.zeros(cells, k, width, device=device)
        self.bar = torch.full((cells,), FLOOR, device=device)  # what a value must reach
        self._slot = np.tile(np.arange(k), (cells, 1))  # which row of `rows` holds each (CPU only)
        self._limit = pool or max(4096, cells * k // 2)
        self._pool: list[tuple[Ints, Floats, Ints, Floats]] = []
        self._waiting = 0

    @property
    def lazy(self) -> bool:
        """Candidates are found by a test and wait in a pool (CPU)."""
        return self.device.type == "cpu"

    def add(self, value: Tensor, ids: Tensor, rows: Rows) -> None:
        """value [B, cells] of windows with ids [B]."""
        if not self.lazy:
            self._dense(value, ids, rows)
            return
        b, cell = (value >= self.bar).nonzero(as_tuple=True)
        if len(b):
            self.offer(b, cell, value[b, cell], ids, rows)

    def offer(self, b: Tensor, cell: Tensor, value: Tensor, ids: Tensor, rows: Rows) -> None:
        """Candidates: window b[i] with value[i] for cell[i] (CPU)."""
        got = rows(b, cell).numpy() if self.width else np.zeros((len(b), 0), np.float32)
        if got.shape[1] < self.width:
            got = np.pad(got, ((0, 0), (0, self.width - got.shape[1])), constant_values=np.nan)
        self._pool.append((cell.numpy(), value.numpy(), ids[b].numpy(), got))
        self._waiting += len(b)
        if self._waiting >= self._limit:
            self.merge()

    def merge(self) -> None:
        """Empty the pool into the lists."""
        if not self._pool:
            return
        cell, value, ids, rows = (np.concatenate(part) for part in zip(*self._pool, strict=True))
        self._pool, self._waiting, k = [], 0, self.k
        touched, place = np.unique(cell, return_inverse=True)
        m = len(touched)
        old_value, old_id, old_slot = self.value.numpy()[touched], self.id.numpy()[touched], self._slot[touched]
        all_cell = np.concatenate([np.repeat(np.arange(m), k), place])
        all_value = np.concatenate([old_value.ravel(), value])
        all_id = np.concatenate([old_id.ravel(), ids])
        order = _order(all_cell, all_value, all_id)
        counts = np.bincount(all_cell, minlength=m)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = order[rank < k].reshape(m, k)
        new = chosen >= m * k
        kept = np.zeros(m * k, np.bool_)
        kept[chosen[~new]] = True
        slot = np.empty((m, k), np.int64)
        slot[~new] = old_slot.ravel()[chosen[~new]]
        slot[new] = old_slot[~kept.reshape(m, k)]  # in each cell as many places fall free as are needed, and both run by cell
        self.rows.numpy()[np.repeat(touched, new.sum(1)), slot[new]] = rows[chosen[new] - m * k]
        self._slot[touched] = slot
        self.value.numpy()[touched], self.id.numpy()[touched] = all_value[chosen], all_id[chosen]
        self.bar.numpy()[touched] = np.maximum(all_value[chosen[:, -1]], FLOOR)

    def _dense(self, value: Tensor, ids: Tensor, rows: Rows) -> None:
        batch, k = len(value), self.k
        value = torch.where(value >= FLOOR, value, 0.0)
        every = torch.cat([self.value, value.T], 1)  # [cells, K + B]
        all_id = torch.cat([self.id, torch.where(value.T > 0, ids[None, :], NOBODY)], 1)
        by_id = torch.sort(all_id, dim=1, stable=True).indices
        by_value = torch.sort(every.gather(1, by_id), dim=1, descending=True, stable=True).indices
        chosen = by_id.gather(1, by_value)[:, :k]
        if self.width:
            new, cell = chosen >= k, torch.arange(self.cells, device=self.device)[:, None].expand(-1, k)
            got = rows((chosen - k).clamp(0, batch - 1).reshape(-1), cell.reshape(-1)).reshape(self.cells, k, -1)
            got = torch.nn.functional.pad(got, (0, self.width - got.shape[2]), value=torch.nan)
            old = self.rows.gather(1, chosen.clamp(max=k - 1)[:, :, None].expand(-1, -1, self.width))
            self.rows = torch.where(new[:, :, None], got.float(), old)
        self.value, self.id = every.gather(1, chosen), all_id.gather(1, chosen)
        self.bar = self.value[:, -1].clamp(min=FLOOR)

    def result(self) -> tuple[Floats, Ints, Floats]:
        """value [cells, K] (0 where there is none), id [cells, K], rows [cells, K, T]; best first."""
        if not self.lazy:
            return self.value.cpu().numpy(), self.id.cpu().numpy(), self.rows.cpu().numpy()
        self.merge()
        rows = np.take_along_axis(self.rows.numpy(), self._slot[:, :, None], 1) if self.width else self.rows.numpy()
        return self.value.numpy(), self.id.numpy(), rows

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was kept, in order."""
        value, ids, rows = self.result()
        return {"value": value, "id": ids, "rows": rows}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        self._pool, self._waiting = [], 0
        self.value.copy_(torch.from_numpy(state["value"]))
        self.id.copy_(torch.from_numpy(state["id"]))
        self.rows.copy_(torch.from_numpy(state["rows"]))
        self._slot = np.tile(np.arange(self.k), (self.cells, 1))
        self.bar = self.value[:, -1].clamp(min=FLOOR)


def _order(cell: Ints, value: Floats, ids: Ints) -> Ints:
    """Order by cell, then the largest value, then the smallest id.

    Floats >= 0 compare as their bits do, so cell and value are one integer.
    """
    key = (cell << 32) | (0x7FFFFFFF - np.ascontiguousarray(value).view(np.int32).astype(np.int64))
    order = np.argsort(key)
    run = key[order]
    if (run[1:] == run[:-1]).any():  # ties, or empty places
        order = np.lexsort((ids, key))
    return np.asarray(order, np.int64)
