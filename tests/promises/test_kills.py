"""kill -9 at every boundary of a commit and at random moments: nothing that was paid for is lost, nothing is stored twice, doubts are listed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from autolabel.catalogue import Catalogue
from tests.llms.server import Server
from tests.promises.killing import POINTS, Victim, answer, dump, steady


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    with Server(answer, latency=.02) as server:
        yield steady(server)


def whole(folder: Path, server: Server, n: int) -> list[tuple[object, ...]]:
    """What an uninterrupted run leaves."""
    victim = Victim(folder / "whole", server, n)
    assert not victim.start()
    return dump(Catalogue.open(victim.path))


def random_kills(folder: Path, server: Server, n: int, kills: int, seed: int) -> int:
    """So many kills, on as many catalogues as it takes. How many answers were paid for and not stored."""
    rng, expected, died = random.Random(seed), whole(folder, server, n), 0
    for number in itertools.count():
        victim = Victim(folder / str(number), server, n)
        while died < kills and victim.start(rng.uniform(0, n / 250)):
            died += 1
        victim.finish(expected)
        if died == kills:
            return sum(server.answered.values()) - n * (number + 2)
    raise AssertionError


@pytest.mark.slow
def test_20_random_kills_lose_nothing_and_pay_nothing_twice(tmp_path: Path, server: Server) -> None:
    random_kills(tmp_path, server, 40, 20, 5)


@pytest.mark.soak
def test_200_random_kills(tmp_path: Path, server: Server) -> None:
    print("answers paid for and not stored, of 200 kills:", random_kills(tmp_path, server, 200, 200, 6))


def boundaries(folder: Path, server: Server, n: int, point: str, some: range, expected: list[tuple[object, ...]]) -> int:
    """Die at the N-th time that a commit reaches a point, N of `some`, as long as there is such a time. How many deaths there were."""
    for times in some:
        victim = Victim(folder / f"{point}{times}", server, n)
        died = victim.start((point, times))
        victim.finish(expected)
        if not died:
            return times - some.start
    return len(some)


@pytest.mark.slow
def test_a_kill_at_a_boundary_of_a_commit_of_each_kind(tmp_path: Path, server: Server) -> None:
    expected = whole(tmp_path, server, 40)
    for point in POINTS:
        first = random.Random(point).randrange(3)
        assert boundaries(tmp_path, server, 40, point, range(first, first + 1), expected) == 1


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_every_boundary_of_every_commit_of_200_calls(tmp_path: Path, server: Server, point: str) -> None:
    died = boundaries(tmp_path, server, 200, point, range(1000), whole(tmp_path, server, 200))
    print(f"{died} kills at the point {point!r}")
    assert died >= 10
