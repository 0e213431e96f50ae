"""Files of concepts: the format of our own, and which reader another file needs.

One line per concept: `concept TAB parent TAB label TAB terms`; several terms, or several parents, are separated by `|`. The
root has an empty parent. Empty lines and lines that begin with # are skipped. A file may be compressed (.gz).
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from autolabel.errors import SetupError
from autolabel.hierarchy.tree import Concept, Hierarchy

MAX_BYTES = 256 * 2 ** 20  # of a file, unpacked: ten times WordNet
RDF = (".rdf", ".owl", ".xml", ".ttl", ".nt", ".skos")


def load(path: str | Path) -> Hierarchy:
    """Read and check a file: by its ending SKOS or OWL (.rdf, .owl, .xml, .ttl, .nt, .skos), by its first line WordNet, else ours.

    Raises SetupError that names the file and the line, ExtraError where the package for SKOS and OWL is missing.
    """
    data = _bytes(Path(path))
    sha256, name = hashlib.sha256(data).hexdigest(), str(path)
    if name.removesuffix(".gz").endswith(RDF):
        from autolabel.hierarchy.rdf import read

        return read(data, name, sha256)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SetupError(f"the hierarchy {path} cannot be read: it is no UTF-8 text ({error.reason} at byte {error.start})") from None
    if text.startswith("synset\t"):
        from autolabel.hierarchy.wordnet import read as wordnet

        return wordnet(text, name, sha256)
    return parse(text, name, sha256)


def parse(text: str, name: str = "hierarchy", sha256: str = "") -> Hierarchy:
    """Read and check text in our format; `name` is what errors call it, `sha256` that of the file (by default of the text)."""
    concepts: dict[str, Concept] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 4:
            raise SetupError(f"{name}, line {number}: {len(fields)} columns where concept, parent, label, terms should stand")
        concept, label = fields[0].strip(), fields[2].strip()
        if not concept or not label:
            raise SetupError(f"{name}, line {number}: the {'label' if concept else 'concept'} is empty")
        if concept in concepts:
            raise SetupError(f"{name}, line {number}: the concept {concept!r} stands in line {lines[concept]} already")
        concepts[concept], lines[concept] = Concept(concept, several(fields[1]), label, several(fields[3])), number
    return Hierarchy.build(concepts, lambda c: f"{name}, line {lines[c]}", name, sha256 or hashlib.sha256(text.encode()).hexdigest())


def several(field: str) -> tuple[str, ...]:
    """What stands between the bars, each once, white space made even."""
    return tuple(dict.fromkeys(part for raw in field.split("|") if (part := " ".join(raw.split()))))


def _bytes(path: Path) -> bytes:
    """The file's bytes, unpacked. Raises SetupError where it is missing, damaged, or too large."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SetupError(f"the hierarchy {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise SetupError(f"the hierarchy {path} has more than {MAX_BYTES / 2 ** 20:.0f} MB: cut it to the concepts that you need")
    return data
