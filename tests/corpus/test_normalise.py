from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from autolabel.corpus.normalise import document, normalise, split_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXT)
def test_composition_and_white_space_do_not_matter(text: str) -> None:
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(text)
    assert normalise(f"\r\n {text}\u3000\t") == normalise(text)
    assert normalise(text.replace(" ", " \n\t ")) == normalise(text)


@given(TEXT)
def test_the_result_is_composed_and_single_spaced(text: str) -> None:
    done = normalise(text)
    assert unicodedata.is_normalized("NFC", done)
    assert done == " ".join(done.split())


@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_ascii_case_does_not_matter(text: str) -> None:
    assert normalise(text.upper()) == normalise(text.lower()) == normalise(normalise(text))


def test_folding_reaches_beyond_lower_case() -> None:
    assert normalise("STRASSE") == normalise("straße")
    assert normalise("Ｅ\u0301") != normalise("é"), "NFC keeps full-width letters apart: only NFKC would merge them"


def test_equal_texts_are_one_document_in_any_corpus() -> None:
    a, b = document("The  Cat", "a", {"x": 1}), document("the cat\n", "b")
    assert a.id == b.id == a.block and document("the cats", "a").id != a.id
    assert document("the cat", "a", block=7).block == 7


def test_split_shares() -> None:
    n = 20_000
    counts = {"explain": 0, "select": 0, "test": 0}
    for i in range(n):
        counts[split_of(document(f"text {i}", "c").id)] += 1
    # Five standard deviations of a binomial share of .5 are .018.
    assert abs(counts["explain"] / n - 0.5) < 0.018 and abs(counts["select"] / n - 0.2) < 0.018 and abs(counts["test"] / n - 0.3) < 0.018


def test_the_smallest_of_many_ids_is_not_pulled_into_explain() -> None:
    ids = [document(f"text {i}", "c").id for i in range(20_000)]
    smallest = [split_of(min(ids[i:i + 10])) for i in range(0, len(ids), 10)]
    assert abs(smallest.count("explain") / len(smallest) - 0.5) < 0.06
