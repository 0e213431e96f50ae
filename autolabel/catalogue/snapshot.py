"""A whole copy of a catalogue while another process writes.

Copying the main file alone loses what is still in the log. So both are copied while we hold the read lock that DuckDB
itself honours, the copy is opened once to take its log in, and only then it gets its name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from pathlib import Path

import duckdb

from autolabel.catalogue import access
from autolabel.errors import CatalogueError, LockedError


def snapshot(source: Path, target: Path, patience: float = access.PATIENCE) -> None:
    """Copy `source` to `target`: temporary file, fsync, rename. Raises CatalogueError, LockedError."""
    if target.exists() and target.resolve() == source.resolve():
        raise CatalogueError(f"{target} is the catalogue itself: name another file")
    if access.beside(target, ".wal").exists():
        raise CatalogueError(f"{target} is a catalogue in use: name another file")
    temporary = access.beside(target, f".part-{os.getpid()}")
    try:
        _copy(source, temporary, patience)
        with access.writing(temporary) as connection:
            connection.execute("CHECKPOINT")
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except duckdb.Error as error:
        raise access.explained(source, error) from error
    except OSError as error:
        raise CatalogueError(f"cannot write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
        access.beside(temporary, ".wal").unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename last: fsync of the folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy(source: Path, temporary: Path, patience: float) -> None:
    """Both files, under the lock. One descriptor only: closing a second one would drop the lock."""
    with access.door(source).lock, source.open("rb") as main:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.lockf(main, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() >= until:
                    raise LockedError(f"{source} is held open by another process: try again when it has finished") from error
            time.sleep(access.PAUSE)
        with temporary.open("wb") as out:
            shutil.copyfileobj(main, out, 2**22)
        wal = access.beside(source, ".wal")
        if wal.exists():
            shutil.copyfile(wal, access.beside(temporary, ".wal"))
