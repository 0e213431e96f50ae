from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autolabel.catalogue import Catalogue, access, lock
from autolabel.errors import LockedError
from tests.catalogue.making import ROOT, python

HOLD = """
import sys
from autolabel.catalogue import Catalogue
with Catalogue.open(sys.argv[1]).writer() as w:
    w.insert("runs", {"id": "1"})
    print("held", flush=True)
    sys.stdin.read()
"""
STREAM = """
import sys, time
from autolabel.catalogue import Catalogue
with Catalogue.open(sys.argv[1]).writer() as w:
    print("held", flush=True)
    until, i, jobs = time.monotonic() + float(sys.argv[2]), 0, []
    while time.monotonic() < until:
        w.submit(lambda c, i=i: c.execute("INSERT INTO calls (digest, reply) VALUES (?, ?)", [str(i), "x" * 500]))
        i += 1
        time.sleep(.005)
print(i)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Catalogue.open(tmp_path / "x.duckdb", create=True).path


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def test_a_second_writer_is_refused_at_once_and_told_who_writes(path: Path) -> None:
    with started(HOLD, path) as child:
        before = time.monotonic()
        with pytest.raises(LockedError) as caught, Catalogue.open(path).writer():
            pass
        assert time.monotonic() - before < 1
        assert re.search(rf"process {child.pid} \(-c .*, since 20\d\d-\d\d-\d\d ", str(caught.value)) and "\n" not in str(caught.value)
        said = lock.holder(path)
        assert said is not None and said["pid"] == str(child.pid)
        assert Catalogue.open(path).read("SELECT id FROM runs") == [("1",)]
        child.kill()
    assert lock.holder(path) is None
    with Catalogue.open(path).writer() as w:  # a dead holder's lock is taken over
        w.insert("runs", {"id": "2"})
        said = lock.holder(path)
        assert said is not None and said["pid"] == str(os.getpid())
    assert not access.beside(path, ".lock").exists() and lock.holder(path) is None


@pytest.mark.parametrize("text", ["", "pid: 999999999\n", "rubbish \xff", "pid: 1\ncommand: x\nsince: y\n"])
def test_a_lock_file_that_nobody_holds_is_taken_over(path: Path, text: str) -> None:
    access.beside(path, ".lock").write_text(text, "latin-1")
    with Catalogue.open(path).writer() as w:
        w.insert("runs", {"id": "1"})


def test_the_lock_is_exclusive_under_a_race(path: Path) -> None:
    code = """
import sys, time
from autolabel.catalogue import Catalogue
from autolabel.errors import LockedError
catalogue, n = Catalogue.open(sys.argv[1]), 0
while n < 8:
    try:
        with catalogue.writer() as w:
            w.write(lambda c: c.execute("INSERT INTO runs (id) SELECT CAST(count(*) AS VARCHAR) FROM runs"))
            n += 1
    except LockedError:
        time.sleep(.002)
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert sorted(int(i) for (i,) in Catalogue.open(path).read("SELECT id FROM runs")) == list(range(24))


def test_a_reader_during_a_run_is_answered(path: Path) -> None:
    with started(STREAM, path, 3) as child:
        catalogue = Catalogue.open(path)
        waits, counts = [], []
        while child.poll() is None and len(waits) < 60:
            before = time.monotonic()
            counts.append(catalogue.read("SELECT count(*) FROM calls")[0][0])
            waits.append(time.monotonic() - before)
            time.sleep(.03)
        assert child.stdout is not None
        said = child.communicate(timeout=60)[0]
    assert len(waits) >= 3 and max(waits) < 5 and np.median(waits) < 1  # on a busy machine; 18 ms on a quiet one
    assert counts == sorted(counts) and counts[-1] > counts[0]
    assert catalogue.read("SELECT count(*) FROM calls") == [(int(said),)]


def test_sql_during_a_run_is_answered(path: Path) -> None:
    with started(STREAM, path, 2) as child:
        catalogue = Catalogue.open(path)
        assert all(len(catalogue.sql("SELECT count(*) FROM calls")) == 1 for _ in range(3))
        child.communicate(timeout=60)


def test_the_writer_waits_for_a_reader(path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from autolabel.catalogue import access
with access.reading(Path(sys.argv[1])) as connection:
    connection.execute("SELECT 1")
    print("held", flush=True)
    time.sleep(1)
"""
    with started(code, path), Catalogue.open(path).writer() as w:
        before = time.monotonic()
        w.insert("runs", {"id": "1"})
        assert .2 < time.monotonic() - before < 30
    assert python("import sys; from autolabel.catalogue import Catalogue; print(Catalogue.open(sys.argv[1]).read('SELECT id FROM runs'))",
                  path).stdout == "[('1',)]\n"
