"""WordNet as a table (Miller 1995): `synset, lemmas, hypernyms`, with a header; other columns may stand beside them.

A synset is a concept: its lemmas are its terms, the first one its label. Synsets without a hypernym hang under their
lexicographer's file (`lexfile`), where the table has that column, such as `verb.motion`.
"""

from __future__ import annotations

from autolabel.errors import SetupError
from autolabel.hierarchy.files import several
from autolabel.hierarchy.tree import Concept, Hierarchy, rooted

NEEDED = ("synset", "lemmas", "hypernyms")


def read(text: str, name: str, sha256: str) -> Hierarchy:
    """Read and check a table. Raises SetupError that names the file and the line."""
    rows = text.split("\n")
    header = rows[0].removesuffix("\r").split("\t")
    if missing := [column for column in NEEDED if column not in header]:
        raise SetupError(f"{name}, line 1: the column {missing[0]!r} is missing; there are {', '.join(header)}")
    at = {column: i for i, column in enumerate(header)}
    concepts: dict[str, Concept] = {}
    lines: dict[str, int] = {}
    tops: dict[str, Concept] = {}
    for number, row in enumerate(rows[1:], 2):
        if not row.strip():
            continue
        fields = row.removesuffix("\r").split("\t")
        if len(fields) != len(header):
            raise SetupError(f"{name}, line {number}: {len(fields)} columns where {len(header)} should stand")
        synset, terms = fields[at["synset"]].strip(), several(fields[at["lemmas"]].replace("_", " "))
        if not synset or not terms:
            raise SetupError(f"{name}, line {number}: the {'lemmas are' if synset else 'synset is'} empty")
        if synset in concepts:
            raise SetupError(f"{name}, line {number}: the synset {synset!r} stands in line {lines[synset]} already")
        parents = several(fields[at["hypernyms"]])
        if not parents and "lexfile" in at and (top := fields[at["lexfile"]].strip()):
            tops.setdefault(top, Concept(top, (), top.replace(".", ": "), ()))
            parents = (top,)
        concepts[synset], lines[synset] = Concept(synset, parents, terms[0], terms), number
    if both := sorted(set(tops) & set(concepts)):
        raise SetupError(f"{name}, line {lines[both[0]]}: the synset {both[0]!r} has the name of a lexicographer's file")
    return Hierarchy.build(rooted(tops | concepts), lambda c: f"{name}, line {lines[c]}" if c in lines else name, name, sha256)
