"""Ctrl-C: the first one settles what is in flight, the second ends at once; whichever it was, the same again goes on where it stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from autolabel.catalogue import Catalogue
from autolabel.catalogue.calls import CallStore
from autolabel.llms import open_llm, pool
from autolabel.llms.asking import ask_all
from autolabel.llms.stack import Stack, stack
from autolabel.scorers.detection import Detection
from autolabel.scorers.simulation import SimulationScorer
from autolabel.simulators.digits import DigitsSimulator
from autolabel.types import Ask, Explanation, Maker, Unit
from tests.conftest import ROOT, heed_interrupts
from tests.llms.server import Fault, Server
from tests.pipeline.test_reading import knows
from tests.scorers.oracle import TRUE, Oracle, PlantedToy
from tests.scorers.scorer_world import World, world

KEY = "sk-canary-0123456789"
LABELS = [Explanation(Unit("toy", "0", "mlp", 0), TRUE, None, Maker("test"))]


@pytest.fixture(scope="module")
def toy() -> World:
    return world(PlantedToy(), documents=(80, 160, 160))


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def detection(toy: World, made: Stack) -> object:
    return [(s.value, s.n) for s in Detection(llm=made.llm, threads=2).score(LABELS, toy.test)]


def simulation(toy: World, made: Stack) -> object:
    return [(s.value, s.n) for s in SimulationScorer(simulator=DigitsSimulator(llm=made.llm, threads=2)).score(LABELS, toy.test)]


def plain(toy: World, made: Stack) -> object:
    questions = [([{"role": "user", "content": str(i)}], Ask("detect", max_tokens=9)) for i in range(8)]
    return ask_all(made.llm, questions, lambda i, said: said.text, 2)  # type: ignore[arg-type]


def answer(body: dict[str, Any]) -> str:
    """An oracle about two words, behind a server."""
    text = body["messages"][-1]["content"]
    return knows(body["messages"], Ask("simulate" if "[[0," in text else "detect" if "each behind [" in text else "explain"))


def says(body: dict[str, Any]) -> str:
    """The oracle, behind a server; `plain` asks for nothing."""
    text = body["messages"][-1]["content"]
    role = "detect" if "each behind [" in text else "simulate" if "Tokens: " in text else ""
    return Oracle().complete(body["messages"], Ask(role)).text if role else f"{text}!"  # type: ignore[arg-type]


def interrupt(server: Server, n: int, *waits: float) -> threading.Thread:
    """Press Ctrl-C after so many seconds each, from the time that the server is at the n-th request."""
    def press() -> None:
        while server.in_flight + len(server.chats) < n:
            time.sleep(.005)
        for seconds in waits:
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=press)
    thread.start()
    return thread


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Catalogue]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield Catalogue.open(tmp_path / "x.duckdb", create=True)
    signal.signal(signal.SIGINT, before)


def made_for(server: Server, store: CallStore) -> Stack:
    return stack(open_llm("openai/test-model", server.url, timeout=60), store)


@pytest.mark.parametrize("work", [detection, simulation, plain])
def test_the_first_settles_what_is_in_flight_and_sends_no_more(toy: World, here: Catalogue, work: Callable[[World, Stack], object]) -> None:
    with Server(says, latency=.15) as server:
        with CallStore(here) as store:
            made = made_for(server, store)
            thread, began = interrupt(server, 3, .02), time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                work(toy, made)
            thread.join()
            made.close()
            assert time.monotonic() - began < 10
        sent = sum(server.bodies.values())
        assert 2 <= sent <= 6 and here.read("SELECT count(*) FROM calls WHERE state = 'done'") == [(sent,)]
        server.latency = 0
        with CallStore(here) as store:
            made = made_for(server, store)
            assert not store.lost
            again = work(toy, made)
            made.close()
        assert max(server.answered.values()) == 1
        with CallStore(Catalogue.open(here.path.with_name("whole.duckdb"), create=True)) as store:
            made = made_for(server, store)
            assert work(toy, made) == again
            made.close()


@pytest.mark.parametrize("settle", [1.0, 30.0])
def test_a_call_that_does_not_end_is_given_up_and_listed(toy: World, here: Catalogue, monkeypatch: pytest.MonkeyPatch, settle: float) -> None:
    """Given up after SETTLE seconds, or at once by a second Ctrl-C."""
    monkeypatch.setattr(pool, "SETTLE", settle)
    with Server(says, fault=lambda n, body: Fault("stall", seconds=60)) as server, CallStore(here) as store:
        made = made_for(server, store)
        thread, began = interrupt(server, 2, .05, *[.3] * (settle > 1)), time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            plain(toy, made)
        took = time.monotonic() - began
        thread.join()
        assert .3 < took < (3 if settle == 1 else 5), took
    with CallStore(here) as store:
        assert len(store.lost) == sum(server.bodies.values()) == 2


# --- as a user presses it

VERBS = {"explain": ["explain", "--explainer", "summary"], "score": ["score", "--scorer", "detection"],
         "label": ["label", "--explainer", "summary", "-S", "start=40", "-S", "cap=40"]}


@pytest.mark.soak
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_ends_in_ten_seconds_or_at_once(small: Path, tmp_path: Path, verb: str, times: int) -> None:
    db = tmp_path / "c.duckdb"
    shutil.copy(small, db)
    stall = [False]
    with Server(answer, key=KEY, fault=lambda n, body: Fault("stall", seconds=120) if stall[0] else None) as server:
        command = [sys.executable, "-m", "autolabel", *VERBS[verb], "--llm", "openai/test-model", "--base-url", server.url, "--units", "4/0-3", "--db", str(db),
                   "--concurrency", "4", "--max-failures", "100"]
        environment = {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
        stall[0] = verb != "label"
        child = start()
        while verb == "label" and not any("[[0," in str(body["messages"][-1]) for body in server.by_digest.values()):  # until it reads labels
            time.sleep(.01)
        stall[0] = True
        while server.in_flight < 2:
            time.sleep(.01)
        child.send_signal(signal.SIGINT)
        began = time.monotonic()
        if times == 2:
            time.sleep(.5)
            child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        took = time.monotonic() - began
        assert child.returncode == 130 and "run the same command again" in err and "Traceback" not in err, err
        assert took < (12 if times == 1 else 4), took  # ten seconds for the calls, and what it takes to end a process
        print(f"{verb}: {took:.1f} s after {times} x Ctrl-C")
        assert al.open_catalogue(db).read("SELECT count(*) FROM runs WHERE state = 'interrupted'") == [(1,)]
        stall[0] = False
        child = start()
        _, err = child.communicate(timeout=300)
        assert child.returncode == 0 and "possibly paid twice" in err and max(server.answered.values()) == 1, err
