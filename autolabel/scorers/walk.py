"""One streaming pass over a split: what is shared by everything that is counted on the way.

The subject is run once; each *part* sees, per batch and layer, the activations a = max(side * x, 0) and adds to its own
sums. Memory does not depend on the length of the split.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Batch, Excerpts
from autolabel.passes import Passes
from autolabel.patterns.syntax import Pattern
from autolabel.protocols import SplitView
from autolabel.scorers.block import Block, Room
from autolabel.scorers.entries import Run, Strengths
from autolabel.scorers.labels import Layer
from autolabel.types import Site

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
GROUPS = 256  # documents fall by hash into so many groups, which take their place in every interval
KEPT = 2  # batches of each piece that may wait for the patterns: 75 MB each in MiniLM
PIECE = 65_536  # tokens whose strengths are held at once: contexts may fire on a tenth of them, for each of thousands of labels
COARSE = 32  # groups of the jackknife and of the mass by stratum


class Part(Protocol):
    """Something that is counted on the way. `add` may be called for several layers at a time, for each in the order of the batches."""

    def chunk(self, excerpts: Excerpts, strengths: Strengths) -> None:
        """A chunk of excerpts is about to be read."""

    def add(self, block: Block) -> None:
        """One layer of one batch."""

    def end_chunk(self) -> None:
        """All batches of the chunk were read."""


def walk(view: SplitView, layers: Sequence[Layer], patterns: Sequence[Pattern], run: Run, parts: Sequence[Part]) -> None:
    """Run the subject over the split once and show every part every batch. Raises what running the patterns or a part raises."""
    sites, walker = [lay.site for lay in layers], _Walker(layers, parts)
    with ThreadPoolExecutor(1, "patterns") as aside:
        for excerpts in pieces(view):
            walker.ready = aside.submit(_prepare, parts, patterns, excerpts, run)
            with Passes(view.subject, sites) as passes:
                for batch in excerpts.batches(view.batch_size):
                    passes.add(partial(view.subject.run, batch.tokens, sites), partial(walker.look, batch, excerpts.block[batch.rows]))
                passes.wait()
                for k in range(len(layers)):
                    passes.aside(partial(walker.catch_up, k))
            for part in parts:
                part.end_chunk()


def _prepare(parts: Sequence[Part], patterns: Sequence[Pattern], excerpts: Excerpts, run: Run) -> None:
    """Run the patterns on a piece and show the parts where they hold."""
    strengths = run(patterns, excerpts)
    for part in parts:
        part.chunk(excerpts, strengths)


class _Walker:
    """Shows batches to the parts. The first ones are kept until the patterns were run: that is Python on one core, and a pass leaves Python alone."""

    def __init__(self, layers: Sequence[Layer], parts: Sequence[Part]) -> None:
        self.ready: Future[None] = Future()  # the parts know the piece
        self._layers, self._parts, self._room = layers, parts, Room()
        self._number = {(lay.site.layer, lay.site.name): k for k, lay in enumerate(layers)}
        self._kept: list[list[tuple[Batch, Ints, torch.Tensor, slice]]] = [[] for _ in layers]

    def look(self, batch: Batch, block: Ints, site: Site, x: torch.Tensor, span: slice) -> None:
        """One layer of one batch; one at a time for each layer."""
        k = self._number[site.layer, site.name]
        if len(self._kept[k]) < KEPT and not self.ready.done():
            self._kept[k].append((batch, block, x.clone(), span))
            return
        self.catch_up(k)
        self._show(k, batch, block, x, span)

    def catch_up(self, k: int) -> None:
        """Show what was kept of layer k. Raises what the patterns raised."""
        self.ready.result()
        for seen in self._kept[k]:
            self._show(k, *seen)
        self._kept[k].clear()

    def _show(self, k: int, batch: Batch, block: Ints, x: torch.Tensor, span: slice) -> None:
        seen = Block.of(k, self._layers[k], batch, block, x, span, self._room)
        for part in self._parts:
            part.add(seen)


def pieces(view: SplitView, tokens: int = PIECE) -> Iterator[Excerpts]:
    """The chunks of a split, cut so that none has more than `tokens` tokens (one excerpt at least)."""
    for chunk in view.chunks():
        for piece, _ in cut(chunk, tokens):
            yield piece


def cut(chunk: Excerpts, tokens: int = PIECE) -> Iterator[tuple[Excerpts, slice]]:
    """Pieces of at most `tokens` tokens (one excerpt at least), each with its rows of the chunk."""
    first = 0
    while first < len(chunk):
        last = max(first + 1, int(np.searchsorted(chunk.offset, chunk.offset[first] + tokens, side="right")) - 1)
        rows, span = slice(first, last), slice(int(chunk.offset[first]), int(chunk.offset[last]))
        yield chunk if last - first == len(chunk) else Excerpts(
            chunk.id[rows], chunk.document[rows], chunk.block[rows], chunk.start[rows], chunk.offset[first:last + 1] - chunk.offset[first],
            chunk.tokens[span], chunk.char_start[span], chunk.char_end[span], chunk.text[rows]), rows
        first = last


def add_rows(total: Floats, group: Ints, rows: NDArray[np.floating]) -> None:
    """total[group[b]] += rows[b] for every b."""
    for g, row in zip(group.tolist(), rows, strict=True):
        total[g] += row


class FirstDocuments:
    """How many distinct documents each of P labels fires in, up to `enough`: memory P * enough at most, and a buffer.

    Documents are told apart by the last 40 bits of their ids.
    """

    def __init__(self, n_labels: int, enough: int = 20, buffer: int = 200_000) -> None:
        self.enough, self._buffer, self._lock = enough, buffer, threading.Lock()
        self._count = np.zeros(n_labels, np.int64)
        self._open = np.ones(n_labels, bool)
        self._keys, self._waiting, self._n_waiting = np.zeros(0, np.int64), [np.zeros(0, np.int64)], 0

    @property
    def open(self) -> NDArray[np.bool_]:
        """[P] labels that are not yet known to fire in enough documents."""
        return self._open

    def close(self, label: Ints) -> None:
        """These labels are known to fire in enough documents."""
        self._count[label[self._open[label]]] = self.enough
        self._open[label] = False

    def add(self, label: Ints, block: Ints) -> None:
        """Labels [E] fire in the documents [E]; the same pair any number of times. Several threads may add."""
        with self._lock:
            open_ = np.flatnonzero(self._open[label])
            if len(open_):
                self._waiting.append((label[open_] << 40) | (block[open_] & ((1 << 40) - 1)))
                self._n_waiting += len(open_)
                if self._n_waiting > self._buffer:
                    self._settle()

    def _settle(self) -> None:
        keys = np.sort(np.concatenate([self._keys, *self._waiting]))
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
        count = np.bincount(keys >> 40, minlength=len(self._count))
        self._count[self._open] = count[self._open]
        self._open &= self._count < self.enough
        self._keys, self._waiting, self._n_waiting = keys[self._open[keys >> 40]], [], 0

    @property
    def count(self) -> Ints:
        """[P] exact below `enough`; at least `enough` otherwise."""
        self._settle()
        return self._count.copy()
