"""Order does not depend on threads; a failure stops what has not begun."""

from __future__ import annotations

import threading
import time

import pytest

from autolabel.errors import PendingError
from autolabel.llms.pool import ordered_map


@pytest.mark.parametrize("threads", [0, 1, 2, 7])
def test_results_are_in_the_order_of_items(threads: int) -> None:
    def slow(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i
    assert ordered_map(slow, iter(range(20)), threads) == [i * i for i in range(20)]
    assert ordered_map(slow, [], threads) == []


def test_threads_are_used() -> None:
    meet = threading.Barrier(4, timeout=10)
    assert ordered_map(lambda i: (meet.wait(), i)[1], range(4), 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_failure_in_order_is_raised_and_nothing_more_begins(threads: int) -> None:
    begun: list[int] = []

    def fail(i: int) -> int:
        begun.append(i)
        time.sleep(0.01)
        if i in (5, 6):
            raise ValueError(f"item {i}")
        return i
    with pytest.raises(ValueError, match="item 5"):
        ordered_map(fail, range(100), threads)
    assert len(begun) <= 5 + 2 * threads


@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_pending_keeps_nothing_else_from_being_asked(threads: int) -> None:
    begun: list[int] = []

    def later(i: int) -> int:
        begun.append(i)
        if i % 3 == 0:
            raise PendingError("not there yet")
        return i
    with pytest.raises(PendingError):
        ordered_map(later, range(10), threads)
    assert sorted(begun) == list(range(10))
