"""A catalogue of a million labelled units: the best of those that a condition leaves, and the ten labels most like a text.

`python -m eval.bench.search [--quick]`. The rows are made in SQL, every label is another text, and the vectors of these texts are random ones of
unit length (embedding a million texts would take most of an hour): the time of a search does not depend on what they say. The
query is really embedded. Everything is timed in this process, file opened and closed each time: the least of several repetitions.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolabel.catalogue import Catalogue
from autolabel.embeddings import default_embedder
from autolabel.quantised import Quantised
from autolabel.searching import Searcher, name_of, search

UNITS = 1_000_000
WIDTH = 16_384  # units of a layer
DIMENSIONS = 384
FILTER = "SELECT unit, label, score, verdict FROM labels WHERE verdict = 'confirmed' AND score > .6 ORDER BY score DESC LIMIT 20"
QUERIES = ("clinical text", "words for units of time", "names of cities in Asia", "a verb in the past tense", "punctuation after a number")
EXPLANATIONS = """INSERT INTO explanations (id, model, layer, site, neuron, side, text, pattern, explainer, settings, run)
    SELECT substr(sha256(i::VARCHAR), 1, 16), 'big', (i // {width})::VARCHAR, 'mlp', i % {width}, '+',
           'words like "' || i % 7919 || '", near ' || i, '{{"any":[{{"on":{{"word":["' || i || '"]}}}}]}}', 'induce', '{{}}', 'bench'
    FROM range({units}) t(i)"""
CHOICES = """INSERT INTO choices (model, layer, site, neuron, side, explanation, label, pattern, of_control, explainer, simulator,
           score, ci_low, ci_high, peak, n, p_foreign, p_size, p, q_value, baseline, ceiling, rho_context, rho_new, carries_over, informative, rank,
           verdict, test_looks, cost_usd, extra, run)
    SELECT model, layer, site, neuron, side, id, text, pattern, false, explainer, 'pattern', u, u - .02, u + .02, v, 20000,
           v / 100, v / 50, v / 50, v / 40, u - .1, u + .2, u - .2, u - .3, u > .4, u > .5, 1 + (v * 1000)::INTEGER,
           CASE WHEN u > .5 THEN 'confirmed' WHEN u > .3 THEN 'partial' ELSE 'rejected' END, 1, 0.0, '{"se": 0.01}', 'bench'
    FROM (SELECT *, hash(id) / 18446744073709551616 AS u, hash(id, 1) / 18446744073709551616 AS v FROM explanations)"""


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    value: float  # milliseconds
    bar: str
    note: str = ""


def make(path: Path, units: int) -> Catalogue:
    """A catalogue with so many labelled units, and a vector for each of their texts."""
    catalogue = Catalogue.open(path, create=True)
    with catalogue.writer() as writer:
        writer.insert("models", {"name": ["big", "big~shuffled"], "hash": ["b", "s"], "is_control": [False, True]})
        writer.write(lambda c: c.execute(EXPLANATIONS.format(units=units, width=WIDTH)))
        writer.write(lambda c: c.execute(CHOICES))
        texts = catalogue.columns("SELECT label FROM labels")["label"].tolist()
        rng, name = np.random.default_rng(0), name_of(default_embedder())
        for first in range(0, units, 100_000):
            some = texts[first:first + 100_000]
            made = Quantised.of(rng.standard_normal((len(some), DIMENSIONS), np.float32))
            writer.insert("vectors", {"embedder": name, "text": some, "scale": made.scale, "vector": [row.tobytes() for row in made.values]})
    return catalogue


def least(work: Callable[[int], object], repetitions: int) -> float:
    """Milliseconds of the fastest of several repetitions, after one that does not count."""
    work(0)
    times = []
    for i in range(repetitions):
        began = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - began)
    return min(times) * 1e3


def bench(units: int = UNITS, repetitions: int = 15) -> Iterator[Row]:
    """All figures of the search."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue = make(Path(folder) / "big.duckdb", units)
        size = catalogue.path.stat().st_size / 1e6
        what = f"{units:,} labelled units"
        child = least(lambda i: catalogue.sql(FILTER), 3)
        yield Row(f"{what}: filter, order by, limit 20", least(lambda i: catalogue.read(FILTER), repetitions), "< 50",
                  f"file of {size:,.0f} MB, opened for the query and closed; through `Catalogue.sql` (a fenced process of its own) {child:.0f} ms")
        keyword = least(lambda i: search(catalogue, f"near {i}77", method="keyword"), repetitions)
        began = time.perf_counter()
        searcher = Searcher(catalogue)
        searcher.refresh()
        loading = time.perf_counter() - began
        embedding = least(lambda i: default_embedder().embed([QUERIES[i % len(QUERIES)]]), repetitions)
        yield Row(f"{what}: top 10 by meaning", least(lambda i: searcher.search(QUERIES[i % len(QUERIES)]), repetitions), "< 200",
                  f"random vectors in place of the labels'; {embedding:.0f} ms of it embed the query; loading them once took {loading:.1f} s; "
                  f"by keyword {keyword:.0f} ms")
        yield Row(f"{what}: top 10 by meaning, one layer, confirmed",
                  least(lambda i: searcher.search(QUERIES[i % len(QUERIES)], layer="3", verdict="confirmed"), repetitions), "none")


if __name__ == "__main__":
    for row in bench(*((100_000, 5) if "--quick" in sys.argv else ())):
        print(f"{row.name:60s} {row.value:7.1f} ms   bar {row.bar:6s} {row.note}")
