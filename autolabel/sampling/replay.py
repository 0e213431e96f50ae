"""What the first batches of a pass have shown, in a file beside the catalogue, so that it can be shown again instead of computed again.

Hundreds of megabytes for a small model: in memory they would stand beside the tables at the very moment of the highest use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autolabel.errors import CatalogueError
from autolabel.types import Site

ROOM = 1 << 30  # bytes of the file; batches that do not fit are computed twice


class Replay:
    """Batches by number, from 0. A file that was left by a killed run is overwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self._batches: dict[int, list[tuple[Site, tuple[int, ...], slice, int]] | None] = {}  # None: not kept
        self._end = 0
        self._lock = threading.Lock()

    def keep(self, number: int, site: Site, x: Tensor, span: slice) -> None:
        """x [B, T', U] float32 of batch `number`, content at x[:, span]; whole, so that a second look gives the same bits."""
        values = x.cpu().contiguous().numpy()
        with self._lock:
            batch = self._batches.setdefault(number, [])
            if batch is None or self._end + values.nbytes > ROOM:
                self._batches[number] = None
                return
            try:
                with self.path.open("r+b" if self._end else "wb") as file:
                    file.seek(self._end)
                    file.write(values.data)
            except OSError as error:
                raise CatalogueError(f"cannot write {self.path}: {error.strerror}; make room and run the same command again") from error
            batch.append((site, tuple(x.shape), span, self._end))
            self._end += values.nbytes

    def show(self, number: int, visit: Callable[[Site, Tensor, slice], None], device: torch.device) -> bool:
        """Visit batch `number` again, as a pass would; False where it was not kept."""
        kept = self._batches.get(number)
        if not kept:
            return False
        with self.path.open("rb") as file, torch.inference_mode():
            for site, shape, span, first in kept:
                file.seek(first)
                x = torch.from_numpy(np.fromfile(file, np.float32, int(np.prod(shape))).reshape(shape)).to(device)
                visit(site, x, span)
        return True
