"""A run of N calls in a process that may be killed at any moment, and what the killings left.

Children are forked from a server that has imported everything (multiprocessing's forkserver): one costs some 20 ms, so that hundreds can die.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai.resources.chat  # noqa: F401  # here, so that a forked child has it
import tenacity  # noqa: F401

from autolabel.catalogue import Catalogue, Writer
from autolabel.catalogue.calls import CallStore
from autolabel.llms import open_llm
from autolabel.llms.stack import stack
from autolabel.pipeline import submitting  # noqa: F401
from autolabel.types import Ask
from tests.llms.server import Server

THREADS = 16
POINTS = ("begun", "worked", "committed", "noted", "closed")  # of a commit
Kill = tuple[str, int] | float | None  # the N-th time that a commit reaches a point; seconds after the start; none


def run(path: str, url: str, n: int, point: str, times: int, said: str) -> None:
    """In the child: ask N questions on THREADS threads; every answer that came back is a line of `said`."""
    left = [times]

    def at(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    Writer.at_point = staticmethod(at)  # type: ignore[assignment]
    with open(said, "w", buffering=1) as out, CallStore(Catalogue.open(path, create=True), "run") as store:
        print("ready", file=out)
        made = stack(open_llm("openai/test-model", url), store)

        def ask(i: int) -> str:
            return made.llm.complete([{"role": "user", "content": f"call {i}"}], Ask("explain", max_tokens=20, excerpts=(i,))).text
        with ThreadPoolExecutor(THREADS) as pool:
            for text in pool.map(ask, range(n)):
                print(text, file=out)
        made.close()


def forking() -> Any:
    """The context whose processes are forked from one that has imported this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.promises.killing"])
    return context


def answer(body: dict[str, Any]) -> str:
    """Depends on the question alone."""
    return "answer to " + body["messages"][0]["content"]


def steady(server: Server) -> Server:
    """Its replies to equal questions are equal to the byte."""
    plain = server.reply
    server.reply = lambda body: plain(body) | {"id": "x", "created": 0}  # type: ignore[method-assign]
    return server


def dump(catalogue: Catalogue) -> list[tuple[Any, ...]]:
    """What a run left but for times and lost calls, in one order."""
    return catalogue.read("SELECT digest, role, llm, request, tokens_in, tokens_out, cost_usd, reply, state, run FROM calls WHERE state <> 'lost' ORDER BY ALL") \
        + catalogue.read("SELECT DISTINCT call, excerpt FROM prompts_excerpts ORDER BY ALL")


class Victim:
    """One catalogue, on which runs of `n` calls are started, killed and started again."""

    def __init__(self, folder: Path, server: Server, n: int) -> None:
        folder.mkdir()
        self.path, self.server, self.n, self.kills = folder / "x.duckdb", server, n, 0
        self.before = Counter(server.answered)

    def start(self, kill: Kill = None) -> bool:
        """Run until it is done (False) or killed (True); after a kill, nothing that was handed out is lost, and what may be paid twice is listed."""
        said = self.path.parent / "said"
        said.write_text("")
        before = Counter(self.server.answered)
        point, times = kill if isinstance(kill, tuple) else ("never", 0)
        child = forking().Process(target=run, args=(str(self.path), self.server.url, self.n, point, times, str(said)))
        child.start()
        if isinstance(kill, float):
            while not said.read_text() and child.exitcode is None:
                time.sleep(.002)
            time.sleep(kill)
            child.kill()
        child.join(60)
        lines = said.read_text().splitlines()
        said.unlink()
        if child.exitcode == 0:
            return False
        assert child.exitcode == -signal.SIGKILL, child.exitcode
        self.kills += 1
        while self.server.in_flight:  # the server ends what it was at
            time.sleep(.005)
        self._examine({line.removeprefix("answer to ") for line in lines if line.startswith("answer")}, Counter(self.server.answered) - before)
        return True

    def _examine(self, handed_out: set[str], answered: Counter[str]) -> None:
        catalogue = Catalogue.open(self.path, create=True)
        stored = {json.loads(r)["messages"][0]["content"] for (r,) in catalogue.read("SELECT request FROM calls WHERE state = 'done'")}
        assert handed_out <= stored
        unstored = {question(self.server, d) for d in answered} - stored
        assert sum(answered.values()) == len(answered)
        with CallStore(catalogue) as store:
            assert len(unstored) <= len(store.lost) <= THREADS
            assert all(call.state == "lost" and call.role == "explain" and len(call.excerpts) == 1 for call in store.lost)
        listed = {f"call {e}" for (e,) in catalogue.read("SELECT p.excerpt FROM calls c JOIN prompts_excerpts p ON p.call = c.digest WHERE c.state = 'lost'")}
        assert unstored <= listed

    def finish(self, whole: list[tuple[Any, ...]]) -> None:
        """Run to the end: as an uninterrupted run would have left it, nothing stored twice, nothing paid twice that is not listed."""
        assert not self.start()
        catalogue = Catalogue.open(self.path)
        assert dump(catalogue) == whole
        assert catalogue.read("SELECT count(*), count(DISTINCT digest) FROM calls WHERE state = 'done'") == [(self.n, self.n)]
        lost = catalogue.read("SELECT count(*) FROM calls WHERE state = 'lost'")[0][0]
        assert sum((Counter(self.server.answered) - self.before).values()) - self.n <= lost
        with catalogue.writer() as writer:  # killed behind its last commit, it had nothing more to write, and the log lay beside the file
            writer.insert("runs", {"id": "after"})
        names = sorted(p.name for p in self.path.parent.iterdir())
        assert names == ["x.duckdb"], names


def question(server: Server, digest: str) -> str:
    """What the request of this digest asked."""
    return str(server.by_digest[digest]["messages"][0]["content"])
