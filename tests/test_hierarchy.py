"""The concept hierarchy."""

from __future__ import annotations

import gzip
import hashlib
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import ExtraError, SetupError
from autolabel.hierarchy import Hierarchy, bases, inflections, matches_of
from eval.hierarchy_card import SMALL, STOP, Card, card
from tests.conftest import ROOT

TEXT = "# concepts\nthing\t\tthings\t\n\nanimal.n\tthing\tanimals\tanimal\nbird\tanimal.n\tbirds\tbird|Polar Tern|crow\ncity\tthing\tcities\tcity|crow\n"


def test_the_tree() -> None:
    h = Hierarchy.parse(TEXT)
    assert h.root == "thing" and h.label("animal.n") == "animals"
    assert h.terms("animal.n") == ("animal", "bird", "Polar Tern", "crow") and h.terms("thing") == ("animal", "bird", "Polar Tern", "crow", "city")
    assert h.children("thing") == ("animal.n", "city") and h.ancestors("bird") == ("animal.n", "thing")


def test_words_match_in_their_inflected_forms() -> None:
    h = Hierarchy.parse(TEXT)
    words = ["bird", "birds", "bir", "cities", "crows", "polar", "tern", "terns", "polars"]
    found = {name: [tuple(words[i] for i in match) for match in matches] for name, matches in h.find(words).items()}
    assert found == {"bird": [("bird",), ("birds",), ("crows",), ("polar", "tern"), ("polar", "terns")], "city": [("cities",), ("crows",)]}
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


def test_a_concept_may_lie_under_several() -> None:
    h = Hierarchy.parse("all\t\tall\t\nfood\tall\tfood\t\nplant\tall\tplants\tmoss\nherb\tfood|plant\therbs\tbasil|sage\n")
    assert h.ancestors("herb") == ("food", "plant", "all") and h.terms("all") == ("basil", "sage", "moss") and h.levels["herb"] == 2
    with pytest.raises(SetupError, match="line 2: 'b' lies above itself: b < d < b"):
        Hierarchy.parse("a\t\ta\t\nb\ta|d\tb\t\nc\ta\tc\t\nd\ta|b\td\t\n")


def test_a_deep_chain_is_no_trouble() -> None:
    lines = ["c0\t\tc0\t\n", *(f"c{i}\tc{i - 1}\tc{i}\tword{i}\n" for i in range(1, 5000))]
    h = Hierarchy.parse("".join(reversed(lines)))
    assert h.levels["c4999"] == 4999 and len(h.terms("c0")) == 4999
    with pytest.raises(SetupError, match="lies above itself"):
        Hierarchy.parse("r\t\tr\t\n" + "".join(["c0\tc4999\tc0\t\n", *lines[1:]]))


@given(st.text("abcdeginsyz'’", min_size=1, max_size=9))
def test_bases_find_every_word_of_which_it_is_a_form(word: str) -> None:
    for form in inflections(word):
        assert word in bases(form)


@given(st.lists(st.text("aeisd", min_size=1, max_size=4).map(str.strip), min_size=1, max_size=6), st.lists(st.text("aeisd", min_size=1, max_size=6), unique=True))
def test_find_is_what_matching_each_term_would_find(terms: list[str], words: list[str]) -> None:
    pairs = [f"{a} {b}" for a, b in pairwise(terms)]
    h = Hierarchy.parse(f"a\t\ta\t{'|'.join([*terms, *pairs])}\n")
    wanted = {m for term in h.terms("a") for m in matches_of(term) if all(w in words for w in m)}
    found = h.find(words).get("a", [])
    assert sorted(tuple(words[i] for i in match) for match in found) == sorted(wanted)


WORDNET = "synset\tpos\tlexfile\tlemmas\thypernyms\tdefinition\n1-n\tn\tnoun.Tops\tentity\t\tx\n2-n\tn\tnoun.animal\tdog|domestic_dog\t1-n\ty\n3-v\tv\tverb.motion\tgo\t\tz\n"


def test_wordnet(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "w.tsv.gz", "wt", encoding="utf-8") as file:
        file.write(WORDNET)
    h = Hierarchy.load(tmp_path / "w.tsv.gz")
    assert h.root == "everything" and h.ancestors("2-n") == ("1-n", "noun.Tops", "everything") and h.concepts_of("domestic dogs") == ("2-n",)
    assert h.label("3-v") == "go" and h.ancestors("3-v")[0] == "verb.motion" and h.hash == hashlib.sha256(WORDNET.encode()).hexdigest()


def test_open_english_wordnet(material: Path) -> None:
    h = Hierarchy.load(material / "hierarchy" / "english-wordnet.tsv.gz")
    assert len(h.concepts) > 100_000
    dogs = {h.label(name) for name in h.concepts_of("dogs")}
    assert "dog" in dogs and any("animal" in [h.label(a) for a in h.ancestors(name)] for name in h.concepts_of("dog"))


SKOS = """@prefix skos: <http://www.w3.org/2004/02/skos/core#> . @prefix : <http://example.org/t/> .
:animals a skos:Concept ; skos:prefLabel "animals"@en , "Tiere"@de ; skos:narrower :birds .
:birds a skos:Concept ; skos:prefLabel "birds"@en ; skos:altLabel "fowl"@en , "Vogel"@de .
:owls skos:broader :birds ; skos:prefLabel "owls" .
:tools a skos:Concept ; skos:prefLabel "tools"@en ; skos:hiddenLabel "toolz" .
"""
OWL = """<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:owl="http://www.w3.org/2002/07/owl#"
 xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#"><owl:Class rdf:about="http://x.org/o#Disease"/>
<owl:Class rdf:about="http://x.org/o#HeartDisease"><rdfs:subClassOf rdf:resource="http://x.org/o#Disease"/>
<rdfs:subClassOf><owl:Restriction><owl:onProperty rdf:resource="http://x.org/o#in"/></owl:Restriction></rdfs:subClassOf></owl:Class>
<owl:Class rdf:about="http://x.org/o#Flu"><rdfs:label>influenza</rdfs:label><rdfs:subClassOf rdf:resource="http://x.org/o#Disease"/></owl:Class></rdf:RDF>"""


def test_skos_and_owl(tmp_path: Path) -> None:
    pytest.importorskip("rdflib")
    (tmp_path / "t.ttl").write_text(SKOS, encoding="utf-8")
    h = Hierarchy.load(tmp_path / "t.ttl")
    assert h.ancestors("owls") == ("birds", "animals", "everything") and h.label("animals") == "animals"
    assert set(h.terms("animals")) == {"animals", "Tiere", "birds", "fowl", "Vogel", "owls"} and h.concepts_of("toolz") == ("tools",)
    (tmp_path / "o.owl").write_text(OWL, encoding="utf-8")
    h = Hierarchy.load(tmp_path / "o.owl")
    assert h.root == "Disease" and h.label("HeartDisease") == "Heart Disease" and h.terms("Flu") == ("influenza",)


BOMB = '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>' + OWL.removeprefix('<?xml version="1.0"?>')


@pytest.mark.parametrize(("name", "data", "message"), [
    ("bomb.owl", BOMB.encode(), "document type"), ("bomb16.owl", BOMB.encode("utf-16"), "document type"), ("half.owl", OWL[:300].encode(), "no valid RDF/XML"),
    ("none.owl", b"<?xml version='1.0'?><a/>", "no (SKOS concept|valid RDF/XML)"), ("noise.ttl", b"\x00\xff\xfe nonsense", "no valid Turtle"), ("empty.ttl", b"", "no SKOS concept"),
    ("deep.ttl", SKOS.encode() + b":x :y " + b"[ :y " * 20_000, "no valid Turtle"),
    ("circle.ttl", SKOS.encode() + b":animals skos:broader :owls .", "lies above itself"),
    ("unknown.owl", OWL.replace('rdf:resource="http://x.org/o#Disease"', 'rdf:resource="http://else.org/Z"').encode(), "the parent http://else.org/Z of"),
    ("cut.tsv.gz", gzip.compress(TEXT.encode(), mtime=0)[:-12], "cannot be read"), ("plain.tsv.gz", TEXT.encode(), "cannot be read"),
    ("w.tsv", WORDNET.replace("2-n\t", "1-n\t", 1).encode(), "line 3: the synset '1-n' stands in line 2"), ("w.tsv", WORDNET.replace("\t1-n\t", "\t9-n\t").encode(), "line 3: the parent '9-n'"),
    ("w.tsv", b"synset\tlemmas\nx\ty\n", "the column 'hypernyms' is missing"), ("w.tsv", WORDNET.encode() + b"4-n\tn\n", "line 5: 2 columns where 6"),
])
def test_a_hostile_file_is_one_clear_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    if not name.endswith((".tsv", ".gz")):
        pytest.importorskip("rdflib")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SetupError, match=message) as caught:
        Hierarchy.load(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value) and len(str(caught.value)) < 500


def test_a_file_too_large_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.hierarchy.files.MAX_BYTES", 2 ** 20)
    (tmp_path / "bomb.tsv.gz").write_bytes(gzip.compress(b"\n" * 2 ** 24))
    with pytest.raises(SetupError, match="more than 1 MB"):
        Hierarchy.load(tmp_path / "bomb.tsv.gz")


def test_without_rdflib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdflib", None)
    (tmp_path / "t.ttl").write_text(SKOS, encoding="utf-8")
    with pytest.raises(ExtraError, match=r"autolabel\[rdf\]"):
        Hierarchy.load(tmp_path / "t.ttl")


@pytest.fixture(scope="module")
def c() -> Card:
    return card()


def test_the_everyday_concepts_hold_what_they_promise(c: Card) -> None:
    h = Hierarchy.default()
    assert c.concepts >= 2000 and c.levels >= 6 and c.own >= 8000
    assert c.covered >= 0.6 * c.tokens
    assert set(h.terms(h.root)) == {t for concept in h.concepts.values() for t in concept.terms}
    assert all(concept.terms or h.children(concept.name) for concept in h.concepts.values())
    labels = [concept.label for concept in h.concepts.values()]
    assert len(set(labels)) == len(labels) and not [t for t in labels if t.strip() != t or len(t) > 60]


@pytest.mark.parametrize(("term", "above"), [
    ("diabetes", "diseases"), ("amoxicillin", "drugs"), ("mg", "doses"), ("nausea", "symptoms"), ("femur", "parts of the body"), ("biopsy", "diagnosis"),
    ("appendectomy", "treatments and procedures"), ("denies", "clinical negation"), ("not", "words of denial"), ("Tuesdays", "time"), ("minutes", "units of time"),
    ("saucepans", "kitchen tools"), ("violin", "music"), ("barristers", "professions"), ("offside", "games and sport"), ("ferries", "vehicles"),
    ("they", "pronouns"), ("beneath", "prepositions"), ("whispered", "saying"), ("sorrow", "feelings"), ("granite", "rocks"), ("compiler", "computing"),
])
def test_everyday_words_lie_where_they_are_looked_for(term: str, above: str) -> None:
    h = Hierarchy.default()
    assert above in {h.label(a) for name in h.concepts_of(term) for a in (name, *h.ancestors(name))}


def test_function_words_are_no_animals_and_no_cans() -> None:
    """`does` is no plural of `doe`: outside its own kind a function word stands only where it is listed as it is."""
    h = Hierarchy.default()
    small = {c.name for c in h.below(SMALL)}
    words = sorted(STOP - {"ones"})
    by_form = {words[match[0]] for name, matches in h.find(words).items() if name not in small for match in matches
               if len(match) == 1 and words[match[0]] not in {t.casefold() for t in h.concepts[name].terms}}
    assert by_form <= {"does", "doing"} and "deer-and-antelopes" not in h.concepts_of("does") and "cans" not in h.concepts_of("can")


def test_the_readme_has_the_figures(c: Card) -> None:
    assert f"{c.concepts:,} everyday and clinical ones with\n{c.terms:,} terms in {c.levels} levels" in (ROOT / "README.md").read_text("utf-8")
