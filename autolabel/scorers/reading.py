"""Single excerpts of a split, and what the neurons do on them: computed on demand, a whole layer at a time, never stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import CorpusError
from autolabel.excerpts import Excerpts
from autolabel.protocols import SplitView
from autolabel.sampling.two_sided import Frame, Stored
from autolabel.scorers.labels import Layer
from autolabel.scorers.priorities import priority_samples
from autolabel.types import Excerpt, Side, Site, Unit

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]
Dense = NDArray[np.float32]
MEMORY = 512 * 2**20  # for whole layers of single excerpts


@dataclass
class Reading:
    """One split. Excerpts and activations that were read stay at hand, the latter up to `memory` bytes."""

    view: SplitView
    seed: int = 0
    memory: int = MEMORY
    _excerpts: dict[int, tuple[Excerpt, int]] = field(default_factory=dict, repr=False)
    _layers: OrderedDict[tuple[str, str, int], Dense] = field(default_factory=OrderedDict, repr=False)
    _bytes: int = 0
    _priority: dict[tuple[str, str], Callable[[str, Side, int], Stored]] = field(default_factory=dict, repr=False)

    @cached_property
    def frame(self) -> Frame:
        """All excerpts of the split, ascending by id. Raises CorpusError where there are none."""
        ids = self.view.ids() if self.view.ids is not None else np.sort(np.concatenate([c.id for c in self.view.chunks()] or [np.zeros(0, np.int64)]))
        if not len(ids):
            raise CorpusError(f"the {self.view.split} split is empty")
        return Frame(np.asarray(ids, np.int64), self.seed)

    def excerpts(self, ids: Sequence[int]) -> list[Excerpt]:
        """The excerpts with these ids, in this order."""
        self._fetch(ids)
        return [self._excerpts[i][0] for i in ids]

    def blocks(self, ids: Sequence[int]) -> list[int]:
        """What is one document to every interval, for each of these excerpts."""
        self._fetch(ids)
        return [self._excerpts[i][1] for i in ids]

    def columns(self, ids: Sequence[int]) -> Excerpts:
        """The same as columns, in the order of columns."""
        some = self.excerpts(ids)
        return Excerpts.build([e.id for e in some], [e.document for e in some], self.blocks(ids), [e.start for e in some],
                              [np.array(e.tokens, np.int64) for e in some], [np.array([a for a, _ in e.offsets], np.int64) for e in some],
                              [np.array([b for _, b in e.offsets], np.int64) for e in some], [e.text for e in some])

    def activations(self, layer: Layer, ids: Sequence[int]) -> list[Dense]:
        """a [T, W] of every unit of a layer (both sides, as `Layer` has them), one array per excerpt. W = layer.width."""
        name = (layer.site.layer, layer.site.name)
        missing = [i for i in dict.fromkeys(ids) if (*name, i) not in self._layers]
        found = {i: self._layers[*name, i] for i in ids if (*name, i) in self._layers}
        if missing:
            some = self.columns(missing)
            for batch in some.batches(self.view.batch_size):
                for row, id_ in zip(self.run(batch.tokens, layer), some.id[batch.rows].tolist(), strict=True):
                    found[id_] = self._keep((*name, id_), row)
        return [found[i] for i in ids]

    def stored(self, layer: Layer, unit: Unit) -> Stored:
        """The unit's priority sample: what the extraction stored, else (a view without one) made by a pass over the split."""
        if self.view.priority is not None:
            return self.view.priority(unit.layer, unit.side, unit.index)
        name = (layer.site.layer, layer.site.name)
        if name not in self._priority:
            every = [Unit("", *name, i, side) for side in layer.sides for i in range(layer.site.width)]
            self._priority[name] = priority_samples(self.view, every, self.seed)
        return self._priority[name](unit.layer, unit.side, unit.index)

    def run(self, tokens: Ints, layer: Layer) -> Dense:
        """a [B, T, W] of windows [B, T]."""
        kept: list[Dense] = []

        def visit(_site: Site, x: torch.Tensor, span: slice) -> None:
            kept.append(x[:, span].float().cpu().numpy().copy())

        self.view.subject.run(tokens, [layer.site], visit)
        return np.concatenate([np.maximum(kept[0] if side == "+" else -kept[0], 0) for side in layer.sides], axis=2)

    def _keep(self, key: tuple[str, str, int], rows: Dense) -> Dense:
        self._layers[key] = rows
        self._bytes += rows.nbytes
        while self._bytes > self.memory and len(self._layers) > 1:
            self._bytes -= self._layers.popitem(last=False)[1].nbytes
        return rows

    def _fetch(self, ids: Sequence[int]) -> None:
        missing = np.array([i for i in dict.fromkeys(ids) if i not in self._excerpts], np.int64)
        if not len(missing):
            return
        chunks = [self.view.some(missing)] if self.view.some is not None else self.view.chunks()
        for chunk in chunks:
            for row in np.flatnonzero(np.isin(chunk.id, missing)).tolist():
                self._excerpts[int(chunk.id[row])] = chunk.excerpt(row), int(chunk.block[row])
