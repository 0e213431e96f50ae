"""SQL of a user or in a foreign file: fenced in, in a child process that is killed when its time is up.

`memory_limit` alone is no limit (one query reached 20 GB under it) and a running query cannot be interrupted reliably, so
the kernel's limits hold: address space, processor time, no file written. What comes back is JSON, never code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from autolabel.catalogue import access
from autolabel.catalogue.schema import read_config
from autolabel.errors import CatalogueError, LockedError, QueryError

ANSWER = 256 * 2**20  # bytes of an answer, at most
EARLY = 0.15  # seconds kept back for ending the child, so that the caller has its answer within `timeout`
_CHILD = Path(__file__).with_name("child.py")
_UNITS = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")  # no keys among them
_DECODE: Mapping[str, Callable[[Any], Any]] = {  # kind -> from text
    "bytes": bytes.fromhex, "datetime": datetime.fromisoformat, "date": date.fromisoformat, "time": clock.fromisoformat,
    "timedelta": lambda text: timedelta(seconds=float(text)), "Decimal": Decimal, "UUID": UUID,
}


@dataclass(frozen=True)
class Result:
    """What a statement answered."""

    columns: list[str]  # names, in order
    types: list[str]  # DuckDB's types of them
    rows: list[tuple[Any, ...]]  # plain values
    more: bool = False  # there were more rows than `max_rows`

    def __len__(self) -> int:
        return len(self.rows)

    def dicts(self) -> list[dict[str, Any]]:
        """One dictionary per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def n_bytes(text: str) -> int:
    """`2GiB` -> 2147483648. Raises QueryError."""
    unit = text.lstrip("0123456789. ")
    try:
        return int(float(text[:len(text) - len(unit)]) * _UNITS[unit.strip().upper()])
    except (KeyError, ValueError):
        raise QueryError(f"cannot read {text!r} as an amount of memory: write 512MiB or 2GiB") from None


def run(path: Path, query: str, *, timeout: float = 5.0, memory: str = "2GiB", max_rows: int | None = None, threads: int = 2,
        export: Mapping[str, str] | None = None) -> Result:
    """Run one statement. `timeout` (seconds) counts from here to the answer, `memory` bounds the child's address space.

    `export` (`target`, `format`) sends the answer into one file, which is all that the statement may touch (export.py).
    Raises QueryError (refused, wrong, out of time or memory), LockedError, CatalogueError.
    """
    total = n_bytes(memory)
    buffer = f"{max(total // 4, 2**25) // 2**20}MiB"
    if "\0" in query:
        raise QueryError("the statement holds a NUL character")
    ask = {"path": str(path.resolve()), "query": query.encode("utf-8", "replace").decode("utf-8"), "memory": total, "max_rows": max_rows,
           "seconds": max(1, int(timeout * threads) + 1), "config": read_config(buffer, threads), "patience": min(access.PATIENCE, timeout),
           "export": None if export is None else dict(export)}
    lines, killed = _talk(json.dumps(ask), timeout)
    columns: list[str] = []
    types: list[str] = []
    rows: list[tuple[Any, ...]] = []
    for line in lines:
        try:
            message = json.loads(line, object_hook=_decoded)
        except ValueError:
            break  # the child died while it wrote this line
        if "error" in message:
            raise _error(path, str(message["kind"]), str(message["error"]), memory)
        if "columns" in message:
            columns, types = list(message["columns"]), list(message["types"])
        rows.extend(tuple(row) for row in message.get("rows", ()))
        if "end" in message:
            return Result(columns, types, rows, bool(message["more"]))
    if killed == "size":
        raise QueryError(f"the answer is longer than {ANSWER // 2**20} MiB: add a LIMIT, or use `autolabel export`")
    if killed == "time":
        raise QueryError(f"the statement took longer than {timeout:g} s and was stopped")
    raise QueryError(f"the statement was stopped: it needed more than {memory} of memory, too much processor time, or DuckDB failed")


def _talk(request: str, timeout: float) -> tuple[list[bytes], str]:
    """Start the child, hand it the request, read its lines until it ends or must be killed (`time`, `size`)."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"PYTHONIOENCODING": "utf-8"}
    killed = ""
    command = [sys.executable, "-P", "-s", str(_CHILD)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
                          start_new_session=True) as child:
        def stop(reason: str) -> None:
            nonlocal killed
            killed = killed or reason
            child.kill()
        timer = threading.Timer(max(0.1, timeout - EARLY), stop, ("time",))
        timer.start()
        try:
            assert child.stdin is not None and child.stdout is not None
            try:
                child.stdin.write(request.encode() + b"\n")
                child.stdin.close()
            except BrokenPipeError:
                pass
            lines, size = [], 0
            for line in child.stdout:
                size += len(line)
                if size > ANSWER:
                    stop("size")
                    break
                lines.append(line)
        finally:
            timer.cancel()
            child.kill()
            timer.join()
    return lines, killed


def _decoded(value: dict[str, Any]) -> Any:
    if "$" not in value:
        return value
    if value["$"] == "map":
        return {_hashable(k): v for k, v in value["v"]}
    decode = _DECODE.get(value["$"])
    return decode(value["v"]) if decode else value["v"]


def _hashable(value: Any) -> Any:
    return tuple(_hashable(v) for v in value) if isinstance(value, list) else str(value) if isinstance(value, dict) else value


def _error(path: Path, kind: str, text: str, memory: str) -> CatalogueError | QueryError:
    line = " ".join(text.split())[:400]
    if kind == "memory":
        return QueryError(f"the statement needs more memory than {memory} allows")
    if kind == "open":
        if "Could not set lock" in line:
            return LockedError(f"{path} is held open by another process: try again when it has finished")
        return access.explained(path, Exception(line))
    if kind == "refused":
        return QueryError(line)
    if "pytz" in line:
        return QueryError("a time with a zone cannot be shown: cast it, as in now()::TIMESTAMP")
    if "disabled by configuration" in line or "read-only mode" in line or "has been locked" in line:
        return QueryError(f"not allowed here: {line}")
    return QueryError(line)
