"""SKOS thesauri and OWL ontologies, read with rdflib (extra `rdf`) from RDF/XML, Turtle or N-Triples. Nothing is fetched.

SKOS (W3C 2009): skos:Concept; above it skos:broader, or skos:narrower the other way round; label skos:prefLabel; terms
prefLabel, altLabel and hiddenLabel in all languages. OWL (W3C 2012): named classes; above them rdfs:subClassOf of named
classes (restrictions say something else); label rdfs:label; terms the labels, skos:altLabel and oboInOwl's exact synonyms. Of
several labels an English one is shown. A concept is named by the last part of its IRI, by all of it where two share that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from xml.parsers import expat

from autolabel.errors import ExtraError, SetupError
from autolabel.hierarchy.tree import Concept, Hierarchy, rooted

RDFS, OWL = "http://www.w3.org/2000/01/rdf-schema#", "http://www.w3.org/2002/07/owl#"
SKOS, OBO = "http://www.w3.org/2004/02/skos/core#", "http://www.geneontology.org/formats/oboInOwl#"
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-.]+")


class _Refused(Exception):
    """Raised inside the XML parser at a document type."""


def read(data: bytes, name: str, sha256: str) -> Hierarchy:
    """Read and check a file's bytes. Raises ExtraError without rdflib, SetupError that names the file."""
    graph = _graph(data, name)
    labels = _texts(graph, (f"{SKOS}prefLabel", f"{RDFS}label"))
    others = _texts(graph, (f"{SKOS}altLabel", f"{SKOS}hiddenLabel", f"{OBO}hasExactSynonym"))
    above = _above(graph)
    if not above:
        raise SetupError(f"{name}: there is no SKOS concept and no OWL class in it (OWL/XML and functional syntax are not read: save as RDF/XML or Turtle)")
    names = _names(above)
    concepts: dict[str, Concept] = {}
    for iri, parents in above.items():
        if unknown := [p for p in parents if p not in above]:
            raise SetupError(f"{name}: the parent {unknown[0]} of {iri} is not in the file: merge what it imports into it")
        known = labels.get(iri, [])
        label = _shown(known) or " ".join(_CAMEL.split(_last(iri))).strip() or iri
        terms = [text for text, _ in known] or [label]
        concepts[names[iri]] = Concept(names[iri], tuple(names[p] for p in parents), label,
                                       tuple(dict.fromkeys([*terms, *(text for text, _ in others.get(iri, []))])))
    concepts = rooted(concepts)
    return Hierarchy.build(concepts, lambda c: name, name, sha256)


def _graph(data: bytes, name: str) -> Any:
    try:
        import rdflib
    except ImportError:
        raise ExtraError("rdflib", "rdf") from None
    xml = data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<rdf:", b"<RDF", b"<!", b"\xff\xfe", b"\xfe\xff"))
    if xml:
        _no_document_type(data, name)
    graph = rdflib.Graph()
    try:
        graph.parse(data=data, format="xml" if xml else "turtle", publicID="http://example.invalid/")
    except Exception as error:  # rdflib's parsers raise whatever they trip over: SAX, syntax, key, recursion and value errors
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise SetupError(f"{name} is no valid {'RDF/XML' if xml else 'Turtle'}: {why}") from None
    return graph


def _no_document_type(data: bytes, name: str) -> None:
    """Entities can grow without bound and point at other files: a document type, which alone can declare them, is refused."""
    def refuse(*_: object) -> None:
        raise _Refused

    def enough(*_: object) -> None:
        parser.StartElementHandler = None  # a document type stands before the first element
        raise StopIteration

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = enough
    try:
        parser.Parse(data, True)
    except StopIteration:
        return
    except _Refused:
        raise SetupError(f"{name} has a document type (<!DOCTYPE>), which may declare entities: save it without one, or as Turtle") from None
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise SetupError(f"{name} is no valid XML: {error}") from None


def _above(graph: Any) -> dict[str, list[str]]:
    """IRI -> IRIs right above, sorted, so that the order of triples does not matter."""
    from rdflib import RDF, URIRef

    found: dict[str, set[str]] = {}
    for kind in (f"{SKOS}Concept", f"{OWL}Class", f"{RDFS}Class"):
        for node in graph.subjects(RDF.type, URIRef(kind)):
            if isinstance(node, URIRef):
                found.setdefault(str(node), set())
    skip = (f"{OWL}Thing", f"{OWL}Nothing", f"{RDFS}Resource")
    for predicate, upward in ((f"{SKOS}broader", True), (f"{SKOS}narrower", False), (f"{RDFS}subClassOf", True)):
        for subject, thing in graph.subject_objects(URIRef(predicate)):
            low, high = (subject, thing) if upward else (thing, subject)
            if isinstance(low, URIRef) and isinstance(high, URIRef) and str(high) not in skip:
                found.setdefault(str(low), set()).add(str(high))
    return {iri: sorted(found[iri]) for iri in sorted(found) if iri not in skip}


def _texts(graph: Any, predicates: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """IRI -> (text, language), sorted."""
    from rdflib import Literal, URIRef

    out: dict[str, set[tuple[str, str]]] = {}
    for predicate in predicates:
        for subject, value in graph.subject_objects(URIRef(predicate)):
            if isinstance(value, Literal) and (text := " ".join(str(value).split())):
                out.setdefault(str(subject), set()).add((text, value.language or ""))
    return {iri: sorted(found) for iri, found in out.items()}


def _shown(labels: Sequence[tuple[str, str]]) -> str:
    """English first, then without a language, then any."""
    return min(labels, key=lambda label: (label[1] != "en", not label[1].startswith("en-"), label[1] != ""))[0] if labels else ""


def _last(iri: str) -> str:
    return re.split(r"[#/]", iri.rstrip("#/"))[-1]


def _names(iris: Iterable[str]) -> dict[str, str]:
    iris = list(iris)
    times = Counter(_last(iri) for iri in iris)
    return {iri: _last(iri) if times[_last(iri)] == 1 and _last(iri) else iri for iri in iris}
