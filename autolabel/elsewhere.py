"""Another corpus, as evidence about labels that a catalogue holds already: all of it is test, none of it is stored.

A label is valid beyond its corpus only where it holds on texts that nobody saw when it was made or chosen. So a document that the
catalogue's explain or select split holds too (the same normalised text, or one at Jaccard >= .8 of word shingles) is left out, and
so is a window whose tokens stand in one of theirs; what is left out is counted. The corpus is held in memory, up to a limit of tokens.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.catalogue import Catalogue
from autolabel.corpus import Encoder, Report, Sources, Window, cut, excerpt_id, normalise
from autolabel.corpus.batches import batched
from autolabel.corpus.grouping import texts_of
from autolabel.corpus.overlap import Overlap
from autolabel.errors import CorpusError
from autolabel.excerpts import Excerpts
from autolabel.types import Document

LIMIT = 2_000_000  # tokens that are read where no limit is given: far more than an interval needs
MOST = 100  # groups at most: more, and the column is no group but an id
AT_ONCE = 2_000  # documents or windows of one query
CHUNK = 4_096  # excerpts of one chunk


@dataclass(frozen=True)
class Part:
    """The documents of one group, or all of them."""

    documents: tuple[tuple[Document, tuple[Window, ...]], ...]
    tokenizer_hash: str
    context: int

    @cached_property
    def windows(self) -> dict[int, tuple[Document, Window]]:
        """Excerpt.id -> its document and window, in the order of documents."""
        return {excerpt_id(d.id, w.start, self.tokenizer_hash, self.context): (d, w) for d, windows in self.documents for w in windows}

    @property
    def n_excerpts(self) -> int:
        """Windows in all."""
        return len(self.windows)

    @property
    def n_tokens(self) -> int:
        """Tokens in all."""
        return sum(len(w.tokens) for _, w in self.windows.values())

    def ids(self) -> NDArray[np.int64]:
        """Of all windows, ascending."""
        return np.sort(np.fromiter(self.windows, np.int64, len(self.windows)))

    def chunks(self) -> Iterator[Excerpts]:
        """All of its windows, a few thousand at a time, always in the same order."""
        ids = list(self.windows)
        for at in range(0, len(ids), CHUNK):
            yield self.some(ids[at:at + CHUNK])

    def some(self, ids: Iterable[int]) -> Excerpts:
        """The windows with these ids."""
        names = [int(id) for id in ids]
        found = [self.windows[id] for id in names]
        return Excerpts.build(names, [d.id for d, _ in found], [d.block for d, _ in found], [w.start for _, w in found],
                              [np.array(w.tokens, np.int64) for _, w in found], [np.array(w.char_start, np.int64) for _, w in found],
                              [np.array(w.char_end, np.int64) for _, w in found], [w.text for _, w in found])


@dataclass(frozen=True)
class Elsewhere:
    """What is left of another corpus."""

    parts: Mapping[str | None, Part]  # `KEY=VALUE` -> its documents, in order of their names; None: all of them
    left_out: Mapping[str, int]  # reason -> documents (or windows)


def read_elsewhere(catalogue: Catalogue, corpus_id: str, sources: Sources, tokenizer: Any, tokenizer_hash: str, context: int, *, key: str = "",
                   max_tokens: int = 0, report: Report | None = None, progress: Callable[[int], None] = lambda tokens: None) -> Elsewhere:
    """Read `sources` beside the catalogue's corpus `corpus_id`. key: a column of metadata by whose values the documents are grouped.

    tokenizer: a transformers fast tokenizer. max_tokens: stop after the document that reaches so many; 0: LIMIT. Raises CorpusError:
    unreadable, nothing left, more than MOST groups.
    """
    report = Report() if report is None else report
    left_out = Counter[str]()
    kept: dict[int, tuple[Document, tuple[Window, ...]]] = {}
    encoder, n_tokens, limit = Encoder(tokenizer), 0, max_tokens or LIMIT
    for documents in batched(sources.documents(report, limit)):
        if n_tokens >= limit:
            break
        fresh: dict[int, Document] = {}
        for d in documents:
            if d.id not in kept:
                fresh.setdefault(d.id, d)
        left_out["copies"] += len(documents) - len(fresh)
        held = _held(catalogue, corpus_id, list(fresh))
        left_out["documents of explain or select"] += len(held)
        some = [d for d in fresh.values() if d.id not in held]
        lacking = [d.id for d in some if key and key not in d.metadata]
        left_out[f"documents without {key}"] += len(lacking)
        some = [d for d in some if not key or key in d.metadata]
        for document, (tokens, offsets) in zip(some, encoder.encode([d.text for d in some]), strict=True):
            windows, left = cut(document.text, tokens, offsets, context)
            left_out["tokens in short last windows"] += left
            left_out["documents without a token"] += not windows
            if windows and n_tokens < limit:
                kept[document.id] = document, tuple(windows)
                n_tokens += len(tokens)
        progress(n_tokens)
    for id in _near(catalogue, corpus_id, [d for d, _ in kept.values()]):
        del kept[id]
        left_out["near-duplicates of explain or select"] += 1
    repeated = _repeated(catalogue, corpus_id, [(d.id, w) for d, windows in kept.values() for w in windows])
    left_out["windows of explain or select"] = len(repeated)
    rows = [(d, tuple(w for w in windows if (d.id, w.start) not in repeated)) for d, windows in kept.values()]
    rows = [(d, windows) for d, windows in rows if windows]
    if not rows:
        why = ", ".join(f"{n:,} {reason}" for reason, n in sorted(left_out.items()) if n)
        raise CorpusError(f"nothing of {', '.join(sources.specs)} is left to score on{f' ({why})' if why else ''}")
    groups: dict[str | None, list[tuple[Document, tuple[Window, ...]]]] = {}
    for row in rows:
        groups.setdefault(f"{key}={_word(row[0].metadata[key])}" if key else None, []).append(row)
    if len(groups) > MOST:
        raise CorpusError(f"{key} has {len(groups):,} values in {', '.join(sources.specs)}: group by a column with {MOST} at most")
    return Elsewhere({name: Part(tuple(groups[name]), tokenizer_hash, context) for name in sorted(groups, key=str)}, {k: n for k, n in left_out.items() if n})


def _held(catalogue: Catalogue, corpus_id: str, ids: Sequence[int]) -> set[int]:
    """Which of these documents explain or select holds."""
    return {id for (id,) in catalogue.read("SELECT id FROM t_documents WHERE corpus_id = ? AND split <> 'test' AND id IN (SELECT unnest(?::BIGINT[]))",
                                           [corpus_id, list(ids)])}


def _near(catalogue: Catalogue, corpus_id: str, documents: Sequence[Document]) -> set[int]:
    """Which of these are near-duplicates of a document of explain or select."""
    index, found = Overlap([normalise(d.text) for d in documents]), np.zeros(len(documents), bool)
    last = -1
    while ids := [id for (id,) in catalogue.read("SELECT id FROM t_documents WHERE corpus_id = ? AND split <> 'test' AND id > ? ORDER BY id LIMIT ?",
                                                 [corpus_id, last, AT_ONCE])]:
        found |= index.near_duplicates(list(texts_of(catalogue, corpus_id, ids).values()))
        last = ids[-1]
    return {documents[i].id for i in np.flatnonzero(found).tolist()}


def _repeated(catalogue: Catalogue, corpus_id: str, windows: Sequence[tuple[int, Window]]) -> set[tuple[int, int]]:
    """(document, start) of the windows whose tokens are those of an excerpt of explain or select."""
    found: set[tuple[int, int]] = set()
    for at in range(0, len(windows), AT_ONCE):
        some = windows[at:at + AT_ONCE]
        rows = catalogue.read("WITH w AS (SELECT unnest(range(?)) AS i, unnest(?::INTEGER[][]) AS tokens) SELECT i FROM w WHERE tokens IN "
                              "(SELECT token_ids FROM t_excerpts WHERE corpus_id = ? AND split <> 'test')",
                              [len(some), [w.tokens for _, w in some], corpus_id])
        found |= {(some[i][0], some[i][1].start) for (i,) in rows}
    return found


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
