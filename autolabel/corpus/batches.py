"""Many documents at once: tokens, windows and MinHash bands as the columns that the catalogue takes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.corpus import near
from autolabel.corpus.normalise import normalise, split_of
from autolabel.corpus.tokens import Encoder
from autolabel.corpus.windows import cut, excerpt_id
from autolabel.memory import uncollected
from autolabel.types import Document

DOCUMENTS, CHARACTERS = 4096, 1 << 20  # a batch holds at most so many: about 250,000 tokens, 100 MB while it is worked on
Columns = Mapping[str, NDArray[Any] | Sequence[Any]]
WHOLE_SEAM = 0  # hash of a row in `bands` that is no band, see `Batch.bands`


@dataclass(frozen=True)
class Batch:
    """What a batch of documents adds to a corpus. Columns are named as in the catalogue."""

    n_read: int  # documents taken from the source: all, or up to the one that reached the limit
    n_tokens: int  # content tokens of the new documents
    n_copies: int  # documents whose text was there before
    documents: Columns  # new documents
    excerpts: Columns  # their windows
    # 16 MinHash bands per new document (band >= 0); and one row with band = -k for each k > 0 whose window begins inside a
    # word, so that the words of the document can be put together again from its excerpts.
    bands: Columns
    copies: dict[int, int]  # id of a document that was stored before -> further copies met
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> count


class Cutter:
    """Tokenises and cuts documents for one tokenizer and context length."""

    def __init__(self, tokenizer: Any, tokenizer_hash: str, context: int) -> None:  # Any: a transformers fast tokenizer
        # One thread: several wait for each other's memory (memory.py gives all of them one arena) and took half as long again.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._encoder = Encoder(tokenizer)
        self._hash, self._context = tokenizer_hash, context
        self._shingler = near.Shingler()

    @uncollected()
    def cut(self, documents: Sequence[Document], known: AbstractSet[int], room: int | None) -> Batch:
        """One batch. known: ids that the corpus holds already. room: stop after the document that fills so many tokens."""
        fresh: dict[int, Document] = {}
        for document in documents:
            if document.id not in known:
                fresh.setdefault(document.id, document)
        encodings = dict(zip(fresh, self._encoder.encode([d.text for d in fresh.values()]), strict=True))
        rows: dict[str, list[Any]] = {c: [] for c in ("id", "block", "corpus", "split", "n_tokens", "metadata")}
        windows: dict[str, list[Any]] = {c: [] for c in ("id", "document", "block", "split", "start", "n_tokens", "token_ids", "char_start",
                                                         "char_end", "text")}
        joined: list[tuple[int, int]] = []
        copies, dropped, seen = Counter[int](), Counter[str](), set[int]()
        n_read = n_tokens = 0
        for document in documents:
            if room is not None and n_tokens >= room:
                break
            n_read += 1
            if document.id in known or document.id in seen:
                copies[document.id] += 1
                continue
            tokens, offsets = encodings[document.id]
            if not tokens:
                dropped["documents without a token"] += 1
                continue
            seen.add(document.id)
            n_tokens += len(tokens)
            split = split_of(document.block)
            _append(rows, document.id, document.block, document.corpus, split, len(tokens),
                    json.dumps(dict(document.metadata), ensure_ascii=False))
            cuts, left = cut(document.text, tokens, offsets, self._context)
            if left:
                dropped["short last windows"] += 1
                dropped["tokens in short last windows"] += left
            for number, w in enumerate(cuts):
                _append(windows, excerpt_id(document.id, w.start, self._hash, self._context), document.id, document.block, split, w.start,
                        len(w.tokens), w.tokens, w.char_start, w.char_end, w.text)
                if w.joined:
                    joined.append((document.id, -number))
        rows["copies"] = [copies.pop(id, 0) for id in rows["id"]]
        bands = self._bands([normalise(fresh[id].text) for id in rows["id"]], rows["id"], joined)
        return Batch(n_read, n_tokens, sum(rows["copies"]) + sum(copies.values()), rows, windows, bands, dict(copies), dict(dropped))

    def _bands(self, texts: Sequence[str], ids: Sequence[int], joined: Sequence[tuple[int, int]]) -> Columns:
        hashes = near.bands(near.signatures(*self._shingler.shingles(texts)))
        seams = np.array(joined, np.int64).reshape(-1, 2)
        return {"document": np.concatenate([np.repeat(np.array(ids, np.int64), near.BANDS), seams[:, 0]]),
                "band": np.concatenate([np.tile(np.arange(near.BANDS), len(ids)), seams[:, 1]]),
                "hash": np.concatenate([hashes.ravel(), np.full(len(seams), WHOLE_SEAM, np.int64)])}


def batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in lists that are bounded in number and in characters; a longer document comes alone."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        if batch and (len(batch) >= DOCUMENTS or size + len(document.text) > CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document.text)
    if batch:
        yield batch


def _append(columns: dict[str, list[Any]], *values: object) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)
