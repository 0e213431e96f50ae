"""The catalogue: one DuckDB file, open only for the moment of a query or a commit."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from autolabel.catalogue import access, columns, ledger, lock, migrations
from autolabel.catalogue.writer import Writer
from autolabel.errors import CatalogueError, UnitError
from autolabel.excerpts import Excerpts
from autolabel.types import Unit

if TYPE_CHECKING:
    from autolabel.catalogue.locked import Result

_log = logging.getLogger(__name__)


class Catalogue:
    """Made by `Catalogue.open`. Safe to use from several threads; holds no connection between calls."""

    def __init__(self, path: Path, memory: str = "512MB", threads: int = 2) -> None:
        self.path = path
        self.warnings: list[str] = []  # what opening found and repaired, one line each
        self._memory, self._threads = memory, threads
        self._guard = threading.RLock()
        self._writer: tuple[Writer, lock.FileLock] | None = None
        self._users = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = False, memory: str = "512MB", threads: int = 2) -> Catalogue:
        """Open and check a catalogue, migrate it forward, make it where `create` and there is none.

        Raises CatalogueError: there is no file, it is not a catalogue, it is newer, it lost rows (the ledger tells);
        LockedError: it must be migrated while another process writes. A write-ahead log that cannot be read is set aside
        as FILE.wal.corrupt-TIME and named in `warnings`; the last checkpoint opens.
        """
        catalogue = cls(Path(path), memory, threads)
        with access.door(catalogue.path).lock:
            if not _exists(catalogue.path, create):
                catalogue._make()
            catalogue._check()
        return catalogue

    def read(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of one of our own statements. Knocks for 5 s while another process commits."""
        with self.reading() as connection:
            return connection.execute(sql, list(params)).fetchall()

    def columns(self, sql: str, params: Sequence[object] = ()) -> dict[str, NDArray[Any]]:
        """The same as arrays: NULL is nan among floats; integers with NULLs come as masked arrays, lists as arrays of objects."""
        with self.reading() as connection:
            return columns.fetch(connection, sql, params)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection for several statements of ours; what is read inside goes the same way. The writer waits meanwhile, so be brief."""
        with access.reading(self.path, self._memory, self._threads) as connection:
            yield connection

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """The writer, with FILE.lock held. Raises LockedError at once, naming the process that has it. May be nested."""
        with self._guard:
            if self._writer is None:
                held = lock.FileLock(self.path)
                held.acquire()
                self._writer = Writer(self.path, self._memory), held
            self._users += 1
            writer = self._writer[0]
        try:
            yield writer
        finally:
            with self._guard:
                self._users -= 1
                if self._users == 0:
                    (_, held), self._writer = self._writer, None
                    try:
                        writer.close()
                        ledger.clear_note(self.path)
                    finally:
                        held.release()

    def sql(self, query: str, *, timeout: float = 5.0, memory: str = "2GiB", max_rows: int | None = None) -> Result:
        """One statement of a user, in the locked profile, in a child process that is killed after `timeout` seconds.

        Raises QueryError: not one SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN; wrong; or over its limits.
        """
        from autolabel.catalogue import locked
        return locked.run(self.path, query, timeout=timeout, memory=memory, max_rows=max_rows)

    def labels(self, where: str = "") -> Result:
        """The view `labels`, best first; `where` is a condition in SQL, as in `verdict = 'confirmed'`."""
        return self.sql(f"SELECT * FROM labels {f'WHERE {where}' if where else ''} ORDER BY score DESC NULLS LAST, unit", timeout=60.0)

    def neuron(self, unit: str) -> dict[str, Any]:
        """Everything about one unit: its rows of `neurons` and `labels` (None where there is none), its candidates and exemplars."""
        models = [name for (name,) in self.read("SELECT name FROM models WHERE NOT coalesce(is_control, false) ORDER BY name")]
        address = Unit.parse(unit, model=models[0] if len(models) == 1 else "")
        if address.model not in models:
            raise UnitError(f"no model {address.model!r} in {self.path}; there are: {', '.join(models) or 'none'}")
        key = [address.model, address.layer, address.site, address.index]
        same = "model = ? AND layer = ? AND site = ? AND neuron = ?"

        def rows(view: str, extra: str = "", params: Sequence[object] = ()) -> list[dict[str, Any]]:
            with self.reading() as connection:
                cursor = connection.execute(f"SELECT * FROM {view} WHERE {same} {extra}", [*key, *params])
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        neurons = rows("neurons")
        if not neurons:
            raise UnitError(f"no unit {address} in {self.path}")
        side = [address.side]
        return {"unit": str(address), "neuron": neurons[0], "label": next(iter(rows("labels", "AND side = ?", side)), None),
                "candidates": rows("candidates", "AND side = ? ORDER BY chosen DESC, select_score DESC NULLS LAST", side),
                "exemplars": rows("exemplars", "AND side = ? ORDER BY split, band, rank", side)}

    def excerpts(self, corpus_id: str, split: str, chunk: int = 4096, after: int = -1) -> Iterator[Excerpts]:
        """All excerpts of a split in the order of their ids (hash order), `chunk` at a time, from the first id above `after` on.

        The file is closed in between.
        """
        last = after
        where = "corpus_id = ? AND split = ? AND id > ?"
        while True:
            with self.reading() as connection:
                row = connection.execute(f"SELECT max(id), count(*) FROM (SELECT id FROM t_excerpts WHERE {where} ORDER BY id LIMIT ?)",
                                         [corpus_id, split, last, chunk]).fetchone()
                if row is None or not row[1]:
                    return
                rows = f"(SELECT * FROM t_excerpts WHERE {where} AND id <= ? ORDER BY id)"
                found = columns.excerpts(connection, rows, [corpus_id, split, last, row[0]])
            yield found
            last = int(row[0])
            if row[1] < chunk:
                return

    def excerpt_ids(self, corpus_id: str, split: str) -> NDArray[np.int64]:
        """Ids of all excerpts of a split, ascending."""
        found = self.columns("SELECT id FROM t_excerpts WHERE corpus_id = ? AND split = ? ORDER BY id", [corpus_id, split])
        return np.asarray(found["id"], np.int64)

    def some_excerpts(self, corpus_id: str, ids: NDArray[np.int64]) -> Excerpts:
        """The excerpts with these ids, in the order of `Excerpts`. Raises CatalogueError where one is not there."""
        wanted = np.unique(ids)
        with self.reading() as connection:
            found = columns.excerpts(connection, "(SELECT * FROM t_excerpts WHERE corpus_id = ? AND id IN (SELECT unnest(?)) ORDER BY id)",
                                     [corpus_id, wanted.tolist()])
        if len(found) != len(wanted):
            raise CatalogueError(f"{self.path} holds {len(found)} of {len(wanted)} excerpts that were asked for")
        return found

    def snapshot(self, target: str | os.PathLike[str]) -> None:
        """A whole copy, log included, while other processes write. Atomic."""
        from autolabel.catalogue.snapshot import snapshot
        snapshot(self.path, Path(target))

    def _make(self) -> None:
        held = lock.FileLock(self.path)
        held.acquire()
        temporary = access.beside(self.path, f".new-{os.getpid()}")
        try:
            if self.path.exists() and self.path.stat().st_size:
                return  # another process was faster
            for ending in (".wal", ".ledger"):  # of a file that was removed
                if access.beside(self.path, ending).exists():
                    self._set_aside(ending)
            temporary.unlink(missing_ok=True)
            with access.writing(temporary, self._memory) as connection:
                migrations.create(connection)
            os.replace(temporary, self.path)
        except duckdb.Error as error:
            raise access.explained(self.path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
            access.beside(temporary, ".wal").unlink(missing_ok=True)
            held.release()

    def _check(self) -> None:
        """What `open` promises."""
        try:
            number, current = self._examine()
        except access.WalError as error:
            self._repair(error)
            number, current = self._examine()
        if number == migrations.SCHEMA and current:
            return
        held = lock.FileLock(self.path)
        held.acquire()
        try:
            with access.writing(self.path, self._memory) as connection:
                migrations.migrate(connection, number)
        finally:
            held.release()

    def _examine(self) -> tuple[int, bool]:
        note = ledger.read_note(self.path)
        try:
            with self.reading() as connection:
                found = migrations.state(self.path, connection)
                if found[0] == migrations.SCHEMA:
                    ledger.verify(self.path, connection, note)
                return found
        except duckdb.Error as error:
            raise access.explained(self.path, error) from error

    def _repair(self, error: access.WalError) -> None:
        """Set an unreadable log aside, so that the last checkpoint opens; say what was lost. Only while nobody writes."""
        held = lock.FileLock(self.path)
        held.acquire()
        try:
            aside = self._set_aside(".wal")
            note = ledger.read_note(self.path)
            with self.reading() as connection:
                migrations.state(self.path, connection)
                words = ledger.loss(connection, note) or "no confirmed row is missing"
            access.beside(self.path, ".ledger").unlink(missing_ok=True)
        finally:
            held.release()
        self.warnings.append(f"{error} It was kept as {aside}, and the last checkpoint is open: {words}; what is missing is done again "
                             "by the same command")
        _log.warning("%s", self.warnings[-1])

    def _set_aside(self, ending: str) -> Path:
        aside = access.beside(self.path, f"{ending}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        shutil.move(access.beside(self.path, ending), aside)
        return aside


def _exists(path: Path, create: bool) -> bool:
    """True: there is a DuckDB file. False: it must be made. Raises CatalogueError for all else."""
    try:
        with path.open("rb") as handle:
            head = handle.read(12)
    except FileNotFoundError:
        if not create:
            raise CatalogueError(f"there is no catalogue {path}: make one with `autolabel extract` or `autolabel demo`") from None
        if not path.parent.is_dir():
            raise CatalogueError(f"cannot make {path}: there is no folder {path.parent}") from None
        return False
    except OSError as error:
        raise CatalogueError(f"cannot read {path}: {error.strerror}") from error
    if not head and create:
        return False
    if len(head) < 12 or head[8:12] != b"DUCK":
        raise CatalogueError(f"{path} is not a catalogue: it is {'empty' if not head else 'not a DuckDB file'}")
    return True
