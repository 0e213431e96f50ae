"""`ingest`: from what the user calls a corpus to documents, splits and excerpts in the catalogue.

A corpus passes through three states, each left in the transaction that completes its work, so that a process may die at
any moment and the same call goes on to the same rows:

    reading    documents are read, tokenised, cut and stored in batches; `dropped.read` says how many were taken in
    grouping   near-duplicates are found, and their blocks put into one split (autolabel.corpus.grouping); test excerpts
               that other splits hold too are removed, and the MinHash bands
    complete   never touched again: the same call returns at once
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from autolabel.catalogue.columns import WIDEST
from autolabel.corpus import grouping
from autolabel.corpus.batches import Batch, Cutter, batched
from autolabel.corpus.report import Report
from autolabel.corpus.sources import Sources, open_sources
from autolabel.errors import CorpusError, SettingsError
from autolabel.types import SPLITS, Document, digest

if TYPE_CHECKING:
    import duckdb

    from autolabel.catalogue import Catalogue
    from autolabel.catalogue.writer import Writer

VERSION = 1  # part of every corpus id: raise it when the same source gives other rows
ENOUGH = 30  # documents that fill all three splits in 998 of 1,000 cases: 1 - .8 ** 30
Advance = Callable[[int, int | None], None]  # tokens done, tokens in all (None where unknown)


def ingest(catalogue: Catalogue, specs: Sequence[str], tokenizer: Any, tokenizer_hash: str, context: int, *, max_tokens: int | None = None,
           text_column: str = "text", split_on: str | None = None, run: str = "", progress: Advance | None = None,
           report: Report | None = None) -> str:
    """Put a corpus into the catalogue, and return its id. The second call with the same arguments changes nothing.

    specs: `demo`, `python`, files, folders, `hf:...`; mixed in this order. tokenizer: a transformers fast tokenizer (Any:
    transformers is not imported here). context: content tokens per excerpt, 1 to 4096. max_tokens: stop after the document
    that reaches so many. report: filled with what was wrong with the sources; it stays empty when the corpus is there already.
    Memory does not grow with the corpus. Raises CorpusError: unreadable, or too few documents for three splits (then
    nothing of it stays in the catalogue); ExtraError; LockedError.
    """
    if not 1 <= context <= WIDEST:
        raise SettingsError(f"a context of {context} tokens is not possible: choose 1 to {WIDEST}")
    if max_tokens is not None and max_tokens < 1:
        raise SettingsError(f"max_tokens is {max_tokens}: choose at least 1, or leave it out to read everything")
    report = Report() if report is None else report
    corpus_id, sources = identify(specs, tokenizer_hash, context, max_tokens=max_tokens, text_column=text_column, split_on=split_on, report=report)
    state, dropped, n_tokens = _left(catalogue, corpus_id)
    if state == "complete":
        return corpus_id
    with catalogue.writer() as writer:
        try:
            if state is None:
                writer.insert("corpora", {"id": [corpus_id], "specs": [json.dumps(list(specs))], "tokenizer": [tokenizer_hash],
                                          "context": [context], "n_documents": [0], "n_copies": [0], "n_tokens": [0],
                                          "dropped": ["{}"], "state": ["reading"], "run": [run]})
                state = "reading"
            if state == "reading":
                _read(catalogue, writer, corpus_id, sources, Cutter(tokenizer, tokenizer_hash, context), max_tokens, report, progress,
                      dropped, n_tokens)
                state = "grouping"
            with catalogue.reading() as connection:
                _check(connection, corpus_id, sources, "t_documents")
            found = grouping.find(catalogue, corpus_id)
            writer.write(lambda connection: _finish(writer, connection, corpus_id, sources, found))
        except CorpusError:
            # A hub that went away comes back; a file that is at fault comes back as another corpus.
            if state != "reading" or not any(part.hub for part in sources.parts):
                writer.write(lambda connection: _forget(writer, corpus_id))
            raise
    return corpus_id


def identify(specs: Sequence[str], tokenizer_hash: str, context: int, *, max_tokens: int | None = None, text_column: str = "text",
             split_on: str | None = None, report: Report | None = None) -> tuple[str, Sources]:
    """The id that `ingest` would return for the same arguments, and the sources; every file is read once for it. Raises CorpusError, ExtraError."""
    sources = open_sources(specs, text_column=text_column, split_on=split_on, report=Report() if report is None else report)
    return digest(VERSION, sources.identity(), tokenizer_hash, context, max_tokens), sources


def _left(catalogue: Catalogue, corpus_id: str) -> tuple[str | None, dict[str, Any], int]:
    """How far an earlier call came: the state (None where there was none), what was dropped and how many tokens were taken in."""
    for state, dropped, n_tokens in catalogue.read("SELECT state, dropped, n_tokens FROM corpora WHERE id = ?", [corpus_id]):
        return str(state), json.loads(dropped), int(n_tokens)
    return None, {}, 0


def _read(catalogue: Catalogue, writer: Writer, corpus_id: str, sources: Sources, cutter: Cutter, max_tokens: int | None,
          report: Report, progress: Advance | None, dropped: dict[str, Any], n_tokens: int) -> None:
    """Take in the documents that are not in yet, a batch a commit, the last of which says that all were read."""
    stream: Iterator[Document] = sources.documents(report, max_tokens)
    position = int(dropped.pop("read", 0))
    for _ in islice(stream, position):  # read again and let pass: their problems are counted anew
        pass
    batches = batched(stream)
    documents, more = next(batches, []), True
    while more:
        known = _known(catalogue, corpus_id, documents) if position else set()
        batch = cutter.cut(documents, known, None if max_tokens is None else max_tokens - n_tokens)
        position += batch.n_read
        n_tokens += batch.n_tokens
        for reason, n in batch.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + n
        documents = next(batches, [])
        more = bool(documents) and (max_tokens is None or n_tokens < max_tokens)
        so_far = {**dropped, "read": position} if more else {**dropped, "problems": report.as_json()}
        _store(writer, corpus_id, batch, "reading" if more else "grouping", json.dumps(so_far))
        if progress:
            progress(n_tokens, max_tokens)


def _known(catalogue: Catalogue, corpus_id: str, documents: Sequence[Document]) -> set[int]:
    """Which of these documents the corpus holds already."""
    ids = sorted({d.id for d in documents})
    return {id for (id,) in catalogue.read("SELECT id FROM t_documents WHERE corpus_id = ? AND id IN (SELECT unnest(?::BIGINT[]))",
                                           [corpus_id, ids])}


def _store(writer: Writer, corpus_id: str, batch: Batch, state: str, dropped: str) -> None:
    """One batch and how far it brings the corpus, in one transaction."""
    def work(connection: duckdb.DuckDBPyConnection) -> None:
        for table, columns in (("documents", batch.documents), ("bands", batch.bands), ("excerpts", batch.excerpts)):
            n = len(next(iter(columns.values())))
            if n:
                writer.insert(table, {"corpus_id": [corpus_id] * n, **columns})
        for id, n in batch.copies.items():
            connection.execute("UPDATE t_documents SET copies = copies + ? WHERE corpus_id = ? AND id = ?", [n, corpus_id, id])
        connection.execute("UPDATE corpora SET n_documents = n_documents + ?, n_copies = n_copies + ?, n_tokens = n_tokens + ?, "
                           "state = ?, dropped = ? WHERE id = ?",
                           [len(batch.documents["id"]), batch.n_copies, batch.n_tokens, state, dropped, corpus_id])
    writer.write(work)


def _finish(writer: Writer, connection: duckdb.DuckDBPyConnection, corpus_id: str, sources: Sources, found: grouping.Found) -> None:
    """Move near-duplicates into one split, remove the test excerpts whose tokens another split holds too, and the bands; then it is complete."""
    grouping.move(connection, corpus_id, found)
    writer.delete("excerpts", grouping.BOILERPLATE, [corpus_id, corpus_id])
    writer.delete("bands", "corpus_id = ?", [corpus_id])
    _check(connection, corpus_id, sources, "t_excerpts")
    connection.execute("UPDATE corpora SET state = 'complete', n_excerpts = kept.n, n_tokens = kept.tokens FROM (SELECT count(*) AS n, "
                       "coalesce(sum(n_tokens), 0) AS tokens FROM t_excerpts WHERE corpus_id = ?) kept WHERE id = ?", [corpus_id] * 2)


def _check(connection: duckdb.DuckDBPyConnection, corpus_id: str, sources: Sources, table: str) -> None:
    """Raises CorpusError unless all three splits hold something."""
    filled: dict[str, int] = dict(connection.execute(f"SELECT split, count(DISTINCT block) FROM {table} WHERE corpus_id = ? GROUP BY split",
                                                     [corpus_id]).fetchall())
    n_blocks = sum(filled.values())
    if all(split in filled for split in SPLITS):
        return
    (n,), = connection.execute("SELECT count(*) FROM t_documents WHERE corpus_id = ?", [corpus_id]).fetchall()
    what = f"{n_blocks} document{'s' if n_blocks != 1 else ''}" + (f" (blocks of {n} passages)" if n > n_blocks else "")
    empty = " and ".join(split for split in SPLITS if split not in filled)
    raise CorpusError(f"{', '.join(sources.specs)}: {what} found, too few for three splits (nothing falls into {empty}): "
                      f"at least 3 are needed, and about {ENOUGH} to fill every split for sure")


def _forget(writer: Writer, corpus_id: str) -> None:
    for table in ("excerpts", "documents", "bands"):
        writer.delete(table, "corpus_id = ?", [corpus_id])
    writer.delete("corpora", "id = ?", [corpus_id])
