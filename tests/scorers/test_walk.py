"""The walk shows each part every batch once and in order, also those that were run before the patterns were; a mistake in the patterns comes out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from autolabel.excerpts import Excerpts
from autolabel.scorers.block import Block
from autolabel.scorers.labels import layers_of
from autolabel.scorers.walk import KEPT, walk
from tests.scorers.scorer_world import ToySubject, world


@dataclass(frozen=True)
class Lending(ToySubject):
    """What it shows lies in the same memory every time, written anew by the next pass; it tells when the first passes were made."""

    memory: dict = field(default_factory=dict)
    under_way: threading.Event = field(default_factory=threading.Event)
    ran: list = field(default_factory=list)

    def run(self, tokens, sites, visit) -> None:
        def lend(site, x, span):
            room = self.memory.setdefault(site, torch.empty(1 << 16))
            visit(site, room[:x.numel()].view(x.shape).copy_(x), span)
        super().run(tokens, sites, lend)
        self.ran.append(len(tokens))
        if len(self.ran) == KEPT:
            self.under_way.set()


@dataclass
class Diary:
    """A part that writes down what it sees."""

    seen: list = field(default_factory=list)
    chunks: list = field(default_factory=list)

    def chunk(self, excerpts: Excerpts, strengths: object) -> None:
        self.chunks.append(excerpts)
        self.seen.append([[], []])

    def add(self, block: Block) -> None:
        self.seen[-1][block.layer].append((block.batch.rows, block.a.copy()))

    def end_chunk(self) -> None:
        self.chunks[-1] = len(self.chunks[-1])


def diary(late: bool) -> Diary:
    subject, part, known = Lending(), Diary(), world()
    view = replace(known.test, subject=subject)

    def run(patterns: object, excerpts: Excerpts) -> None:
        if late and not part.chunks:
            assert subject.under_way.wait(30)

    walk(view, layers_of(view), [], run, [part])
    return part


def test_what_ran_before_the_patterns_is_seen_as_it_was():
    early, late, known = diary(False), diary(True), world()
    assert sum(late.chunks) == len(known.split["test"]) and all(isinstance(n, int) for n in late.chunks)
    for one, other in zip(early.seen, late.seen, strict=True):
        for layer in (0, 1):
            assert [rows for rows, _ in one[layer]] == [rows for rows, _ in other[layer]]
            assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(one[layer], other[layer], strict=True))
    assert sum(rows.stop - rows.start for chunk in late.seen for rows, _ in chunk[1]) == len(known.split["test"])


def test_a_mistake_in_the_patterns_comes_out():
    view = replace(world().test, subject=Lending())

    def run(patterns: object, excerpts: Excerpts) -> None:
        raise ValueError("here")
    with pytest.raises(ValueError, match="here"):
        walk(view, layers_of(view), [], run, [Diary()])
