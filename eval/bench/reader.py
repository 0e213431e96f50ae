"""Somebody who reads while a run writes: how long a query takes in another process at 200 replies a second.

The run is the LLM path with everything on (a server that answers after 200 ms, 64 threads, every reply committed before its call ends); the
catalogue holds 10,000 labels. The reader is a process of its own, as a page's server is: it asks for the 20 best labels, waits 20 ms, and
asks again, and knocks while the file is held.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.catalogue.calls import CallStore
from autolabel.llms.keys import Key
from autolabel.llms.openai import OpenAI
from autolabel.llms.stack import stack
from autolabel.types import Ask
from eval.bench.llm import LATENCY, PROMPT, THREADS, Row, server, timed
from eval.bench.search import FILTER, make

PAUSE = .02  # seconds between two questions


def bench(calls: int = 4000, units: int = 10_000) -> Iterator[Row]:
    """The reader's waiting times, and how often the writer committed."""
    with tempfile.TemporaryDirectory() as folder, server(LATENCY) as url:
        catalogue = make(Path(folder) / "x.duckdb", units)
        llm = OpenAI("test-model", url, Key("sk-none-is-needed", "bench"))
        ask = Ask("explain", max_tokens=100, excerpts=tuple(range(20)))
        with CallStore(catalogue, "run", "corpus") as store:
            made = stack(llm, store, most=THREADS)
            timed(lambda i: made.llm.complete([{"role": "user", "content": f"warm {i}"}], ask), THREADS)
            reader = subprocess.Popen([sys.executable, "-m", "eval.bench.reader", "read", str(catalogue.path)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])
            assert reader.stdin and reader.stdout
            reader.stdout.readline()  # it is ready
            before = _commits(catalogue)
            wall, _ = timed(lambda i: made.llm.complete([{"role": "user", "content": f"{i} {PROMPT}"}], ask), calls)
            reader.stdin.close()
            took = np.array(json.loads(reader.stdout.read())) * 1e3
            reader.wait()
        llm.close()
        note = f"{len(took)} queries beside {calls / wall:.0f} replies and {(_commits(catalogue) - before) / wall:.1f} commits a second"
        for share, bar in ((50, "none"), (95, "< 150"), (100, "none")):
            what = "longest" if share == 100 else f"p{share}"
            yield Row(f"a reader in another process during a run, {what}", float(np.percentile(took, share)), "ms", bar, note)


def _commits(catalogue: Catalogue) -> int:
    return int(catalogue.read("SELECT value FROM meta WHERE key = 'commit'")[0][0])


def _read(path: str) -> None:
    """Ask until the standard input is closed; print the seconds of every answer."""
    import threading

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    catalogue, took = Catalogue.open(path), []
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not over.is_set():
        began = time.perf_counter()
        assert catalogue.read(FILTER)
        took.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    sys.stdout.write(json.dumps(took))


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        _read(sys.argv[2])
    else:
        for row in bench():
            print(f"{row.name:78s} {row.value:8.2f} {row.unit:3s} bar {row.bar:7s} {row.note}")
