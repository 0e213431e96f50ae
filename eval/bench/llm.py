"""What the LLM path costs beside the LLM: client CPU per call, calls a second, and a run done again from the cache.

The server is `tests/llms/server.py` in a process of its own, which answers every request after 200 ms. All wrappers are on, the
catalogue is a real file, and a call counts when its reply is committed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autolabel.catalogue import Catalogue
from autolabel.catalogue.calls import CallStore
from autolabel.llms.keys import Key
from autolabel.llms.openai import OpenAI
from autolabel.llms.stack import stack
from autolabel.types import Ask

THREADS, LATENCY = 64, .2  # of the bar
ROOT = Path(__file__).resolve().parents[2]
PROMPT = "word\t3\n" * 700  # about as long as an explainer's


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    value: float
    unit: str
    bar: str
    note: str = ""


@contextmanager
def server(latency: float) -> Iterator[str]:
    """Its URL; in a process of its own, so that its CPU time is not counted."""
    process = subprocess.Popen([sys.executable, "-m", "tests.llms.server", "--latency", str(latency), "--text", '{"label": "numbers", "confidence": 3}'],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin and process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def timed(complete: Callable[[int], object], n: int) -> tuple[float, float]:
    """(seconds, CPU seconds of this process) for n calls on 64 threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(complete, range(n)))
    return time.perf_counter() - wall, time.process_time() - cpu


def bench(calls: int = 4000) -> Iterator[Row]:
    """All figures of the LLM path."""
    with tempfile.TemporaryDirectory() as folder, server(LATENCY) as url:
        catalogue = Catalogue.open(Path(folder) / "x.duckdb", create=True)
        llm = OpenAI("test-model", url, Key("sk-none-is-needed", "bench"))
        ask = Ask("explain", max_tokens=100, excerpts=tuple(range(20)))

        def sdk(i: int) -> object:
            return llm.client.chat.completions.with_raw_response.create(
                model="test-model", messages=[{"role": "user", "content": f"{i} {PROMPT}"}], max_tokens=100).http_response.text
        timed(sdk, THREADS)
        _, alone = timed(sdk, calls // 4)
        with CallStore(catalogue, "run", "corpus") as store:
            made = stack(llm, store, most=THREADS)
            timed(lambda i: made.llm.complete([{"role": "user", "content": f"warm {i}"}], ask), THREADS)
            wall, cpu = timed(lambda i: made.llm.complete([{"role": "user", "content": f"{i} {PROMPT}"}], ask), calls)
        yield Row("LLM: client CPU per call, cache write included", cpu / calls * 1e3, "ms", "<= 5",
                  f"the SDK's own `create` by itself takes {alone / (calls // 4) * 1e3:.2f} ms")
        yield Row(f"LLM: calls per second, {THREADS} threads, a server that takes {LATENCY * 1e3:.0f} ms", calls / wall, "/s", ">= 200",
                  f"{THREADS / LATENCY:.0f} at most; a call ends with its commit")
        began = time.perf_counter()
        with CallStore(catalogue, "run", "corpus") as store:
            again = stack(llm, store)
            for i in range(1000):  # one thread: nothing is hidden by another
                again.llm.complete([{"role": "user", "content": f"{i} {PROMPT}"}], ask)
            assert again.cached is not None and again.cached.hits == 1000, "a stored call was asked again"
        yield Row("LLM: 1,000 stored calls done again, catalogue opened and closed", time.perf_counter() - began, "s", "< 2", "0 requests")
        llm.close()


if __name__ == "__main__":
    for row in bench():
        print(f"{row.name:78s} {row.value:8.2f} {row.unit:3s} bar {row.bar:7s} {row.note}")
