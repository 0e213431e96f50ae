"""A run that asks a server, as a user starts it: killed, interrupted, done again; nothing is paid twice and the end is the same."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from tests.conftest import ROOT, heed_interrupts
from tests.llms.server import Server

UNITS = "4/0-59"
KEY = "sk-canary-0123456789"


def answer(body: dict[str, Any]) -> str:
    """Depends on the question alone."""
    return f"LABEL: words of kind {sum(map(ord, body['messages'][-1]['content'])) % 997}"


def command(db: Path, url: str) -> list[str]:
    return [sys.executable, "-m", "autolabel", "explain", "--explainer", "summary", "--llm", "openai/test-model", "--base-url", url, "--units", UNITS,
            "--db", str(db), "--concurrency", "4"]


def start(db: Path, url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(db, url), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=heed_interrupts)


def rows(db: Path) -> list[tuple[Any, ...]]:
    return al.open_catalogue(db).read("SELECT id, text, abstained FROM explanations WHERE explainer = 'summary' ORDER BY id")


def asked(server: Server, seconds: float, more: int) -> None:
    """Wait until the server has `more` further requests."""
    have, limit = len(server.chats), time.monotonic() + seconds
    while len(server.chats) < have + more and time.monotonic() < limit:
        time.sleep(0.01)


def killed_and_whole(small: Path, folder: Path, kills: int, seed: int) -> None:
    db, whole = folder / "killed.duckdb", folder / "whole.duckdb"
    shutil.copy(small, db)
    shutil.copy(small, whole)
    rng = random.Random(seed)
    with Server(answer, latency=0.05, key=KEY) as server:
        for _ in range(kills):
            child = start(db, server.url)
            asked(server, 60, rng.randint(2, 12))
            time.sleep(rng.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
            child.communicate()
        child = start(db, server.url)
        _, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        catalogue = al.open_catalogue(db)
        stored = Counter(d for (d,) in catalogue.read("SELECT digest FROM calls WHERE state = 'done'"))
        lost = catalogue.read("SELECT count(*) FROM calls WHERE state = 'lost'")[0][0]
        assert max(stored.values()) == 1 and lost <= 4 * kills  # at most what was in flight
        assert sum(server.answered.values()) <= len(stored) + lost
        before = len(server.chats)
        child = start(db, server.url)
        child.communicate(timeout=120)
        assert child.returncode == 0 and len(server.chats) == before
        start(whole, server.url).communicate(timeout=120)
    assert rows(db) == rows(whole) and len(rows(db)) == 60
    for file in folder.iterdir():
        assert KEY.encode() not in file.read_bytes(), file.name


@pytest.mark.slow
def test_killed_runs_end_as_a_whole_one(small: Path, tmp_path: Path) -> None:
    killed_and_whole(small, tmp_path, 2, 0)


@pytest.mark.soak
def test_twenty_kills(small: Path, tmp_path: Path) -> None:
    killed_and_whole(small, tmp_path, 20, 1)


@pytest.mark.slow
def test_an_interrupt_settles_what_is_in_flight_and_says_how_to_go_on(small: Path, tmp_path: Path) -> None:
    db = tmp_path / "c.duckdb"
    shutil.copy(small, db)
    with Server(answer, latency=0.3, key=KEY) as server:
        child = start(db, server.url)
        asked(server, 60, 4)
        child.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = child.communicate(timeout=60)
        assert child.returncode == 130 and "run the same command again" in err and "Traceback" not in err and time.monotonic() - began < 10
        stored = al.open_catalogue(db).read("SELECT count(*) FROM calls WHERE state = 'done'")[0][0]
        assert stored == sum(server.answered.values())  # everything that was answered is kept
        child = start(db, server.url)
        child.communicate(timeout=120)
        assert child.returncode == 0 and max(server.answered.values()) == 1
    assert len(rows(db)) == 60
