"""The table `calls`: every call to an LLM with its raw reply, and which excerpts it showed. Rows are added, never changed.

`put` returns after the commit; calls that end while a commit is on its way go into the next one together. A digest may have
several rows (a failure, then an answer; `lost`, then an answer): the answer counts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, cast  # Any: cells of numpy arrays

import duckdb
import numpy as np
from numpy.typing import NDArray

from autolabel.catalogue.journal import Journal
from autolabel.types import Call, Role, Usage

if TYPE_CHECKING:
    from autolabel.catalogue.store import Catalogue
    from autolabel.catalogue.writer import Writer

SERVED = ("done", "failed:truncated", "failed:refused")  # outcomes that were paid for and would come again
AHEAD = 512  # rows read at once: a run that is done again asks in the same order
KEPT = 2048  # replies kept in memory
CALLS = {"digest": "VARCHAR", "role": "VARCHAR", "llm": "VARCHAR", "request": "VARCHAR", "tokens_in": "BIGINT", "tokens_out": "BIGINT",
         "tokens_cached": "BIGINT", "tokens_reasoning": "BIGINT", "cost_usd": "DOUBLE", "reply": "VARCHAR", "state": "VARCHAR",
         "created": "TIMESTAMP", "run": "VARCHAR"}
SHOWN = {"call": "VARCHAR", "excerpt": "BIGINT", "corpus_id": "VARCHAR"}
COLUMNS = "rowid, digest, role, llm, state, request, reply, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost_usd"


class CallStore:
    """A context manager: holds the catalogue's writer, so that a reply is never paid for twice. Any thread may call.

    `lost`: calls that an earlier process was killed in; each may be paid for twice. They stay in `calls` with state `lost`.
    """

    def __init__(self, catalogue: Catalogue, run: str | None = None, corpus_id: str | None = None) -> None:
        self.catalogue, self.run, self.corpus_id = catalogue, run, corpus_id
        self.lost: list[Call] = []
        self._guard = threading.Lock()
        self._reading = threading.Lock()
        self._stack = ExitStack()
        self._journal: Journal | None = None
        self._writer: Writer | None = None
        self._batch: _Batch | None = None
        self._old: tuple[NDArray[np.uint64], NDArray[np.int64]] = np.zeros(0, np.uint64), np.zeros(0, np.int64)  # digests, sorted; their rows
        self._new: set[str] = set()  # put by this process
        self._kept: OrderedDict[str, Call] = OrderedDict()

    def __enter__(self) -> CallStore:
        with ExitStack() as stack:
            self._writer = stack.enter_context(self.catalogue.writer())
            name = self.catalogue.read("SELECT value FROM meta WHERE key = 'id'")[0][0]
            self._journal = Journal(self.catalogue.path, str(name))
            stack.callback(self._journal.close)
            self._recover()
            rows = self.catalogue.columns(f"SELECT rowid AS row, digest FROM calls WHERE state IN {SERVED} ORDER BY rowid")
            names = np.array([_number(d) for d in rows["digest"].tolist()], np.uint64)
            order = np.argsort(names, kind="stable")
            self._old = names[order], rows["row"].astype(np.int64)[order]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def get(self, digest: str) -> Call | None:
        """The call of this digest that was answered, or cut, or refused; None where there is none."""
        with self._guard:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
            row = self._row(digest)
            if row is None and digest not in self._new:
                return None
        with self._reading:  # one reads ahead, the others find it read
            with self._guard:
                if digest in self._kept:
                    return self._kept[digest]
            where = f"rowid >= {row} AND rowid < {row + AHEAD}" if row is not None else "digest = ?"
            found = self._fetch(where, [] if row is not None else [digest])
            if digest not in found:  # rows have moved
                found |= self._fetch("digest = ?", [digest])
            with self._guard:
                self._kept.update(found)
                while len(self._kept) > max(KEPT, len(found)):
                    self._kept.popitem(last=False)
            return found.get(digest)

    def put(self, call: Call) -> None:
        """Store an outcome; returns after the commit. A call of state `asked` is noted as in flight instead, at once."""
        assert self._writer is not None and self._journal is not None, "a CallStore is used inside `with`"
        if call.state == "asked":
            self._journal.begin(call.digest, role=call.role, llm=call.llm, at=_now().isoformat(), excerpts=list(call.excerpts))
            return
        if call.state == "failed:rate":  # not taken by the server, and there may be thousands
            self._journal.end(call.digest)
            return
        with self._guard:
            if self._batch is None:
                batch = _Batch(self)
                batch.future = self._writer.submit(batch.work)
                self._batch = batch
            batch = self._batch
            batch.calls.append((call, _now()))
        batch.future.result()
        self._journal.end(call.digest)
        if call.state in SERVED:
            with self._guard:
                self._new.add(call.digest)

    def put_all(self, calls: Sequence[Call]) -> None:
        """Many outcomes at once, as they come from a file; returns after the commit."""
        assert self._writer is not None, "a CallStore is used inside `with`"
        if calls:
            self._writer.write(_Batch(self, [(call, _now()) for call in calls]).work)
            with self._guard:
                self._new.update(call.digest for call in calls if call.state in SERVED)

    def taken(self, batch: _Batch) -> None:
        """The batch is being written: later calls go into the next one."""
        with self._guard:
            if self._batch is batch:
                self._batch = None

    def _row(self, digest: str) -> int | None:
        names, rows = self._old
        number = _number(digest)
        at = int(np.searchsorted(names, np.uint64(number)))
        return int(rows[at]) if at < len(names) and int(names[at]) == number else None

    def _fetch(self, where: str, params: list[str]) -> dict[str, Call]:
        rows = self.catalogue.read(f"SELECT {COLUMNS} FROM calls WHERE state IN {SERVED} AND {where} ORDER BY state <> 'done' DESC, rowid", params)
        found = {}
        for _, digest, role, llm, state, request, reply, n_in, n_out, cached, reasoning, cost in rows:
            usage = Usage(n_in, n_out or 0, cached or 0, reasoning or 0) if n_in is not None else None
            found[digest] = Call(digest, cast("Role", role), llm, state, request or "", reply, usage, cost)
        return found

    def _recover(self) -> None:
        """What a killed process had asked and not stored becomes rows of state `lost`, once."""
        assert self._journal is not None and self._writer is not None
        if not self._journal.left:
            self._journal.clear()
            return
        asked = {str(said["digest"]): said for said in self._journal.left}
        rows = self.catalogue.read("SELECT digest, max(created) FROM calls WHERE list_contains(?, digest) GROUP BY digest", [list(asked)])
        stored = {digest: created.isoformat() for digest, created in rows}
        for digest, said in asked.items():
            if stored.get(digest, "") < str(said.get("at")):
                excerpts = said.get("excerpts")
                self.lost.append(Call(digest, cast("Role", str(said.get("role"))), str(said.get("llm")), "lost",
                                      excerpts=tuple(int(e) for e in excerpts) if isinstance(excerpts, list) else ()))
        if self.lost:
            batch = _Batch(self, [(call, _now()) for call in self.lost])
            self._writer.write(batch.work)
        self._journal.clear()


class _Batch:
    """Calls that are committed together. Done again as it is when the commit is taken back."""

    def __init__(self, store: CallStore, calls: list[tuple[Call, datetime]] | None = None) -> None:
        self.store, self.calls = store, calls or []
        self.future: Future[None] = Future()

    def work(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.store.taken(self)
        run, corpus_id = self.store.run, self.store.corpus_id
        rows = []
        for c, at in self.calls:
            u = c.usage if c.usage and c.usage.tokens_in else None
            tokens = (u.tokens_in, u.tokens_out, u.tokens_cached, u.tokens_reasoning) if u else (None,) * 4
            rows.append((c.digest, c.role, c.llm, c.request or None, *tokens, c.cost_usd, c.reply, c.state, at, run))
        _insert(connection, "calls", CALLS, rows)
        _insert(connection, "prompts_excerpts", SHOWN, [(c.digest, excerpt, corpus_id) for c, _ in self.calls for excerpt in c.excerpts])


def _insert(connection: duckdb.DuckDBPyConnection, table: str, types: Mapping[str, str], rows: Sequence[tuple[object, ...]]) -> None:
    """A few rows, one list per column: a tenth of the time that arrays take to be looked at."""
    if rows:
        unnested = ", ".join(f"unnest(CAST(? AS {kind}[]))" for kind in types.values())
        connection.execute(f"INSERT INTO {table} ({', '.join(types)}) SELECT {unnested}", [list(column) for column in zip(*rows, strict=True)])


def _number(digest: str) -> int:
    """A digest of 16 hex digits as an integer."""
    return int(digest, 16)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
