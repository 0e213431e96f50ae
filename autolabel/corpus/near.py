"""Near-duplicates: MinHash signatures of word 3-shingles, and the exact Jaccard similarity that a candidate pair must pass.

Broder 1997; banding after Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, chapter 3. 128 permutations in 16 bands
of 8 rows make a pair at Jaccard s a candidate with probability 1 - (1 - s**8)**16: .947 at .8, .06 at .5. The signatures
are datasketch's; shingles are hashed once per distinct word. The hashes depend on the text alone: never on the process, the order or the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS, BANDS = 128, 16
ROWS = PERMUTATIONS // BANDS
SHINGLE = 3  # words: short enough that one changed word in forty leaves a pair above the threshold
THRESHOLD = 0.8  # Jaccard similarity from which two documents are near-duplicates
ALL_PAIRS = 24  # documents that share a band: up to this many, each pair is looked at
VOCABULARY = 50_000  # words whose hashes are kept at hand

Hashes = NDArray[np.uint64]

_UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")
SEED = 20_240_601  # of the permutations: fixed, they are part of the corpus id
_STEP = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


class Shingler:
    """Turns normalised texts into shingle hashes. It keeps the hashes of words it has met, up to a fixed number."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def shingles(self, texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
        """Flat shingle hashes of normalised texts, and [n + 1] where each text's begin. Every text has at least one."""
        words: list[int] = []
        first = [0]
        for text in texts:
            found = self._words(text)
            words += found + [0] * (SHINGLE - len(found))  # a text of one or two words is one shingle
            first.append(len(words))
        flat, at = np.array(words, np.uint64), np.array(first, np.int64)
        if len(flat) < SHINGLE:
            return np.zeros(0, np.uint64), np.zeros(len(texts) + 1, np.int64)
        whole = _mix(sum((_mix(flat[i:len(flat) - SHINGLE + 1 + i] * step) * step for i, step in enumerate(_STEP)),
                         np.zeros(1, np.uint64)))
        inside = np.ones(len(whole), bool)
        for seam in range(1, SHINGLE):  # shingles that begin in one text and end in the next
            inside[at[1:-1] - seam] = False
        return whole[inside], at - np.arange(len(at)) * (SHINGLE - 1)

    def _words(self, text: str) -> list[int]:
        if not text.isascii():
            text = _UNSPACED.sub(r" \1 ", text)
        known, found = self._known, []
        for word in text.split():
            value = known.get(word)
            if value is None:
                if len(known) >= VOCABULARY:
                    known.clear()
                value = known[word] = int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            found.append(value)
        return found


def signatures(shingles: Hashes, first: NDArray[np.int64]) -> NDArray[np.uint32]:
    """[n, 128] MinHash signatures of n texts from their flat shingle hashes."""
    from datasketch import MinHash  # brings half of scipy along


    out = np.empty((len(first) - 1, PERMUTATIONS), np.uint32)
    values = (shingles >> np.uint64(32)).tolist()  # datasketch permutes 32-bit hashes
    texts = (values[low:high] for low, high in pairwise(first.tolist()))
    for row, made in enumerate(MinHash.generator(texts, num_perm=PERMUTATIONS, seed=SEED, hashfunc=int, scheme="affine32")):
        out[row] = made.hashvalues
    return out


def bands(signature: NDArray[np.uint32]) -> NDArray[np.int64]:
    """[n, 16] one hash per band of 8 rows: documents that share one are candidates."""
    rows = signature.astype(np.uint64).reshape(len(signature), BANDS, ROWS)
    hashed = np.full(rows.shape[:2], np.uint64(0x27D4EB2F165667C5))
    for row in range(ROWS):
        hashed = _mix((hashed ^ rows[:, :, row]) * _STEP[0])
    return (hashed >> np.uint64(1)).astype(np.int64)


def jaccard(left: Hashes, right: Hashes) -> float:
    """|A and B| / |A or B| of two sets of shingle hashes, in [0, 1]."""
    a, b = np.unique(left), np.unique(right)
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def pairs(group: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The pairs to verify among documents that share a band, smaller id first.

    All of them in a small group. In a large one (a template filled a thousand times) each against the smallest id and against
    its neighbour, so that the work stays linear; another band has other neighbours.
    """
    ids = sorted(set(group))
    if len(ids) <= ALL_PAIRS:
        yield from ((a, b) for i, a in enumerate(ids) for b in ids[i + 1:])
        return
    for before, id in pairwise(ids):
        yield ids[0], id
        if before != ids[0]:
            yield before, id


class Groups:
    """Connected sets of ids; each is named by its smallest member. Holds only ids that were linked to another."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def root(self, id: int) -> int:
        """The smallest id of its set."""
        parent = self._parent
        while (above := parent.get(id, id)) != id:
            parent[id] = parent.get(above, above)
            id = above
        return id

    def link(self, left: int, right: int) -> None:
        """Put two sets together."""
        a, b = self.root(left), self.root(right)
        if a != b:
            self._parent[max(a, b)] = min(a, b)
            self._parent.setdefault(min(a, b), min(a, b))

    def members(self) -> Iterable[int]:
        """All ids that are linked to another."""
        return self._parent


def _mix(x: Hashes) -> Hashes:
    """The finaliser of splitmix64: every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
