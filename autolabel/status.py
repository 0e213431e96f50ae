"""What a run is doing, read from beside the catalogue and from the catalogue itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

from autolabel.catalogue import Catalogue
from autolabel.catalogue.lock import holder
from autolabel.pipeline.progress import read_progress


def read_status(db: str | Path) -> list[tuple[str, str, str]]:
    """Rows (what, state, detail): the writing process, its stage with rate and time left, the runs, the models."""
    rows: list[tuple[str, str, str]] = []
    held = holder(Path(db))
    state = read_progress(db)
    going = held is not None or (state is not None and _alive(int(state["pid"])))
    if state and _alive(int(state["pid"])):
        done, total, seconds = state["done"], state["total"], max(float(state["seconds"]), 1e-6)
        rate = done / seconds
        left = f", {(total - done) / rate:,.0f} s left" if total and rate > 0 else ""
        of = f" of {total:,}" if total else ""
        rows.append(("now", str(state["stage"]), f"{done:,}{of}, {rate:,.0f}/s{left}, seen {time.time() - float(state['updated']):.0f} s ago"))
    if held:
        rows.append(("writer", f"PID {held['pid']}", f"{held['command']}, since {held['since']}"))
    catalogue = Catalogue.open(db)
    for command, model, run_state, started, finished in catalogue.read(
            "SELECT command, model, state, started, finished FROM runs ORDER BY started DESC LIMIT 12"):
        seconds_taken = f", {(finished - started).total_seconds():,.0f} s" if finished else ""
        said = "killed" if run_state == "running" and not going else run_state
        rows.append((f"run {command}", said, f"{model}, started {started:%Y-%m-%d %H:%M:%S} UTC{seconds_taken}"))
    for name, units, labelled in catalogue.read(
            "SELECT u.model, count(*), (SELECT count(*) FROM choices c WHERE c.model = u.model) FROM units u GROUP BY u.model ORDER BY 1"):
        rows.append((f"model {name}", "extracted", f"{units:,} units, {labelled:,} of them attempted"))
    return rows


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
