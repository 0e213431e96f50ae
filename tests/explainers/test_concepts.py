"""How the concepts of the box are said in a label."""

from __future__ import annotations

import pytest

from autolabel.explainers.induce.features import _said
from autolabel.hierarchy import Hierarchy


@pytest.mark.parametrize(("term", "said"), [
    ("hours", "words for units of time"), ("saucepan", "words for kitchen tools"), ("they", "personal pronouns"), ("beneath", "prepositions of place"),
    ("was", "forms of be"), ("km", "words for units of length"), ("kwh", "short forms of units"), ("fatima", "names of women"), ("didn't", "shortened denials"),
    ("gruel", "words for porridge and pancakes"), ("beta blocker", "words for heart drugs"),
])
def test_a_concept_is_said_as_a_person_would(term: str, said: str) -> None:
    h = Hierarchy.default()
    assert said in {_said(h.label(a)) for name in h.concepts_of(term) for a in (name, *h.ancestors(name))}
