"""Exact scoring of all patterns over a split, against the bare forward pass over the same split.

Measured: patterns run, every label's six sums by group, levels, mass by stratum, the whole foreign matrix of each layer, all
intervals and ranks (rho_context and rho_new apart). The bar is one forward pass + 25 %. The bare pass is run in both ways, batch after batch
on all threads and batches side by side on one thread each, and the faster counts. Rounds are interleaved, and the median of the ratios is taken.
"""

from __future__ import annotations

import statistics as averages
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pydoc_data.topics import topics

import numpy as np

from autolabel.excerpts import Excerpts
from autolabel.neurons import QUANTILES, LayerStats
from autolabel.passes import Passes
from autolabel.protocols import TestEvidence
from autolabel.types import Explanation, Maker, Side, Site, Unit, hash63
from eval.bench.extraction import Row

BAR = 1.25
NAME = "exact scoring of all patterns: time over one forward pass"


def excerpts(tokenizer, tokens: int, context: int = 64) -> Excerpts:  # type: ignore[no-untyped-def]  # any fast tokenizer
    """Windows of the Python language reference, `tokens` at most; each paragraph group of a topic is a document. Where more is asked for than
    that has (127,898 tokens of MiniLM), docstrings follow."""
    ids, documents, starts, token_ids, first, last, texts = [], [], [], [], [], [], []
    pieces = [part for text in topics.values() for part in _passages(text)]
    pieces.sort(key=lambda text: hash63(text))
    n = 0
    for text in chain(pieces, _docstrings()):
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)
        for s in range(0, len(spans), context):
            here = spans[s:s + context]
            if len(here) < 8:
                continue
            document = hash63(text)
            a = int(here[0, 0])
            ids.append(hash63(document, s))
            documents.append(document)
            starts.append(s)
            token_ids.append(np.array(encoded["input_ids"][s:s + context]))
            first.append(here[:, 0] - a)
            last.append(here[:, 1] - a)
            texts.append(text[a:int(here[-1, 1])])
            n += len(here)
        if n >= tokens:
            break
    return Excerpts.build(ids, documents, documents, starts, token_ids, first, last, texts)


def _docstrings() -> Iterator[str]:
    from autolabel.corpus.report import Report
    from autolabel.corpus.sources import open_sources

    report = Report()
    for document in open_sources(["python"], text_column="text", split_on=None, report=report).documents(report, None):
        yield document.text


def _passages(text: str, size: int = 1500) -> Iterator[str]:
    lines, length = [], 0
    for line in text.splitlines():
        lines.append(line)
        length += len(line)
        if length > size and not line.strip():
            yield "\n".join(lines)
            lines, length = [], 0
    if lines:
        yield "\n".join(lines)


def statistics(subject, data: Excerpts) -> dict[tuple[str, Side], LayerStats]:  # type: ignore[no-untyped-def]
    """Statistics of explain are not the matter here: those of a few batches of the split stand in."""
    values: dict[str, list[np.ndarray]] = {s.layer: [] for s in subject.sites}

    def visit(site: Site, x, span: slice) -> None:  # type: ignore[no-untyped-def]
        values[site.layer].append(x[:, span].clamp(min=0).flatten(0, 1).float().numpy().copy())

    for _, batch in zip(range(2), data.batches(16), strict=False):
        subject.run(batch.tokens, subject.sites, visit)
    out: dict[tuple[str, Side], LayerStats] = {}
    for site in subject.sites:
        a = np.concatenate(values[site.layer]).astype(np.float64)
        tau = 0.2 * a.max(0)
        out[site.layer, "+"] = LayerStats(
            site, "+", len(a), a.mean(0), a.std(0), a.min(0), a.max(0), a.mean(0), a.std(0), a.max(0), (a > 0).mean(0), (a > tau).mean(0),
            np.quantile(a, QUANTILES, axis=0).T, np.full(site.width, np.nan))
    return out


def labels(subject, data: Excerpts, contextual: float = 0.25, seed: int = 0) -> list[Explanation]:  # type: ignore[no-untyped-def]
    """One label for each unit: 8 words drawn by the root of their frequency, in two strengths; a share looks at the words before, too.

    They fire on about 5 % of the tokens; lists that fire more often cost more.
    """
    import json

    from autolabel.patterns.words import WordTable

    table = WordTable.build(data)
    count = np.bincount(table.surface, minlength=len(table.surfaces))
    folded: dict[str, int] = {}
    for word, n in zip(table.folded, count.tolist(), strict=True):
        folded[word] = folded.get(word, 0) + n
    words = np.array([w for w, n in folded.items() if n >= 5])
    share = np.array([folded[w] for w in words.tolist()], np.float64) ** 0.5
    rng = np.random.default_rng(seed)
    out = []
    for site in subject.sites:
        for u in range(site.width):
            pick = rng.choice(words, 11, replace=False, p=share / share.sum()).tolist()
            clauses: list[dict[str, object]] = [{"on": {"word": pick[:4]}}, {"on": {"word": pick[4:8]}, "strength": 0.5}]
            if rng.random() < contextual:
                clauses.append({"before": [{"word": pick[8:]}], "within": 1, "strength": 0.3})
            out.append(Explanation(Unit(subject.name, site.layer, site.name, u), "words", json.dumps({"any": clauses}), Maker("bench")))
    return out


def measure(subject, tokens: int = 40_000, rounds: int = 3, contextual: float = 0.25) -> Row:  # type: ignore[no-untyped-def]
    """Wall time of scoring over that of the faster bare pass; the note says what was scored, and the ratio of CPU times."""
    from autolabel.scorers import score_test
    from autolabel.scorers.labels import read_patterns

    data = excerpts(subject.tokenizer, tokens)
    test = TestEvidence(subject, lambda: iter([data]), len(data), data.n_tokens, statistics(subject, data))
    asked, last = labels(subject, data, contextual), subject.sites[-1:]

    def bare() -> None:
        for batch in data.batches(test.batch_size):
            subject.run(batch.tokens, last, lambda site, x, span: None)

    def apart() -> None:
        with Passes(subject, last) as passes:
            for batch in data.batches(test.batch_size):
                passes.add(partial(subject.run, batch.tokens, last), lambda site, x, span: None)

    def score() -> None:
        score_test(asked, [], test, kinds=False)

    def clock(work) -> tuple[float, float]:  # type: ignore[no-untyped-def]
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - wall, time.process_time() - cpu

    read_patterns(asked)  # text becomes patterns once, on select; what is measured is scoring
    score()  # loops are compiled on their first use
    ratios: list[tuple[float, float]] = []
    works = (bare, apart, score)
    for r in range(rounds):
        took = {work: clock(work) for work in works[r % 3:] + works[:r % 3]}
        ratios.append(tuple(took[score][i] / min(took[bare][i], took[apart][i]) for i in range(2)))  # type: ignore[arg-type]  # two of them
    wall, cpu = (averages.median(x) for x in zip(*ratios, strict=True))
    return Row(NAME, wall, BAR, f"{data.n_tokens:,} tokens, {len(asked):,} labels, {rounds} rounds; by CPU time {cpu:.3f}")


def bench(subject=None, tokens: int = 40_000, rounds: int = 3) -> list[Row]:  # type: ignore[no-untyped-def]
    """The row of the bar."""
    if subject is None:
        from autolabel.subjects import load_subject

        subject = load_subject("demo")
    return [measure(subject, tokens, rounds)]


if __name__ == "__main__":
    for row in bench(tokens=int(sys.argv[1]) if len(sys.argv) > 1 else 40_000, rounds=int(sys.argv[2]) if len(sys.argv) > 2 else 3):
        print(f"{row.name:60s} {row.ratio:6.3f}  <= {row.bar:.2f}  {row.note}")
