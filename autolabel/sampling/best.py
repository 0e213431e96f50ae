"""The K best windows of each of N cells (a cell: a unit, or a stratum of a unit), with a row of T numbers each.

Best: the largest value, ties to the smaller excerpt id; so the result is a function of the set of windows alone, whatever their order, the
batch size, or when lists were sorted. A window is looked at again only where its value reaches the cell's K-th best so far,
which after n windows is K/n of the time; what passes is written once, into a spare place of its cell, and the lists are sorted when a cell has no
place left: a number of times that grows with the logarithm of the corpus, and no row is ever moved. On an accelerator a
threshold test would wait for the device at every batch, and sorting is nearly free: there each batch is merged densely
instead (`_dense`), with the same result.
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
STALE = 8  # lists are sorted when so many candidates wait, on average: what a stale bar lets pass is gathered in vain
NOBODY = np.iinfo(np.int64).max
Rows = Callable[[Tensor, Tensor], Tensor]  # (window [C], cell [C]) -> [C, T]


class Best:
    """Values are > 0. `width` 0: no rows are kept; rows shorter than `width` are filled up with nan."""

    def __init__(self, cells: int, k: int, width: int, device: torch.device, spare: int | None = None) -> None:
        """spare: places of each cell for windows that wait to be sorted in."""
        self.cells, self.k, self.width, self.device = cells, k, width, device
        self.places = k + (spare or k) if self.lazy else k
        self.value = torch.zeros(cells, self.places, device=device)  # 0 where empty
        self.id = torch.full((cells, self.places), NOBODY, dtype=torch.int64, device=device)
        self.rows = torch.zeros(cells, self.places, width, device=device)
        self.bar = torch.full((cells,), FLOOR, device=device)  # what a value must reach
        self._order = np.tile(np.arange(self.places), (cells, 1))  # places of each cell, the best first, from the K-th on free (CPU only)
        self._waiting = np.zeros(cells, np.int64)  # how many of the free ones are taken
        self._n_waiting = 0  # of all cells

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
        while len(b):
            c = cell.numpy()
            order = np.argsort(c, kind="stable")
            ordered = c[order]
            first = np.flatnonzero(np.diff(ordered, prepend=-1))
            counts, touched = np.diff(first, append=len(c)), ordered[first]
            place = np.empty(len(c), np.int64)  # number of the candidate among those that its cell waits for
            place[order] = np.arange(len(c)) - np.repeat(first, counts)
            place += self._waiting[c]
            fits = place < self.places - self.k
            self._waiting[touched] = np.minimum(self._waiting[touched] + counts, self.places - self.k)
            if fits.all():
                self._put(b, cell, value, place, ids, rows)
                self._n_waiting += len(c)
                if self._n_waiting > STALE * self.cells:
                    self._sort()
                return
            keep = torch.from_numpy(fits)
            self._put(b[keep], cell[keep], value[keep], place[fits], ids, rows)
            self._sort()
            rest = ~keep & (value >= self.bar[cell])
            b, cell, value = b[rest], cell[rest], value[rest]

    def _put(self, b: Tensor, cell: Tensor, value: Tensor, place: Ints, ids: Tensor, rows: Rows) -> None:
        """Write candidates to the free places [n] of their cells, by number."""
        c = cell.numpy()
        at = c * self.places + self._order[c, self.k + place]
        self.value.numpy().reshape(-1)[at] = value.numpy()
        self.id.numpy().reshape(-1)[at] = ids[b].numpy()
        if self.width:
            got, kept = rows(b, cell).numpy(), self.rows.numpy().reshape(-1, self.width)
            if got.shape[1] == self.width:
                kept[at] = got
            else:
                kept[at] = np.pad(got, ((0, 0), (0, self.width - got.shape[1])), constant_values=np.nan)

    def _sort(self) -> None:
        """Order the cells that have candidates, and free all places but the K best."""
        self._n_waiting, touched = 0, np.flatnonzero(self._waiting)
        if not len(touched):
            return
        k, value, ids = self.k, self.value.numpy(), self.id.numpy()
        # Floats >= 0 compare as their bits do, so value and place are one integer.
        down = 0x7FFFFFFF - value[touched].view(np.int32).astype(np.int64)
        key = np.sort((down << 32) | np.arange(self.places), axis=1)
        run = key >> 32
        order = key & 0xFFFFFFFF
        tied = np.flatnonzero(((run[:, 1:] == run[:, :-1]) & (run[:, 1:] < 0x7FFFFFFF)).any(1))
        if len(tied):
            order[tied] = np.lexsort((ids[touched[tied]], down[tied]), axis=1)
        self._order[touched] = order
        cell = touched[:, None]
        value[cell, order[:, k:]] = 0
        ids[cell, order[:, k:]] = NOBODY
        self.bar.numpy()[touched] = np.maximum(value[touched, order[:, k - 1]], FLOOR)
        self._waiting[touched] = 0

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

    def largest(self) -> Floats:
        """[cells] the largest value, 0 where there is none."""
        best: Floats = self.value.amax(1).cpu().numpy()
        return best

    def result(self) -> tuple[Floats, Ints, Floats]:
        """value [cells, K] (0 where there is none), id [cells, K], rows [cells, K, T]; best first."""
        value, ids, rows = (part.cpu().numpy() for part in (self.value, self.id, self.rows))
        if not self.lazy:
            return value, ids, rows
        self._sort()
        order, cell = self._order[:, :self.k], np.arange(self.cells)[:, None]
        return value[cell, order], ids[cell, order], rows[cell, order]

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was kept, in order."""
        value, ids, rows = self.result()
        return {"value": value, "id": ids, "rows": rows}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`."""
        k = self.k
        for kept, name, empty in ((self.value, "value", 0), (self.id, "id", NOBODY), (self.rows, "rows", 0)):
            kept[:, :k].copy_(torch.from_numpy(state[name]))
            kept[:, k:] = empty
        self._order, self._waiting = np.tile(np.arange(self.places), (self.cells, 1)), np.zeros(self.cells, np.int64)
        self._n_waiting = 0
        self.bar = self.value[:, k - 1].clamp(min=FLOOR)
