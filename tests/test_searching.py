"""Search by meaning: exact within 8-bit rounding, stored once, resumed, and in memory alone where the file cannot be written to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from autolabel.catalogue import Catalogue, vectors
from autolabel.errors import LockedError, SetupError
from autolabel.quantised import SHARE, Quantised, best
from autolabel.searching import Searcher, name_of, search

D = 48
LABELS = [f"words like “{i}”" for i in range(3000)]


@dataclass
class Hashed:
    """A vector of its own for every text; counts what it is asked, and can die."""

    hash: str = "h1"
    asked: list[str] = field(default_factory=list)
    dies_after: int = 10**9

    def embed(self, texts: list[str], /) -> np.ndarray:
        if len(self.asked) + len(texts) > self.dies_after:
            raise KeyboardInterrupt
        self.asked += [text for text in texts if text != "a"]  # that one only says how long a vector is
        seeds = [int(hashlib.sha256(t.encode()).hexdigest()[:12], 16) for t in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(D) for seed in seeds]).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def make(path: Path, labels: list[str] = LABELS) -> Catalogue:
    catalogue = Catalogue.open(path, create=True)
    n = len(labels)
    address = {"model": "m", "layer": [str(i % 2) for i in range(n)], "site": "mlp", "neuron": np.arange(n), "side": "+"}
    with catalogue.writer() as w:
        w.insert("models", {"name": ["m", "m~shuffled"], "hash": "h", "is_control": [False, True]})
        w.insert("units", {**address, "layer_order": [i % 2 for i in range(n)]})
        verdict = ["confirmed" if i % 3 else "partial" for i in range(n)]
        w.insert("choices", {**address, "label": labels, "score": np.arange(n) / n, "verdict": verdict})
        w.insert("choices", {"model": "m~shuffled", "label": "of the control", "of_control": True, "verdict": "confirmed"})
    return catalogue


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return make(tmp_path / "x.duckdb")


@pytest.mark.parametrize("n", [0, 5, SHARE + 700])
def test_cosines_are_exact_within_the_rounding(n: int) -> None:
    rng = np.random.default_rng(0)
    x, q = unit(rng.standard_normal((n, 384)).astype(np.float32)), unit(rng.standard_normal((1, 384)).astype(np.float32))[0]
    x[:1] = q
    made = Quantised.of(x)
    found = made.cosines(q)
    assert made.values.dtype == np.int8 and found.shape == (n,) and np.abs(found - x @ q).max(initial=0) < .002 and found.max(initial=0) <= 1
    assert list(best(found, 1)) == [0][:n]


def test_the_best_are_in_order_and_the_earlier_of_equals_comes_first() -> None:
    values = np.array([1, 3, 2, 3, 0, 2, 2], np.float32)
    assert [list(best(values, k)) for k in (1, 2, 3, 4, 9)] == [[1], [1, 3], [1, 3, 2], [1, 3, 2, 5], [1, 3, 2, 5, 6, 0, 4]]


def test_it_finds_what_comparing_with_every_float_finds(catalogue: Catalogue) -> None:
    embedder = Hashed()
    searcher = Searcher(catalogue, embedder=embedder)
    for query in ("x", "numbers", LABELS[7]):
        exact = unit(embedder.embed(LABELS)) @ unit(embedder.embed([query]))[0]
        found = searcher.search(query)
        said = {row[2]: row[0] for row in found.rows}
        true = np.array([exact[LABELS.index(label)] for label in said])
        assert np.abs(np.array(list(said.values())) - true).max() < .01 and (np.diff(true) < .01).all()  # 48 dimensions: .01 is their rounding
        tenth = np.sort(exact)[-10]
        assert len(said) == 10 and set(said) >= {LABELS[i] for i in np.flatnonzero(exact > tenth + .01)} and true.min() > tenth - .01
    assert found.rows[0][1:3] == ("m/1-mlp/7", LABELS[7]) and found.rows[0][0] > .999 and found.note == ""


def test_filters_are_exact_and_a_control_is_never_found(catalogue: Catalogue) -> None:
    searcher = Searcher(catalogue, embedder=Hashed())
    everything = searcher.search("x", limit=3001).rows
    assert len(everything) == 3000 and [r[0] for r in everything] == sorted((r[0] for r in everything), reverse=True)
    for layer, verdict in (("1", ""), ("", "partial"), ("0", "partial")):
        kept = [r for r in everything if (not layer or f"/{layer}-" in r[1]) and verdict in ("", r[4])]
        assert searcher.search("x", limit=400, layer=layer, verdict=verdict, model="m").rows == kept[:400]
        assert search(catalogue, "“1", method="keyword", limit=9, layer=layer, verdict=verdict).rows == [
            r[1:] for r in sorted((r for r in kept if "“1" in r[2]), key=lambda r: -r[3])[:9]]
    for wrong, words in (({"layer": "7"}, "layers 0, 1"), ({"verdict": "good"}, "confirmed"), ({"model": "nobody"}, "no model"),
                         ({"limit": 0}, "1 or more")):
        with pytest.raises(SetupError, match=words):
            searcher.search("x", **wrong)
    with pytest.raises(SetupError, match="some words"):
        searcher.search(" ")


def test_vectors_are_made_once_and_a_killed_search_goes_on(catalogue: Catalogue) -> None:
    with pytest.raises(KeyboardInterrupt):
        Searcher(catalogue, embedder=Hashed(dies_after=2500)).search("x")
    assert catalogue.read("SELECT count(*), count(DISTINCT text) FROM vectors") == [(2048, 2048)]
    second = Hashed()
    seen: list[tuple[str, int, int | None]] = []
    found = Searcher(catalogue, embedder=second, progress=lambda *x: seen.append(x)).search("x").rows
    assert len(second.asked) == 952 + 1 and ("loading vectors", 2048, 3000) in seen and seen[-1] == ("embedding labels", 952, 952)
    third = Hashed()
    again = Searcher(catalogue, embedder=third)
    assert again.search("x").rows == found and third.asked == ["x"]
    with catalogue.writer() as w:  # another label comes, and an old one goes
        w.write(lambda c: c.execute("UPDATE choices SET label = 'a new one' WHERE label = ?", [found[0][2]]))
    assert again.search("a new one").rows[0][2] == "a new one" and third.asked == ["x", "a new one", "a new one"]
    assert found[0][2] not in {row[2] for row in again.search("x", limit=3000).rows}
    other = Hashed(hash="h2")
    Searcher(catalogue, embedder=other).search("x")
    assert len(other.asked) == 3001  # another model's vectors are not taken for its own


def test_what_cannot_be_written_is_said_and_searched_all_the_same(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise LockedError("x is being written by process 1: wait for it")
    with monkeypatch.context() as m:
        m.setattr(vectors, "write", refuse)
        found = Searcher(catalogue, embedder=Hashed()).search("x")
    assert len(found.rows) == 10 and "3,000 texts" in found.note and "process 1" in found.note
    assert catalogue.read("SELECT count(*) FROM vectors") == [(0,)] and Searcher(catalogue, embedder=Hashed()).search("x").rows == found.rows


def test_rows_of_a_stranger_s_file_that_are_no_vectors_are_made_anew(tmp_path: Path) -> None:
    catalogue, embedder = make(tmp_path / "x.duckdb", LABELS[:20]), Hashed()
    right = Searcher(catalogue, embedder=embedder).search("x", limit=20).rows
    with catalogue.writer() as w:
        for change in ("vector = 'short'::BLOB", "scale = 'nan'", "scale = -1", "vector = NULL"):
            some = "SELECT text FROM vectors WHERE scale > 0 AND octet_length(vector) = 48 ORDER BY text LIMIT 3"
            w.write(lambda c, change=change, some=some: c.execute(f"UPDATE vectors SET {change} WHERE text IN ({some})"))
        w.write(lambda c: c.execute("INSERT INTO vectors SELECT * FROM vectors"))  # and twice
        w.write(lambda c: c.execute("INSERT INTO vectors VALUES (?, NULL, 1, repeat('a', 48)::BLOB)", [name_of(embedder)]))
    assert Searcher(catalogue, embedder=embedder).search("x", limit=20).rows == right
    good = "octet_length(vector) = 48 AND scale > 0 AND isfinite(scale) AND text IS NOT NULL"
    assert catalogue.read(f"SELECT count(DISTINCT text) FROM vectors WHERE {good}") == [(20,)]


def test_a_query_of_broken_characters_and_a_label_without_end_are_searched(tmp_path: Path) -> None:
    catalogue, embedder = make(tmp_path / "x.duckdb", ["long " * 100_000, "\x1b[31mred"]), Hashed()
    assert len(Searcher(catalogue, embedder=embedder).search("\ud800").rows) == 2 and max(map(len, embedder.asked)) <= 4000
    assert search(catalogue, "\ud800%_", method="keyword").rows == []
