"""Second phase: blocks with near-duplicates of each other share one split, and what test shares with the others is counted.

Candidates come from the MinHash bands, a band at a time, grouped in SQL; each pair is verified by the exact Jaccard
similarity of its word shingles, read back from the excerpts. Memory grows with the number of near-duplicates, not with the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from autolabel.corpus import near
from autolabel.corpus.normalise import normalise, split_of
from autolabel.types import SPLITS, Split

if TYPE_CHECKING:
    import duckdb

    from autolabel.catalogue import Catalogue

PAIRS = 1024  # verified at a time
AT_ONCE = 10_000  # documents up to which all bands are grouped in one query; a larger corpus takes one query a band
# A condition on excerpts: in test, with tokens that an excerpt of explain or select has too. Takes the corpus id twice.
BOILERPLATE = ("corpus_id = ? AND split = 'test' AND hash(token_ids) IN "
               "(SELECT hash(token_ids) FROM t_excerpts WHERE corpus_id = ? AND split <> 'test')")


@dataclass(frozen=True)
class Found:
    """What is tied together by near-duplicates."""

    n: int  # documents that another one makes redundant
    blocks: dict[Split, list[int]]  # blocks tied to others, by the split that they share


def find(catalogue: Catalogue, corpus_id: str) -> Found:
    """Near-duplicates, and where their blocks belong. Nothing is changed."""
    linked = near_duplicates(catalogue, corpus_id)
    members = sorted(linked.members())
    blocks: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for block, split in _moves(catalogue, corpus_id, linked, members):
        blocks[split].append(block)
    return Found(len(members) - len({linked.root(id) for id in members}), blocks)


def move(connection: duckdb.DuckDBPyConnection, corpus_id: str, found: Found) -> None:
    """Put tied blocks into one split, and count the boilerplate of test. Doing it again changes nothing."""
    for split, blocks in found.blocks.items():
        for table in ("t_documents", "t_excerpts") if blocks else ():
            connection.execute(f"UPDATE {table} SET split = ? WHERE corpus_id = ? AND split <> ? "
                               "AND block IN (SELECT unnest(?::BIGINT[]))", [split, corpus_id, split, blocks])
    row = connection.execute("SELECT count(*), coalesce(sum(n_tokens), 0) FROM t_excerpts WHERE "
                             f"{BOILERPLATE}", [corpus_id] * 2).fetchone()
    kept = connection.execute("SELECT dropped FROM corpora WHERE id = ?", [corpus_id]).fetchone()
    assert row is not None and kept is not None
    dropped = json.loads(kept[0]) | {"test excerpts that another split holds too": row[0], "their tokens": int(row[1])}
    connection.execute("UPDATE corpora SET n_near_duplicates = ?, dropped = ? WHERE id = ?", [found.n, json.dumps(dropped), corpus_id])


def near_duplicates(catalogue: Catalogue, corpus_id: str) -> near.Groups:
    """Documents linked by a chain of pairs at Jaccard >= .8."""
    linked, shingler = near.Groups(), near.Shingler()
    refuted: set[tuple[int, int]] = set()  # pairs met in an earlier band
    n = catalogue.read("SELECT n_documents FROM corpora WHERE id = ?", [corpus_id])[0][0]
    step = near.BANDS if n <= AT_ONCE else 1
    for band in range(0, near.BANDS, step):
        these = [corpus_id, band, band + step]
        # Lists only of what is shared: a list for each of millions of lonely hashes would not fit into memory.
        rows = catalogue.read("WITH these AS (SELECT * FROM bands WHERE corpus_id = ? AND band >= ? AND band < ?), "
                              "shared AS (SELECT band, hash FROM these GROUP BY band, hash HAVING count(*) > 1) "
                              "SELECT list(document ORDER BY document) FROM these SEMI JOIN shared USING (band, hash) "
                              "GROUP BY band, hash ORDER BY band, min(document)", these)
        candidates = (pair for (ids,) in rows for pair in near.pairs(ids))
        while some := list(islice((p for p in candidates if p not in refuted and linked.root(p[0]) != linked.root(p[1])), PAIRS)):
            if len(refuted) > 1_000_000:
                refuted.clear()
            for pair, similarity in _verified(catalogue, corpus_id, some, shingler):
                if similarity >= near.THRESHOLD:
                    linked.link(*pair)
                else:
                    refuted.add(pair)
    return linked


def _verified(catalogue: Catalogue, corpus_id: str, pairs: Sequence[tuple[int, int]],
              shingler: near.Shingler) -> Iterator[tuple[tuple[int, int], float]]:
    """Each pair with its exact similarity."""
    ids = sorted({id for pair in pairs for id in pair})
    texts = texts_of(catalogue, corpus_id, ids)
    flat, first = shingler.shingles([texts[id] for id in ids])
    sets = {id: flat[first[i]:first[i + 1]] for i, id in enumerate(ids)}
    for a, b in pairs:
        yield (a, b), near.jaccard(sets[a], sets[b])


def texts_of(catalogue: Catalogue, corpus_id: str, ids: Sequence[int]) -> dict[int, str]:
    """Normalised texts of documents, put together from their excerpts (a short last window that was dropped is missing).

    In a corpus that is complete, and has no bands any more, a word on the seam of two windows comes in two parts.
    """
    these = "corpus_id = ? AND document IN (SELECT unnest(?::BIGINT[]))"
    joined = set(catalogue.read(f"SELECT document, -band FROM bands WHERE {these} AND band < 0", [corpus_id, ids]))
    parts: dict[int, list[str]] = {}
    for document, number, text in catalogue.read(f"SELECT document, row_number() OVER (PARTITION BY document ORDER BY start) - 1, text "
                                                 f"FROM t_excerpts WHERE {these} ORDER BY document, start", [corpus_id, ids]):
        parts.setdefault(document, []).append(text if not number or (document, number) in joined else " " + text)
    return {id: normalise("".join(parts.get(id, ()))) for id in ids}


def _moves(catalogue: Catalogue, corpus_id: str, linked: near.Groups, members: Iterable[int]) -> Iterator[tuple[int, Split]]:
    """(block, split) of every block that a near-duplicate ties to another: the split of the smallest block tied together."""
    members = list(members)
    block_of: dict[int, int] = {}
    for at in range(0, len(members), 100_000):
        block_of.update(catalogue.read("SELECT id, block FROM t_documents WHERE corpus_id = ? AND id IN (SELECT unnest(?::BIGINT[]))",
                                       [corpus_id, members[at:at + 100_000]]))
    blocks = near.Groups()
    for id in members:
        blocks.link(block_of[linked.root(id)], block_of[id])
    for block in blocks.members():
        yield block, split_of(blocks.root(block))
