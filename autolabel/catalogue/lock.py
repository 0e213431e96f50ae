"""FILE.lock: the one process that may write.

The kernel's flock decides (it falls with its process, so a dead holder's lock is free at once); the text in the file only
says who holds it: `PID`, command and since when, one `key: value` a line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from autolabel.catalogue.access import beside
from autolabel.errors import CatalogueError, LockedError


class FileLock:
    """Taken by `acquire`, given back by `release`. Not for two threads at once."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.path = beside(database, ".lock")
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take it, or raise LockedError at once with one line that names the holder."""
        while True:
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise CatalogueError(f"cannot write {self.path}: {error.strerror}") from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(handle)
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise CatalogueError(f"cannot lock {self.path}: {error.strerror}") from error
                raise LockedError(f"{self.database} is being written by {describe(self.path)}: wait for it, or stop it") from error
            if _same_file(handle, self.path):  # the last holder may have removed it in between
                break
            os.close(handle)
        command = " ".join(sys.argv)[:200].replace("\n", " ") or "python"
        text = f"pid: {os.getpid()}\ncommand: {command}\nsince: {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, text.encode("utf-8", "replace"), 0)
        except OSError as error:
            os.close(handle)
            raise CatalogueError(f"cannot write {self.path}: {error.strerror}") from error
        self._handle = handle

    def release(self) -> None:
        """Remove the file, then let go."""
        if self._handle is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None


def holder(database: Path) -> dict[str, str] | None:
    """`pid`, `command`, `since` of the process that may write now; None where there is none (a dead one's file does not count)."""
    path = beside(database, ".lock")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(path)
    finally:
        os.close(handle)
    return None


def describe(path: Path) -> str:
    """The holder in words: `process 123 (autolabel extract ..., since ...)`."""
    said = _read(path)
    return f"process {said['pid']} ({said.get('command', '?')}, since {said.get('since', '?')})" if "pid" in said else "another process"


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}
    return dict(line.split(": ", 1) for line in text[:2000].splitlines() if ": " in line)


def _same_file(handle: int, path: Path) -> bool:
    try:
        there, mine = os.stat(path), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)
