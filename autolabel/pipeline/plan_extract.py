"""What an extraction would take: tokens and documents counted, time measured on a few batches, disk and memory reckoned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autolabel.errors import SettingsError
from autolabel.pipeline.session import open_subject

BATCHES = 4  # forward passes that the time is measured on
OVERHEAD = (1.1, 2.5)  # extraction over the bare pass: long corpora, short ones
START, STORE = 5.0, 1e-3  # seconds to begin with, and to store what is kept of a unit
RECORDS = 80  # stored records per unit: the top 20 of three splits, two of each of ten strata
TABLES = 1 << 30  # bytes of tables by token type, at most


@dataclass(frozen=True, slots=True)
class ExtractPlan:
    """An extraction, before it is begun."""

    documents: int
    tokens: int  # content tokens
    neurons: int  # of all layers asked for
    context: int
    seconds_low: float
    seconds_high: float
    disk_bytes: float  # of the catalogue, about
    memory_bytes: float  # beside the model's own, about


def plan_extract(subject: str = "demo", *, corpus: str | Sequence[str] = "demo", context: int = 64, max_tokens: int = 0, batch_size: int = 32,
                 text_column: str = "text", split_on: str = "", revision: str = "", device: str = "auto", dtype: str = "auto", threads: int = 0,
                 **_other: Any) -> ExtractPlan:
    """Read and tokenise the corpus, run a few batches through the model. Nothing is stored. Raises SetupError and its kinds."""
    from autolabel.corpus import Encoder, Report, open_sources

    loaded: Any = open_subject(subject, revision=revision or None, device=device, dtype=dtype, threads=threads)
    if context > loaded.context:
        raise SettingsError(f"{loaded.name} takes at most {loaded.context} content tokens: --context {context} is too long")
    specs = [corpus] if isinstance(corpus, str) else list(corpus)
    encoder = Encoder(loaded.tokenizer)
    documents = tokens = 0
    for document in open_sources(specs, text_column=text_column, split_on=split_on or None, report=Report()).documents(Report(), max_tokens or None):
        if max_tokens and tokens >= max_tokens:
            break
        documents += 1
        tokens += len(encoder.encode([document.text])[0][0])
    units = sum(site.width * len(site.sides) for site in loaded.sites)
    rng = np.random.default_rng(0)
    ids = [i for i in range(len(loaded.vocabulary)) if i not in loaded.special_ids][:10_000]
    windows = rng.choice(np.array(ids, np.int64), (batch_size, context))
    times = []
    for _ in range(BATCHES):
        began = time.perf_counter()
        loaded.run(windows, loaded.sites, lambda site, x, span: None)
        times.append(time.perf_counter() - began)
    bare = float(np.median(times[1:])) / windows.size * tokens
    types = min(len(loaded.vocabulary), TABLES // (4 * 2 * max(units, 1)), max(tokens, 1))
    disk = units * (RECORDS * (4 * context * .8 + 60) + 3 * 64 * 24 + 2 * types)
    memory = 4e8 + 2 * 4 * types * units + units * 20 * context * 4
    return ExtractPlan(documents, tokens, units, context, START + bare * OVERHEAD[0], START + bare * OVERHEAD[1] + units * STORE, disk, memory)
