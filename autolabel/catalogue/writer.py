"""One thread that writes: it gathers work, and opens, commits and closes the file at most once in 50 ms.

A caller gets its answer only after the commit. When one piece of work fails, the commit is taken back and the others are
done again without it, so work must be repeatable: it changes the catalogue and nothing else. When a commit raises, the
number of the last commit in the file says whether it was made.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import duckdb

from autolabel.catalogue import access, columns, ledger
from autolabel.catalogue.schema import KEYS, table_name
from autolabel.errors import CatalogueError

T = TypeVar("T")
Work = Callable[[duckdb.DuckDBPyConnection], Any]  # what it returns is handed to the caller as it is
GATHER = 0.065  # seconds between two openings of the file: fewer cost less, more let calls end sooner; here 64 of them get 200 a second
GAP = 0.015  # seconds that it stays closed at least, so that readers get in however long commits take
_log = logging.getLogger(__name__)


@dataclass
class _Job:
    work: Work
    future: Future[Any]


class Writer:
    """Made by `Catalogue.writer()`, which holds the lock. Any thread may call its methods."""

    # Called with the name of each point of a commit (begun, worked, committed, noted, closed): where tests let a process die.
    at_point: ClassVar[Callable[[str], None]] = staticmethod(lambda point: None)

    def __init__(self, path: Path, memory: str = "512MB") -> None:
        self.path, self._memory = path, memory
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="catalogue-writer", daemon=False)
        self._closed = False
        self._guard = threading.Lock()
        self._opened = self._shut = 0.0
        self._thread.start()

    def submit(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> Future[T]:
        """Queue work that is given the connection, inside a transaction. The future is done after the commit."""
        future: Future[T] = Future()
        with self._guard:
            if self._closed:
                raise RuntimeError("the writer is closed")
            self._jobs.put(_Job(work, future))
        return future

    def write(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """The same, and wait. Inside another piece of work (same thread): done at once, in its transaction."""
        if threading.current_thread() is self._thread:
            connection = access.door(self.path).connection
            assert connection is not None
            return work(connection)
        return self.submit(work).result()

    def insert(self, table: str, values: Mapping[str, columns.Column], *, ignore_existing: bool = False) -> None:
        """Insert columns of one length: arrays, sequences, [rows, L] arrays or sequences of lists for list columns.

        Columns left out are NULL; None, and nan among numbers, is NULL; a single value stands for all rows. `table` may be
        a view's name (`documents` is `t_documents`). With `ignore_existing`, rows whose key (schema.KEYS) is there are left out.
        """
        name = table_name(table)
        keys = KEYS[name] if ignore_existing else ()
        self.write(lambda connection: columns.insert(connection, name, values, keys))

    def delete(self, table: str, where: str, params: Sequence[object] = ()) -> int:
        """Delete the rows for which the SQL condition `where` holds; how many they were."""
        name = table_name(table)

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            row = connection.execute(f"DELETE FROM {name} WHERE {where}", list(params)).fetchone()
            return int(row[0]) if row else 0
        return self.write(work)

    def close(self) -> None:
        """Commit what is queued, end the thread."""
        with self._guard:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        while self._round():  # of its own, so that nothing of what was written is held while it waits
            pass

    def _round(self) -> bool:
        """Wait for work and do it; False after the last."""
        jobs = [job for job in [self._jobs.get()] if job is not None]
        going = bool(jobs)
        if going:
            time.sleep(max(0.0, self._opened + GATHER - time.monotonic(), self._shut + GAP - time.monotonic()))
        with suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is None:
                    going = False
                else:
                    jobs.append(job)
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if jobs:
            self._opened = time.monotonic()
            try:
                self._commit(jobs)
            except BaseException as error:
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(error)
            self._shut = time.monotonic()
        return going

    def _commit(self, jobs: list[_Job]) -> None:
        """Open, do all jobs in one transaction, commit, close, answer."""
        point = type(self).at_point
        answers: list[tuple[_Job, Any]] = []
        note: ledger.Note | None = None
        doubt: Exception | None = None
        with access.writing(self.path, self._memory) as connection:
            while jobs and not answers:
                point("begun")
                connection.execute("BEGIN")
                job = jobs[0]
                try:
                    for job in jobs:
                        answers.append((job, job.work(connection)))
                    job = jobs[0]
                    point("worked")
                    note = ledger.record(connection)
                except Exception as error:
                    with suppress(duckdb.Error):
                        connection.execute("ROLLBACK")
                    answers, note = [], None
                    job.future.set_exception(_explained(self.path, error))
                    jobs = [other for other in jobs if other is not job]
            if note is not None:
                try:
                    connection.execute("COMMIT")
                except duckdb.Error as error:
                    doubt = error
                else:
                    point("committed")
                    ledger.write_note(self.path, note)
                    point("noted")
        point("closed")
        if doubt is not None and note is not None:
            if not self._made(note):
                raise _explained(self.path, doubt)
            ledger.write_note(self.path, note)
        for job, answer in answers:
            job.future.set_result(answer)

    def _made(self, note: ledger.Note) -> bool:
        """After a commit that raised: is it in the file?"""
        with access.reading(self.path, self._memory) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'commit'").fetchone()
        _log.info("%s: a commit raised; it was %s", self.path, "made" if row and int(row[0]) >= note.commit else "not made")
        return row is not None and int(row[0]) >= note.commit


def _explained(path: Path, error: Exception) -> Exception:
    """Errors of the disk in words; all others as they are (they are bugs of the work, not of the set-up)."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return CatalogueError(f"{path}: not enough memory for this commit: {' '.join(str(error).split())[:200]}")
    if isinstance(error, duckdb.Error) and (isinstance(error, duckdb.IOException | duckdb.FatalException)
                                            or any(sign in str(error) for sign in access.NO_ROOM)):
        return access.explained(path, error)
    return error
