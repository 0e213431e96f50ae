"""Ctrl-C where Python alone would not hear it: in libraries that swallow it, make another error of it, or die of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import heed_interrupts

COMMAND = """
import time
from pathlib import Path
import click
import duckdb
from autolabel.catalogue import Catalogue
from autolabel.cli.main import cli, main

QUERY = "SELECT sum(sin(range)) FROM range(100000000)"

def ours():
    catalogue = Catalogue.open(Path("x.duckdb"), create=True)
    Path("ready").touch()
    try:
        while True:
            catalogue.read(QUERY)
    except KeyboardInterrupt:
        Path("heard").touch()
        raise

class Late:
    def __del__(self):
        Path("ready").touch()
        time.sleep(1)

@cli.command()
def work():
    {body}

main(["work"])
"""
WAYS = {
    "as it is": "Path('ready').touch(); time.sleep(30)",
    "through exec": "exec(\"Path('ready').touch(); time.sleep(30)\")",
    "ignored in a finaliser": "late = Late(); del late; time.sleep(30)",
    "an error of DuckDB": "Path('ready').touch()\n    while True: duckdb.sql(QUERY).fetchall()",
    "a query of ours": "ours()",
    "while a module is imported": "import slow; Path('kept').write_text(slow.whole); time.sleep(30)",
}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")
@pytest.mark.parametrize("way", list(WAYS))
def test_ends_in_a_line(tmp_path: Path, way: str) -> None:
    (tmp_path / "command.py").write_text(COMMAND.format(body=WAYS[way]))
    (tmp_path / "slow.py").write_text("import time\nfrom pathlib import Path\nPath('ready').touch()\ntime.sleep(1)\nPath('imported').touch()\nwhole = 'whole'\n")
    child = subprocess.Popen([sys.executable, "-m", "command"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                             stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    while not (tmp_path / "ready").exists() and child.poll() is None:
        time.sleep(.01)
    time.sleep(.2)
    child.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and err.endswith("interrupted; run the same command again and it goes on where it stopped\n"), err
    assert time.monotonic() - began < 20
    assert (tmp_path / "heard").exists() == (way == "a query of ours")
    assert (tmp_path / "imported").exists() == (way == "while a module is imported")
