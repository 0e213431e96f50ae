"""Opening the file for a moment: who of this process may, and patience with other processes.

DuckDB lets one process write or many read, never both. So nobody of ours keeps the file open: each query and each commit
opens and closes it, and who meets a closed door knocks again. Within one process the same rule is kept by a lock per
file. (POSIX locks are dropped when *any* descriptor of the file is closed, so raw reads of the file take the lock too.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from autolabel.catalogue.schema import STORAGE, read_config, write_config
from autolabel.errors import CatalogueError, LockedError

PATIENCE = 5.0  # seconds a reader knocks
PAUSE = 0.004  # seconds between knocks
NO_ROOM = ("No space left", "File too large", "Disk quota exceeded")  # what the system says of a full disk


class WalError(CatalogueError):
    """The write-ahead log cannot be replayed."""


@dataclass
class Door:
    """The one way of this process into one file."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    connection: duckdb.DuckDBPyConnection | None = None  # open for the thread that holds the lock


_doors: dict[Path, Door] = {}
_doors_lock = threading.Lock()


def door(path: Path) -> Door:
    """The door of a file: the same one for every Catalogue of this process that names it."""
    with _doors_lock:
        return _doors.setdefault(path.resolve(), Door())


def beside(path: Path, ending: str) -> Path:
    """`x.duckdb` and `.wal` -> `x.duckdb.wal`."""
    return path.with_name(path.name + ending)


@contextmanager
def reading(path: Path, memory: str = "512MB", threads: int = 2, patience: float = PATIENCE) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection in the locked profile, closed at the end. Inside a writer's work, or another reading of this thread: the same one."""
    way = door(path)
    with way.lock:
        if way.connection is not None:
            yield way.connection
            return
        with _closing(_knock(path, True, read_config(memory, threads), patience)) as connection, _interruptible():
            way.connection = connection
            try:
                yield connection
            finally:
                way.connection = None


@contextmanager
def writing(path: Path, memory: str = "512MB", patience: float = 600.0) -> Iterator[duckdb.DuckDBPyConnection]:
    """The one connection that writes, for the thread that asks. Waits while other processes read. Closed at the end."""
    way = door(path)
    with way.lock:
        if way.connection is not None:
            raise RuntimeError("inside a writer's work or a reading, use the connection that is open")
        config = write_config(memory) | {"storage_compatibility_version": STORAGE}
        way.connection = _knock(path, False, config, patience)
        try:
            with _interruptible():
                yield way.connection
        finally:
            connection, way.connection = way.connection, None
            # A failed checkpoint at closing leaves the log, which is as safe.
            with suppress(duckdb.Error):
                connection.close()


@contextmanager
def _closing(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        yield connection
    finally:
        with suppress(duckdb.Error):
            connection.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C as KeyboardInterrupt, which DuckDB makes a RuntimeError of."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def _knock(path: Path, read_only: bool, config: dict[str, str], patience: float) -> duckdb.DuckDBPyConnection:
    """duckdb.connect, again and again while another process is inside."""
    until = time.monotonic() + patience
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=dict(config))
        except duckdb.Error as error:
            text = str(error)
            if "Could not set lock" not in text:
                raise explained(path, error) from error
            if time.monotonic() >= until:
                holder = text.partition("Conflicting lock is held in ")[2].split(". ")[0] or "another process"
                raise LockedError(f"{path} is held open by {holder}: try again when it has finished") from error
        time.sleep(PAUSE)


def explained(path: Path, error: Exception) -> CatalogueError:
    """A DuckDB error about the file itself, as one line that says what to do."""
    text = " ".join(str(error).split())
    if "replaying WAL" in text or "WAL file" in text:
        return WalError(f"the write-ahead log {beside(path, '.wal')} cannot be read: {text[:200]}")
    if "Permission denied" in text or "Read-only file system" in text:
        return CatalogueError(f"{path} cannot be opened: permission denied")
    if "not a valid DuckDB database file" in text:
        return CatalogueError(f"{path} is not a catalogue: it is not a DuckDB file")
    if "version number" in text or "newer" in text:
        return CatalogueError(f"{path} was written by a newer DuckDB than {duckdb.__version__}: install the newest duckdb")
    if any(sign in text for sign in NO_ROOM):
        return CatalogueError(f"no room left on the disk of {path}: make room and run the same command again; what was confirmed is kept")
    return CatalogueError(f"{path} cannot be opened: {text[:300]}")
