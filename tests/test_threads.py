"""Pieces on all cores come back in order, and a mistake in one comes out."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from autolabel.threads import both, each, stretches


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_keeps_the_order_and_uses_the_threads(threads):
    barrier = threading.Barrier(threads, timeout=10)

    def work(i):
        if i < threads:
            barrier.wait()  # as many at a time, or this times out
        return i * i

    assert each(work, range(12)) == [i * i for i in range(12)]
    assert each(work, []) == []


def test_a_mistake_comes_out(threads):
    def work(i):
        if i == 2:
            raise ValueError("here")
    with pytest.raises(ValueError, match="here"):
        each(work, range(4))


def test_both_gives_what_either_gives_and_either_s_mistake(threads):
    barrier = threading.Barrier(min(threads, 2), timeout=10)

    def work(x):
        barrier.wait()  # side by side, or this times out
        return x

    assert both(lambda: work(1), lambda: work("a")) == (1, "a")
    for pair in ((lambda: 1 / 0, lambda: 2), (lambda: 2, lambda: 1 / 0)):
        with pytest.raises(ZeroDivisionError):
            both(*pair)


@pytest.mark.parametrize("n, size", [(0, 4), (3, 4), (8, 4), (9, 4)])
def test_stretches_are_all_of_it_once(n, size):
    assert np.concatenate([np.arange(n)[some] for some in stretches(n, size)]).tolist() == list(range(n))
