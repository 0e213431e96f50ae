from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from autolabel.catalogue import Catalogue, access
from autolabel.catalogue.export import export
from autolabel.errors import CatalogueError, QueryError, SetupError
from tests.catalogue.making import ROOT, small
from tests.catalogue.test_crash import broken_off
from tests.catalogue.test_locks import STREAM, started

RISKY = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"]


def test_a_snapshot_takes_the_log_with_it(tmp_path: Path) -> None:
    path = Catalogue.open(tmp_path / "x.duckdb", create=True).path
    broken_off(path, 7)
    assert access.beside(path, ".wal").stat().st_size > 0
    Catalogue.open(path).snapshot(tmp_path / "copy.duckdb")
    assert Catalogue.open(tmp_path / "copy.duckdb").read("SELECT count(*) FROM runs") == [(7,)]
    assert not access.beside(tmp_path / "copy.duckdb", ".wal").exists() and access.beside(path, ".wal").exists()


def test_snapshots_during_a_run_are_whole(tmp_path: Path) -> None:
    path = Catalogue.open(tmp_path / "x.duckdb", create=True).path
    counts = []
    with started(STREAM, path, 2) as child:
        for i in range(3):
            Catalogue.open(path).snapshot(tmp_path / f"{i}.duckdb")
            counts.append(Catalogue.open(tmp_path / f"{i}.duckdb").read("SELECT count(*) FROM calls")[0][0])
            time.sleep(.2)
        said = child.communicate(timeout=60)[0]
    assert counts == sorted(counts) and counts[-1] <= int(said)
    assert Catalogue.open(path).read("SELECT count(*) FROM calls") == [(int(said),)]


def test_a_snapshot_onto_itself_or_nowhere_is_refused(tmp_path: Path) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    with pytest.raises(CatalogueError, match="itself"):
        catalogue.snapshot(catalogue.path)
    with pytest.raises(CatalogueError, match="cannot write"):
        catalogue.snapshot(tmp_path / "no" / "y.duckdb")
    Catalogue.open(catalogue.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.duckdb"]


def test_formats_hold_the_same_rows(tmp_path: Path) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    want = catalogue.sql("FROM labels ORDER BY unit").dicts()
    query = "SELECT * FROM labels WHERE unit <> ';é' ORDER BY unit /* ; */ ; -- a note"
    assert [export(catalogue.path, query, tmp_path / name) for name in ("a.parquet", "a.csv", "a.jsonl")] == [3, 3, 3]
    with duckdb.connect() as c:
        assert [dict(zip(want[0], row, strict=True)) for row in c.execute(f"FROM '{tmp_path}/a.parquet'").fetchall()] == want
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == want
    with (tmp_path / "a.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["unit"] for row in rows] == [row["unit"] for row in want] and [row["score"] for row in rows] == ["", "0.4", "0.2"]
    assert export(catalogue.path, "exemplars", tmp_path / "e.csv") == 3 and export(catalogue.path, "FROM labels WHERE false", tmp_path / "none.jsonl") == 0
    assert next(line.partition(",")[0] for line in (tmp_path / "a.csv").read_text().splitlines()) == "unit"


def test_csv_cells_are_no_formulas(tmp_path: Path) -> None:
    catalogue = Catalogue.open(tmp_path / "x.duckdb", create=True)
    with catalogue.writer() as w:
        w.insert("runs", {"id": RISKY, "command": [text.encode().decode() for text in RISKY], "seed": -5})
    query = "SELECT id, -1.5 AS number, seed, id::BLOB AS bytes, [id] AS list, 'a=b' AS fine, id AS \"=HYPERLINK(1)\" FROM runs ORDER BY rowid"
    export(catalogue.path, query, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as handle:
        head, *rows = list(csv.reader(handle))
    assert [row[0] for row in rows] == ["'" + text for text in RISKY]
    assert all(row[1:3] == ["-1.5", "-5"] and row[5] == "a=b" for row in rows)
    assert not any(cell[:1] in "=+@\t\r" and cell for cell in [*head, *(cell for row in rows for cell in row)])


@pytest.mark.parametrize(("what", "word"), [("SELECT * FROM read_text('{dir}/x.txt')", "not allowed"), ("DROP TABLE runs", "DROP"),
                                            ("SELECT 1) TO '{dir}/evil.csv' --", "syntax"), ("nosuch", "there is no view 'nosuch': choose "), ("SELECT 1; SELECT 2", "2")])
def test_an_export_reaches_no_other_file(tmp_path: Path, what: str, word: str) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    (tmp_path / "x.txt").write_text("canary")
    with pytest.raises(QueryError) as caught:
        export(catalogue.path, what.replace("{dir}", str(tmp_path)), tmp_path / "out.csv")
    assert word in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.duckdb", "x.txt"]


def test_bad_targets_are_said(tmp_path: Path) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    with pytest.raises(QueryError, match="choose parquet, csv, jsonl"):
        export(catalogue.path, "labels", tmp_path / "a.xlsx")
    with pytest.raises(SetupError, match="no folder"):
        export(catalogue.path, "labels", tmp_path / "no" / "a.csv")


def killed_while_exporting(tmp_path: Path, how_often: int) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    target = tmp_path / "a.jsonl"
    export(catalogue.path, "FROM range(10)", target)
    whole = 10, 300_000
    code = "import sys; from pathlib import Path; from autolabel.catalogue.export import export\n" \
           "export(Path(sys.argv[1]), 'FROM range(300000)', Path(sys.argv[2]))"
    rng = random.Random(6)
    for _ in range(how_often):
        child = subprocess.Popen([sys.executable, "-c", code, str(catalogue.path), str(target)], cwd=ROOT)
        time.sleep(rng.uniform(.1, 1.2))
        child.send_signal(signal.SIGKILL)
        child.wait()
        lines = target.read_text().splitlines()
        assert len(lines) in whole and all(json.loads(line) for line in (lines[0], lines[-1]))


def test_a_killed_export_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    killed_while_exporting(tmp_path, 4)


@pytest.mark.soak
def test_fifty_killed_exports(tmp_path: Path) -> None:
    killed_while_exporting(tmp_path, 50)
