"""FILE.asked: the calls that are in flight, one JSON line each, written before a request is sent.

A commit before every request would double the commits; a line appended to a file and synced outlives a killed process and a power cut
just as well, and one sync serves all calls that wait for it. Who opens the file again learns which calls may have been answered
and paid for without being stored.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from autolabel.catalogue.access import beside
from autolabel.errors import CatalogueError

_to_disk = getattr(os, "fdatasync", os.fsync)  # the first is not everywhere
LONGEST = 1 << 20  # bytes after which the lines of answered calls are dropped


class Journal:
    """Used by the one process that holds FILE.lock. `begin` before a call is sent, `end` after its outcome was committed."""

    def __init__(self, database: Path, catalogue: str = "") -> None:
        self.path, self._catalogue = beside(database, ".asked"), catalogue  # meta.id: the file may be left from another catalogue of this name
        self._lines: dict[str, bytes] = {}  # digest -> line, of calls in flight
        self._guard, self._turn, self._syncing = threading.Lock(), threading.Condition(), False
        self._size = self._written = self._synced = 0  # bytes; lines written and lines on the disk
        self.left = self._read()  # what a killed process left behind: digest, role, llm, at, excerpts
        self._handle = self._open()

    def begin(self, digest: str, **said: object) -> None:
        """Note a call that is about to be sent; returns when the note is on the disk. Raises CatalogueError where it cannot be."""
        line = json.dumps({"catalogue": self._catalogue, "digest": digest, **said}).encode() + b"\n"
        try:
            with self._guard:
                self._lines[digest] = line
                if self._size + len(line) > LONGEST:
                    self._rewrite()
                else:
                    self._append(line)
                self._written += 1
                mine = self._written
            self._sync(mine)
        except CatalogueError:
            self.end(digest)
            raise

    def end(self, digest: str) -> None:
        """Its outcome is in the catalogue."""
        with self._guard:
            self._lines.pop(digest, None)

    def clear(self) -> None:
        """What was left behind is in the catalogue now."""
        with self._guard:
            self.left = []
            self._rewrite()

    def close(self) -> None:
        """Remove the file, where nothing is in flight."""
        with self._guard:
            os.close(self._handle)
            if not self._lines and not self.left:
                self.path.unlink(missing_ok=True)

    def _sync(self, mine: int) -> None:
        """One at a time, for all that were written before it; who comes meanwhile waits, and the first of them syncs for the rest."""
        with self._turn:
            while self._syncing and self._synced < mine:
                self._turn.wait()
            if self._synced >= mine:
                return
            self._syncing = True
        done = 0
        try:
            with self._guard:  # the file may be replaced meanwhile, and its number with it
                written, handle = self._written, os.dup(self._handle)
            try:
                _to_disk(handle)
                done = written
            finally:
                os.close(handle)
        except OSError as error:
            raise CatalogueError(f"cannot write {self.path}: {error.strerror}; no call was sent") from error
        finally:
            with self._turn:
                self._syncing, self._synced = False, max(self._synced, done)
                self._turn.notify_all()

    def _append(self, line: bytes) -> None:
        try:
            os.write(self._handle, line)
        except OSError as error:
            raise CatalogueError(f"cannot write {self.path}: {error.strerror}; no call was sent") from error
        self._size += len(line)

    def _rewrite(self) -> None:
        """Only the calls in flight; whole or not at all."""
        temporary = beside(self.path, ".tmp")
        data = b"".join(self._lines.values())
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except OSError as error:
            raise CatalogueError(f"cannot write {self.path}: {error.strerror}; no call was sent") from error
        os.close(self._handle)
        self._handle, self._size = self._open(), len(data)

    def _open(self) -> int:
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)  # the file's name is kept there
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return handle
        except OSError as error:
            raise CatalogueError(f"cannot write {self.path}: {error.strerror}") from error

    def _read(self) -> list[dict[str, object]]:
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:  # a line that was cut by a full disk: its call was not sent
                continue
            if isinstance(said, dict) and isinstance(said.get("digest"), str) and said.get("catalogue") == self._catalogue:
                found.append(said)
        return found
