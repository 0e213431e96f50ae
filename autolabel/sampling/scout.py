"""What must be known of explain before its pass: how often each token type occurs, and which excerpts come first in hash order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.excerpts import Excerpts
from autolabel.sampling.shared import TOKENS

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scout:
    """Counts over the stored excerpts, special ids left out."""

    types: Ints  # [n] token ids that occur, ascending
    count: Ints  # [n] how often
    shared_id: Ints  # ids of the first excerpts in hash order, enough for 8,192 tokens
    shared_tokens: Ints  # tokens of each that count
    n_excerpts: int
    n_tokens: int  # that count

    @classmethod
    def of(cls, chunks: Iterable[Excerpts], special: Ints) -> Scout:
        """One streaming look; chunks come in hash order."""
        seen = np.zeros(1 << 15, np.int64)
        ids: list[int] = []
        tokens: list[int] = []
        n_excerpts = 0
        for chunk in chunks:
            n_excerpts += len(chunk)
            valid = ~np.isin(chunk.tokens, special)
            found = np.bincount(chunk.tokens[valid])
            if len(found) > len(seen):
                seen = np.pad(seen, (0, len(found) - len(seen)))
            seen[:len(found)] += found
            if sum(tokens) < TOKENS:
                per = np.add.reduceat(np.append(valid, False).astype(np.int64), chunk.offset[:-1]) if len(chunk) else np.zeros(0, np.int64)
                for row in np.argsort(chunk.id).tolist():
                    if sum(tokens) >= TOKENS:
                        break
                    ids.append(int(chunk.id[row]))
                    tokens.append(int(per[row]))
        types = np.flatnonzero(seen)
        return cls(types, seen[types], np.array(ids, np.int64), np.array(tokens, np.int64), n_excerpts, int(seen.sum()))


def take(excerpts: Excerpts, rows: Ints) -> Excerpts:
    """Some excerpts of a chunk, in the order of `Excerpts`."""
    def flat(column: Ints) -> list[Ints]:
        return [column[excerpts.offset[row]:excerpts.offset[row + 1]] for row in rows]
    return Excerpts.build(excerpts.id[rows], excerpts.document[rows], excerpts.block[rows], excerpts.start[rows], flat(excerpts.tokens),
                          flat(excerpts.char_start), flat(excerpts.char_end), [excerpts.text[row] for row in rows])
