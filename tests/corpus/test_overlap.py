"""Near-duplicates by the inverted index, against every pair by itself."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.corpus.near import Shingler, jaccard
from autolabel.corpus.overlap import Overlap


def texts(rng: np.random.Generator, n: int) -> list[str]:
    """Some of them edited copies of each other, some very short."""
    out: list[str] = []
    for _ in range(n):
        if out and rng.random() < 0.6:
            words = out[int(rng.integers(len(out)))].split()
            for _ in range(int(rng.integers(0, 4))):
                words[int(rng.integers(len(words)))] = f"w{rng.integers(60)}"
        else:
            words = [f"w{i}" for i in rng.integers(0, 60, int(rng.integers(1, 40)))]
        out.append(" ".join(words))
    return out


@pytest.mark.parametrize("seed", range(4))
def test_the_same_as_pair_by_pair(seed: int) -> None:
    everything = texts(np.random.default_rng(seed), 80)
    mine, theirs = everything[::2], everything[1::2]
    sets = {t: Shingler().shingles([t])[0] for t in everything}
    want = [any(jaccard(sets[a], sets[b]) >= 0.8 for b in theirs) for a in mine]
    assert Overlap(mine).near_duplicates(theirs).tolist() == want and 3 < sum(want) < len(mine)
    one_by_one = [Overlap(mine).near_duplicates([b]) for b in theirs]
    assert np.any(one_by_one, axis=0).tolist() == want


def test_nothing_is_like_nothing() -> None:
    assert Overlap(["a b c d"]).near_duplicates([]).tolist() == [False]
    assert Overlap([]).near_duplicates(["a b c d"]).tolist() == []
    assert Overlap(["a b c d"]).near_duplicates(["e f g h"]).tolist() == [False]


def test_one_word_in_forty_may_differ_on_either_side() -> None:
    words = [f"x{i}" for i in range(40)]
    changed, half = [*words[:20], "other", *words[21:]], words[:20]
    assert Overlap([" ".join(words)]).near_duplicates([" ".join(changed)]).tolist() == [True]
    assert Overlap([" ".join(words), " ".join(half)]).near_duplicates([" ".join(words[:34])]).tolist() == [True, False]
    assert Overlap([" ".join(words[:34])]).near_duplicates([" ".join(words)]).tolist() == [True]
