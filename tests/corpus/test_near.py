from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.corpus import near
from autolabel.corpus.near import Groups, Shingler, bands, jaccard, pairs, signatures


def words(rng: random.Random, n: int) -> list[str]:
    return ["".join(rng.choices("abcdefgh", k=5)) for _ in range(n)]


def brute(a: str, b: str) -> float:
    """Jaccard of the sets of word triples, by definition."""
    def triples(text: str) -> set[tuple[str, ...]]:
        w = text.split()
        return {tuple(w[i:i + 3]) for i in range(len(w) - 2)} if len(w) > 2 else {tuple(w)}
    x, y = triples(a), triples(b)
    return len(x & y) / len(x | y)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=12), min_size=2, max_size=6))
def test_jaccard_of_batched_shingles_is_the_jaccard_of_word_triples(texts: list[list[str]]) -> None:
    joined = [" ".join(t) for t in texts]
    flat, first = Shingler().shingles(joined)
    assert first[0] == 0 and first[-1] == len(flat) and (np.diff(first) >= 1).all()
    for i in range(len(texts)):
        for j in range(i):
            assert jaccard(flat[first[i]:first[i + 1]], flat[first[j]:first[j + 1]]) == brute(joined[i], joined[j])


def test_a_text_hashes_alike_alone_and_in_company() -> None:
    text, other = "one two three four five", "six seven"
    alone, _ = Shingler().shingles([text])
    flat, first = Shingler().shingles([other, text, other])
    assert (flat[first[1]:first[2]] == alone).all()
    assert Shingler().shingles([]) [0].size == 0 and signatures(*Shingler().shingles([])).shape == (0, 128)
    assert int(alone[0]) == int(Shingler().shingles([text])[0][0]), "no hash may depend on the process"


def test_unspaced_scripts_have_words() -> None:
    _, first = Shingler().shingles(["日本語のテキストです"])
    assert first[-1] == 8


def test_signatures_estimate_jaccard() -> None:
    rng = random.Random(1)
    texts, truth = [], []
    for changed in range(0, 60, 2):
        a = words(rng, 200)
        b = a[:]
        for i in rng.sample(range(200), changed):
            b[i] = "x" + b[i]
        texts += [" ".join(a), " ".join(b)]
        truth.append(brute(texts[-2], texts[-1]))
    s = signatures(*Shingler().shingles(texts))
    estimate = (s[::2] == s[1::2]).mean(axis=1)
    errors = estimate - np.array(truth)
    # The standard deviation of one estimate is at most sqrt(.25 / 128) = .044; of the mean of 30, .008.
    assert abs(errors.mean()) < 0.03 and np.abs(errors).max() < 0.18


def test_bands_find_nearly_all_pairs_at_the_threshold_and_few_unlike_ones() -> None:
    rng = random.Random(2)
    found: dict[str, list[bool]] = {"near": [], "far": []}
    texts: list[str] = []
    kinds: list[str] = []
    while kinds.count("near") < 500 or kinds.count("far") < 500:
        a = words(rng, 120)
        b = a[:]
        for i in rng.sample(range(120), rng.choice([2, 3, 4, 5, 18])):
            b[i] = "x" + b[i]
        similarity = brute(" ".join(a), " ".join(b))
        kind = "near" if similarity >= near.THRESHOLD else "far" if similarity < 0.5 else ""
        if kind and kinds.count(kind) < 500:
            texts += [" ".join(a), " ".join(b)]
            kinds.append(kind)
    hashed = bands(signatures(*Shingler().shingles(texts)))
    for i, kind in enumerate(kinds):
        found[kind].append(bool((hashed[2 * i] == hashed[2 * i + 1]).any()))
    assert np.mean(found["near"]) >= 0.95 and np.mean(found["far"]) < 0.2


def test_all_pairs_of_a_small_group_linear_work_in_a_large_one() -> None:
    assert list(pairs([3, 1, 2, 1])) == [(1, 2), (1, 3), (2, 3)]
    many = list(pairs(range(1000)))
    assert len(many) < 2000 and {b for _, b in many} == set(range(1, 1000)) and all(a < b for a, b in many)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_groups_are_connected_components_named_by_their_smallest(links: list[tuple[int, int]]) -> None:
    groups = Groups()
    component = {i: {i} for i in range(21)}
    for a, b in links:
        groups.link(a, b)
        both = component[a] | component[b]
        for i in both:
            component[i] = both
    assert all(groups.root(i) == min(component[i]) for i in range(21))
    assert set(groups.members()) == {i for i in range(21) if len(component[i]) > 1}
