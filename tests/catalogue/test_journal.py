"""FILE.asked: what was in flight is known after a kill and after a power cut, at the price of few syncs."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autolabel.catalogue.journal import LONGEST, Journal
from autolabel.errors import CatalogueError


def test_a_call_is_noted_on_the_disk_before_it_is_sent_and_one_sync_serves_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "x.duckdb")
    safe: list[int] = []  # bytes of the file that each sync made safe

    def slow(handle: int) -> None:
        size = os.fstat(handle).st_size
        time.sleep(.02)
        safe.append(size)
    monkeypatch.setattr("autolabel.catalogue.journal._to_disk", slow)

    def begin(i: int) -> bool:
        journal.begin(f"{i:016x}", role="explain")
        return f"{i:016x}".encode() in journal.path.read_bytes()[:max(safe)]  # safe by the time that it returns
    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(begin, range(256)))
    assert 4 <= len(safe) < 64

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("autolabel.catalogue.journal._to_disk", full)
    with pytest.raises(CatalogueError, match="No space left on device; no call was sent"):
        journal.begin("f" * 16)
    for i in range(256):
        journal.end(f"{i:016x}")
    journal.close()
    assert not journal.path.exists()  # nothing is in flight, that call neither


def test_the_journal_stays_small_and_forgets_what_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.catalogue.journal._to_disk", lambda handle: None)  # 12,000 times
    path = tmp_path / "x.duckdb"
    journal = Journal(path)
    for i in range(12_000):
        journal.begin(f"{i:016x}", role="explain", excerpts=list(range(30)))
        if i % 1000:
            journal.end(f"{i:016x}")
    assert journal.path.stat().st_size <= LONGEST
    journal.close()  # as a killed process would leave it: calls are in flight
    assert {s["digest"] for s in Journal(path).left} >= {f"{i:016x}" for i in range(0, 12_000, 1000)}
    journal.path.write_bytes(journal.path.read_bytes()[:-20])  # a line that was cut
    assert len(Journal(path).left) >= 11
