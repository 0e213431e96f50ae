"""The concept hierarchy."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.errors import SetupError
from autolabel.hierarchy import Hierarchy, inflections

TEXT = "# concepts\nthing\t\tthings\t\n\nanimal.n\tthing\tanimals\tanimal\nbird\tanimal.n\tbirds\tbird|Polar Tern|crow\ncity\tthing\tcities\tcity|crow\n"


def test_the_tree() -> None:
    h = Hierarchy.parse(TEXT)
    assert h.root == "thing" and h.label("animal.n") == "animals"
    assert h.terms("animal.n") == ("animal", "bird", "Polar Tern", "crow") and h.terms("thing") == ("animal", "bird", "Polar Tern", "crow", "city")
    assert h.children("thing") == ("animal.n", "city") and h.ancestors("bird") == ("animal.n", "thing")


def test_words_match_in_their_inflected_forms() -> None:
    h = Hierarchy.parse(TEXT)
    single, phrases = h.lexicon("thing")
    assert {"bird", "birds", "city", "cities", "crows"} <= single and "bir" not in single
    assert ("polar", "tern") in phrases and ("polar", "terns") in phrases and ("polars", "tern") not in phrases
    assert h.concepts_of("Crows") == ("bird", "city") and h.concepts_of("polar terns") == ("bird",) and h.concepts_of("x") == () and h.concepts_of("") == ()


@pytest.mark.parametrize(("word", "forms"), [("stop", {"stops", "stopped", "stopping"}), ("bake", {"bakes", "baked", "baking"}), ("try", {"tries", "tried", "trying"}),
                                             ("box", {"boxes", "boxed"}), ("日本", set()), ("b2b", set())])
def test_inflections(word: str, forms: set[str]) -> None:
    assert inflections(word)[0] == word and forms <= set(inflections(word))
    assert forms or inflections(word) == (word,)


@pytest.mark.parametrize(("text", "message"), [
    ("", "no concept"), ("a\tb\n", "line 1: 2 columns"), ("a\t\ta\t\na\t\ta\t\n", "line 2: the concept 'a' stands in line 1"), ("a\t\t\tx\n", "label is empty"),
    ("a\t\ta\t\nb\tc\tb\t\n", "line 2: the parent 'c'"), ("a\t\ta\t\nb\t\tb\t\n", "line 2: 'b' has no parent"),
    ("a\t\ta\t\nb\tc\tb\t\nc\tb\tc\t\n", "line 2: 'b' lies above itself: b < c < b"), ("a\ta\ta\t\n", "line 1: 'a' lies above itself"),
])
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        Hierarchy.parse(text)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "h.tsv").write_text(TEXT.replace("\n", "\r\n"), encoding="utf-8")
    assert Hierarchy.load(tmp_path / "h.tsv") == Hierarchy.parse(TEXT)
    (tmp_path / "bad.tsv").write_bytes(b"\xff\xfe")
    for name in ("none.tsv", "bad.tsv"):
        with pytest.raises(SetupError, match=name):
            Hierarchy.load(tmp_path / name)


def test_an_unknown_concept_is_met_with_the_nearest() -> None:
    with pytest.raises(SetupError, match=r"did you mean animal\.n"):
        Hierarchy.parse(TEXT).label("animal")
