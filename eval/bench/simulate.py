"""`logprob` simulation, all tokens at once, against one token at a time, on an excerpt of 64 tokens.

The reference is not a slow one: instructions, examples and label are read once and cached for it too. `token by token` asks
about every token with the text up to it, as a server with a prefix cache is asked; `going on` keeps the cache of the excerpt as
well and reads only what is new. CPU time of one thread, rounds interleaved, median of the ratios.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

BAR = 10.0
TOKENS = 64
LABEL = "words for weather"


def bench(rounds: int = 5) -> Iterator[tuple[str, float, float | None, str]]:
    """Rows (name, ratio, bar, note), on a model of random weights: how fast it is does not depend on what it learned."""
    from autolabel.llms.local import load_local
    from tests.local_model import make_local

    hidden, layers = 256, 4
    with tempfile.TemporaryDirectory() as folder:
        llm = load_local(str(make_local(Path(folder) / "made", hidden=hidden, layers=layers, context=4096)))
        yield from measure(llm, f"a Llama of {layers} layers, width {hidden}", rounds)


def measure(llm, name: str, rounds: int) -> Iterator[tuple[str, float, float | None, str]]:  # type: ignore[no-untyped-def]  # a LocalLLM
    """One model."""
    import torch

    from autolabel.simulators.logprob import LogprobSimulator

    simulator = LogprobSimulator(examples=3, llm=llm)
    one = excerpt(TOKENS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        prefix, asked = simulator.prefix(LABEL), simulator.asked(one)
        bounds = [0, *(at + 1 for at in asked.at)]

        def at_once() -> list[float]:
            return simulator.expected(llm.choices(prefix, asked.ids, asked.at, simulator.levels))

        def token_by_token() -> list[float]:
            return [simulator.expected(llm.choices(prefix, asked.ids[:at + 1], [at], simulator.levels))[0] for at in asked.at]

        def going_on() -> list[float]:
            now, out = prefix, []
            for first, last in itertools.pairwise(bounds):
                now = llm.read(asked.ids[first:last], now)
                out.append(simulator.expected(now.next[simulator.levels].double().numpy()[None])[0])
            return out

        ways: dict[str, Callable[[], list[float]]] = {"at once": at_once, "token by token": token_by_token, "going on": going_on}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        answers = {way: work() for way, work in ways.items()}
        for _ in range(rounds):
            for way, work in ways.items():
                began = time.process_time()
                work()
                seconds[way].append(time.process_time() - began)
    finally:
        torch.set_num_threads(threads)
    for way, bar in (("token by token", BAR), ("going on", None)):
        ratio = float(np.median(np.array(seconds[way]) / np.array(seconds["at once"])))
        apart = max(abs(x - y) for x, y in zip(answers["at once"], answers[way], strict=True))
        yield (f"logprob simulation at once over {way}, prefix cached: times faster", ratio, bar,
               f"{name}, {TOKENS} tokens in {len(asked.ids)} of the model's; {1e3 * float(np.median(seconds['at once'])):.0f} ms at once; "
               f"values differ by {apart:.0e}")


def excerpt(tokens: int):  # type: ignore[no-untyped-def]
    """An excerpt of so many words."""
    from autolabel.types import Excerpt

    story = "the little girl was happy and she said that the big dog was in the park with her"
    words = (story.split(" ") * tokens)[:tokens]
    text, offsets = "", []
    for word in words:
        text += " " if text else ""
        offsets.append((len(text), len(text) + len(word)))
        text += word
    return Excerpt(1, 1, 0, tuple(range(tokens)), tuple(offsets), text)
