"""Processes that die, logs that are cut or broken, disks that are full: nothing confirmed is lost, nothing is lost in silence."""

from __future__ import annotations

import random
import re
import resource
import shutil
import signal
from pathlib import Path

import duckdb
import pytest

from autolabel.catalogue import Catalogue, Writer, access
from autolabel.errors import CatalogueError
from tests.catalogue.making import python

# Writes rows 0, 1, 2, ... and says each one once it is confirmed; dies at the N-th time that a commit reaches a point.
WRITE = """
import os, signal, sys
from autolabel.catalogue import Catalogue, Writer, writer
writer.GATHER = 0.0
path, point, times, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
catalogue = Catalogue.open(path)
left = [times]
def at(name):
    if name == point:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
Writer.at_point = staticmethod(at)
done = {i for (i,) in catalogue.read("SELECT id FROM runs")}
with catalogue.writer() as w:
    for i in range(rows):
        if str(i) not in done:
            w.insert("runs", {"id": str(i), "settings": '{"n": "%s"}' % ("x" * 50)})
            print(i, flush=True)
"""
POINTS = ("begun", "worked", "committed", "noted", "closed")


def rows(catalogue: Catalogue) -> list[str]:
    return [i for (i,) in catalogue.read("SELECT id FROM runs ORDER BY id::INT")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Catalogue.open(tmp_path / "x.duckdb", create=True).path


def killed_and_resumed(path: Path, point: str, times: int, n: int) -> None:
    dead = python(WRITE, path, point, times, n)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    confirmed = dead.stdout.split()
    here = rows(Catalogue.open(path))
    assert set(confirmed) <= set(here) and len(here) == len(set(here)) and len(here) <= len(confirmed) + 1
    done = python(WRITE, path, "never", 0, n)
    assert done.returncode == 0 and done.stderr == ""
    assert rows(Catalogue.open(path)) == [str(i) for i in range(n)]
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.duckdb"]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_point_of_a_commit_loses_nothing(path: Path, point: str) -> None:
    killed_and_resumed(path, point, random.Random(point).randrange(1, 5), 6)


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("times", range(40))
def test_a_kill_at_every_commit_loses_nothing(path: Path, point: str, times: int) -> None:
    killed_and_resumed(path, point, times, 41)


def broken_off(path: Path, n: int) -> tuple[bytes, bytes, bytes]:
    """A catalogue whose last `n` commits are in the log only (the disk was full for checkpoints, say), all confirmed: its three files."""
    code = """
import os, signal, sys
from pathlib import Path
import duckdb
from autolabel.catalogue import ledger
path = Path(sys.argv[1])
connection = duckdb.connect(str(path))
for i in range(int(sys.argv[2])):
    connection.execute("BEGIN")
    connection.execute("INSERT INTO runs (id) VALUES (?)", [str(i)])
    note = ledger.record(connection)
    connection.execute("COMMIT")
    ledger.write_note(path, note)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python(code, path, n).returncode == -signal.SIGKILL
    return path.read_bytes(), access.beside(path, ".wal").read_bytes(), access.beside(path, ".ledger").read_bytes()


def put(path: Path, main: bytes, wal: bytes, note: bytes) -> None:
    for old in path.parent.iterdir():
        old.unlink()
    path.write_bytes(main)
    access.beside(path, ".wal").write_bytes(wal)
    access.beside(path, ".ledger").write_bytes(note)


def test_a_log_in_full_is_taken_in(path: Path) -> None:
    put(path, *broken_off(path, 5))
    catalogue = Catalogue.open(path)
    assert rows(catalogue) == [str(i) for i in range(5)]
    with catalogue.writer() as w:
        w.insert("runs", {"id": "5"})
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.duckdb"]


def cut(path: Path, how_often: int) -> None:
    rng = random.Random(3)
    main, wal, note = broken_off(path, 12)
    silent = []
    for _ in range(how_often):
        at = rng.randrange(len(wal))
        put(path, main, wal[:at], note)
        try:
            opened = Catalogue.open(path)
        except CatalogueError as error:
            said = re.search(r"the ledger says (\d+) rows, the file has (\d+)", str(error))
            assert said and int(said[1]) == 12 and int(said[2]) < 12, error
        else:
            silent += [at] if not opened.warnings else []
    assert silent == []


def test_a_cut_log_is_reported(path: Path) -> None:
    cut(path, 10)


@pytest.mark.soak
def test_a_cut_log_is_reported_100_of_100(path: Path) -> None:
    cut(path, 100)


def test_a_missing_log_is_reported_and_one_can_go_on(path: Path) -> None:
    main, _, note = broken_off(path, 3)
    put(path, main, b"", note)
    access.beside(path, ".wal").unlink()
    with pytest.raises(CatalogueError, match=r"the ledger says 3 rows, the file has 0 .*the last 3 commits are gone.*x\.duckdb\.ledger"):
        Catalogue.open(path)
    access.beside(path, ".ledger").unlink()
    assert rows(Catalogue.open(path)) == []


def test_the_note_of_another_file_does_not_count(path: Path, tmp_path: Path) -> None:
    broken_off(path, 3)
    other = Catalogue.open(tmp_path / "y.duckdb", create=True).path
    shutil.copy(access.beside(path, ".ledger"), access.beside(other, ".ledger"))
    Catalogue.open(other)
    access.beside(other, ".ledger").write_bytes(b"\xff{ broken")
    Catalogue.open(other)


def flip(path: Path, how_often: int) -> None:
    rng = random.Random(4)
    main, wal, note = broken_off(path, 12)
    aside = 0
    for _ in range(how_often):
        broken = bytearray(wal)
        broken[rng.randrange(len(wal))] ^= 1 << rng.randrange(8)
        put(path, main, bytes(broken), note)
        try:
            catalogue = Catalogue.open(path)
        except CatalogueError as error:
            assert "the ledger says 12 rows" in str(error)
            continue
        if rows(catalogue) == [str(i) for i in range(12)]:
            continue  # a byte that means nothing
        kept = [p for p in path.parent.iterdir() if ".wal.corrupt-" in p.name]
        assert len(kept) == 1 and kept[0].read_bytes() == bytes(broken)
        assert len(catalogue.warnings) == 1 and str(path) in catalogue.warnings[0] and kept[0].name in catalogue.warnings[0]
        assert "the ledger says 12 rows, the file has 0" in catalogue.warnings[0]
        assert rows(Catalogue.open(path)) == []
        aside += 1
    assert aside > .8 * how_often


def test_a_log_that_cannot_be_read_is_kept_and_the_checkpoint_opens(path: Path) -> None:
    flip(path, 6)


@pytest.mark.soak
def test_a_log_that_cannot_be_read_50_times(path: Path) -> None:
    flip(path, 50)


def test_a_broken_log_is_not_touched_while_a_writer_lives(path: Path) -> None:
    main, wal, note = broken_off(path, 3)
    put(path, main, wal[:200] + b"\xff" * 20 + wal[220:], note)
    holder = "import sys; from pathlib import Path; from autolabel.catalogue.lock import FileLock\n" \
             "lock = FileLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    import subprocess
    import sys

    from tests.catalogue.making import ROOT
    with subprocess.Popen([sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None and child.stdin is not None and child.stdout.readline() == b"held\n"
        with pytest.raises(CatalogueError, match=f"process {child.pid}"):
            Catalogue.open(path)
        assert access.beside(path, ".wal").exists()
        child.stdin.close()
    assert Catalogue.open(path).warnings


FULL = """
import resource, sys
from autolabel.catalogue import Catalogue
from autolabel.errors import SetupError
import numpy as np
catalogue = Catalogue.open(sys.argv[1])
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
confirmed = 0
try:
    with catalogue.writer() as w:
        for i in range(40):
            w.insert("activations", {"neuron": i, "rank": np.arange(500), "activations": np.random.default_rng(i).random((500, 64))})
            confirmed = i + 1
            print(confirmed, flush=True)
except SetupError as error:
    print("error:", error)
"""


@pytest.mark.parametrize("extra", [100_000, 700_000, 2_100_000])
def test_a_full_disk_is_said_and_loses_nothing(path: Path, extra: int) -> None:
    done = python(FULL, path, path.stat().st_size + extra)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    *confirmed, last = done.stdout.splitlines()
    assert last.startswith("error:") and "no room left" in last and str(path) in last, done.stdout
    catalogue = Catalogue.open(path)
    neurons = [n for (n,) in catalogue.read("SELECT neuron FROM activations GROUP BY neuron HAVING count(*) = 500 ORDER BY 1")]
    assert neurons[:len(confirmed)] == list(range(len(confirmed))) and len(neurons) <= len(confirmed) + 1
    with catalogue.writer() as w:
        w.insert("runs", {"id": "after"})
    assert rows_of(catalogue, "runs") == 1


def rows_of(catalogue: Catalogue, table: str) -> int:
    return int(catalogue.read(f"SELECT count(*) FROM {table}")[0][0])


class Raises:
    """A connection whose COMMIT raises, after or instead of doing it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, made: bool) -> None:
        self.connection, self.made = connection, made

    def execute(self, sql: str, *rest: object) -> object:
        if sql == "COMMIT":
            self.connection.execute(sql if self.made else "ROLLBACK")
            raise duckdb.IOException("IO Error: fsync failed")
        return self.connection.execute(sql, *rest)

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


@pytest.mark.parametrize("made", [True, False])
def test_a_commit_in_doubt_is_looked_up(path: Path, made: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue.open(path)
    knock = access._knock

    def doubtful(path: Path, read_only: bool, config: dict[str, str], patience: float) -> object:
        connection = knock(path, read_only, config, patience)
        return connection if read_only else Raises(connection, made)
    with catalogue.writer() as w:
        w.insert("runs", {"id": "0"})
        monkeypatch.setattr(access, "_knock", doubtful)
        if made:
            w.insert("runs", {"id": "1"})
        else:
            with pytest.raises(CatalogueError, match="fsync failed"):
                w.insert("runs", {"id": "1"})
        monkeypatch.undo()
        w.insert("runs", {"id": "2"})
    assert rows(Catalogue.open(path)) == (["0", "1", "2"] if made else ["0", "2"])


def test_no_noise_at_exit(path: Path) -> None:
    done = python("import sys; from autolabel.catalogue import Catalogue\nc = Catalogue.open(sys.argv[1])\n"
                  "with c.writer() as w: w.insert('runs', {'id': '1'})\nc.read('FROM runs'); c.columns('FROM runs'); list(c.excerpts('a', 'test'))\n"
                  "c.sql('FROM labels')", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_exception_in_the_users_block_still_commits_and_lets_go(path: Path) -> None:
    catalogue = Catalogue.open(path)
    with pytest.raises(ZeroDivisionError), catalogue.writer() as w:
        w.insert("runs", {"id": "1"})
        raise ZeroDivisionError
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.duckdb"] and rows(catalogue) == ["1"]


assert Writer and resource  # both are used inside the scripts above
