"""How far a long run is: a function that the library calls, and a small file that another terminal reads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Progress = Callable[[str, int, int | None], None]  # stage, done, total (None where unknown)


def silent(stage: str, done: int, total: int | None) -> None:
    """Says nothing."""


def stage(progress: Progress, name: str) -> Callable[[int, int | None], None]:
    """`progress` with its stage filled in: what extract and ingest call."""
    return lambda done, total: progress(name, done, total)


class Published:
    """Writes the latest figures to FILE.progress, at most once a second, and removes it at the end."""

    def __init__(self, db: str | Path) -> None:
        self.path = Path(f"{db}.progress")
        self._written = 0.0
        self._stage, self._began = "", time.time()

    def report(self, stage: str, done: int, total: int | None) -> None:
        """One figure; the first of a stage starts its clock."""
        now = time.time()
        if stage != self._stage:
            self._stage, self._began = stage, now
        elif now - self._written < 1 and done != total:
            return
        self._written = now
        seconds = now - self._began
        state = {"pid": os.getpid(), "stage": stage, "done": done, "total": total, "seconds": round(seconds, 1), "updated": now}
        try:
            beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            beside.write_text(json.dumps(state), "utf-8")
            beside.replace(self.path)
        except OSError:  # a full disk must not end the run for the sake of a progress line
            return

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def read_progress(db: str | Path) -> dict[str, Any] | None:
    """The latest figures of the process that writes to `db`, None where there is none."""
    try:
        state: dict[str, Any] = json.loads(Path(f"{db}.progress").read_text("utf-8"))
        return state
    except (OSError, ValueError):
        return None
