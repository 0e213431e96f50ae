"""From what the user wrote (`demo`, `python`, `contrast:NAME`, paths, `hf:...`) to a stream of documents, always in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autolabel import assets
from autolabel.corpus import files, passages, python_docs
from autolabel.corpus.files import File
from autolabel.corpus.hub import HubSpec, require
from autolabel.corpus.normalise import document
from autolabel.corpus.report import Report
from autolabel.errors import CorpusError
from autolabel.types import Document, hash63

# Tokens of a passage, generously: where reading stops early, blocks must be small enough for what is read.
TOKENS_PER_PASSAGE = 400
CASES = {"upper": str.upper, "lower": str.lower}
# The built-in contrast sets. `parallel` has a text in each of these columns: each is a document, its column the metadata `language`.
CONTRAST: Mapping[str, tuple[str, ...]] = {
    "clinical": (), "comments": (), "demographic": (), "requests": (),
    "parallel": ("en-GB", "en-US", "en-scotland", "de", "fr", "es", "it", "ru", "ar", "zh", "ja")}


@dataclass(frozen=True, slots=True)
class Source:
    """One corpus as named by the user."""

    name: str  # the name its documents keep
    kind: str  # `files`, `python`, `hub`
    files: tuple[File, ...] = ()
    hub: HubSpec | None = None
    revision: str | None = None  # of the hub's dataset
    text_column: str = "text"
    split_on: str | None = None  # where .txt files are cut, whatever their length
    languages: tuple[str, ...] = ()  # columns of parallel texts, each a document of its own; empty: `text_column` alone
    case: str = ""  # `upper` or `lower`: every text is written so; empty: as it is

    def identity(self) -> list[object]:
        """What makes it this corpus and no other: names and contents of files, versions. Reads every file once."""
        if self.case:
            return [self.case, *replace(self, case="").identity()]
        if self.kind == "python":
            return ["python", python_docs.identity()]
        if self.hub:
            return ["hub", self.hub.dataset, self.hub.split, self.hub.column, self.revision]
        return [self.name, self.languages or self.text_column, self.split_on, [[file.name, files.fingerprint(file.path)] for file in self.files]]


@dataclass(frozen=True, slots=True)
class Sources:
    """All corpora of one reading, mixed in the order they were given."""

    specs: tuple[str, ...]
    parts: tuple[Source, ...]

    def identity(self) -> list[object]:
        """The identities of all parts, in order."""
        return [part.identity() for part in self.parts]

    def documents(self, report: Report, max_tokens: int | None = None) -> Iterator[Document]:
        """Documents one by one. Long .txt files are read twice: their passages are counted before blocks are formed."""
        cuts = {file.path: _survey(file, part.split_on) for part in self.parts for file in part.files if file.kind == ".txt"}
        n = sum(cut.passages for cut in cuts.values())
        size = passages.block_size(n if max_tokens is None else min(n, max_tokens // TOKENS_PER_PASSAGE))
        for part in self.parts:
            for text, metadata, where, block in _texts(part, cuts, size, report):
                if not isinstance(text, str):
                    report.add("text that is no string", f"{where}: a {type(text).__name__}")
                elif not text.strip():
                    report.add("empty document", where)
                else:
                    yield document(CASES[part.case](text) if part.case else text, part.name, metadata, block)


def open_sources(specs: Sequence[str], *, text_column: str = "text", split_on: str | None = None, report: Report) -> Sources:
    """Find what `specs` name, without reading it yet; `upper:SPEC` and `lower:SPEC` change the case of its texts.

    `split_on` understands \\n, \\t, \\r. Raises CorpusError, ExtraError.
    """
    if not specs:
        raise CorpusError("no corpus is named: give `demo`, `python`, `contrast:NAME`, files or folders, or hf:DATASET")
    if split_on is not None:
        split_on = split_on.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
        if not split_on:
            raise CorpusError("--split-on needs at least one character")
    parts: list[Source] = []
    for spec in specs:
        case, _, rest = spec.partition(":")
        if case in CASES and rest:
            inner = open_sources([rest], text_column=text_column, split_on=split_on, report=report).parts[0]
            parts.append(replace(inner, name=f"{inner.name} in {case} case", case=case))
        elif spec == "python":
            parts.append(Source("python", "python"))
        elif spec == "demo":
            parts.append(Source("demo", "files", tuple(f for f in files.find(str(assets.data_path("corpus")), Report())
                                                       if f.kind == ".jsonl")))
        elif spec.startswith("contrast:"):
            name = spec.removeprefix("contrast:")
            if name not in CONTRAST:
                raise CorpusError(f"there is no contrast set {name!r}: choose from {', '.join(CONTRAST)}")
            path = assets.data_path("contrast", f"{name}.jsonl")
            parts.append(Source(name, "files", (File(path, path.name),), languages=CONTRAST[name]))
        elif spec.startswith("hf:"):
            hub = HubSpec.parse(spec, text_column)
            require()
            parts.append(Source(hub.dataset, "hub", hub=hub, revision=hub.revision()))
        else:
            found = files.find(spec, report)
            path = Path(spec).expanduser().resolve()
            name = path.name if path.is_dir() else path.stem
            parts.append(Source(name, "files", tuple(found), text_column=text_column, split_on=split_on))
    return Sources(tuple(specs), tuple(parts))


def read_documents(specs: Sequence[str], *, text_column: str = "text", split_on: str | None = None, report: Report,
                   max_tokens: int | None = None) -> Iterator[Document]:
    """Documents of the named corpora, streaming. Equal texts come as often as they stand there."""
    yield from open_sources(specs, text_column=text_column, split_on=split_on, report=report).documents(report, max_tokens)


@dataclass(frozen=True, slots=True)
class _Cut:
    """How a .txt file becomes documents."""

    separator: str | None  # pieces between these are documents
    passages: int  # 0 unless it is cut into passages


def _survey(file: File, split_on: str | None) -> _Cut:
    """Read a .txt file through, without keeping it: is it text, how long is it, where is it cut?"""
    words, tail, marked, blank = 0, "", False, True
    for chunk in files.decoded(file.path):
        words += passages.n_words(chunk)
        marked = marked or passages.END_OF_TEXT in tail + chunk
        blank = blank and not chunk.strip()
        tail = chunk[-len(passages.END_OF_TEXT):]
    if blank:
        raise CorpusError(f"{file.path} holds nothing but white space")
    if split_on is not None:
        return _Cut(split_on, 0)
    if words <= passages.LONG:
        return _Cut(None, 0)
    if marked:
        return _Cut(passages.END_OF_TEXT, 0)
    return _Cut(None, sum(1 for _ in passages.passages(files.decoded(file.path))))


def _texts(part: Source, cuts: Mapping[Path, _Cut], size: int,
           report: Report) -> Iterator[tuple[object, Mapping[str, Any], str, int | None]]:
    """(text, metadata, where it stands, block) of one corpus; block None means a document of its own."""
    if part.kind == "python":
        for text, about in python_docs.items(report):
            yield text, about, about["name"], None
    elif part.hub:
        for value, columns, where in part.hub.rows(part.revision):
            yield value, columns, where, None
    for file in part.files:
        if file.kind == ".txt":
            yield from _text_file(file, cuts[file.path], size)
        elif part.languages:
            for value, columns, where in files.jsonl_rows(file, part.languages[0], report):
                about = {key: x for key, x in columns.items() if key not in part.languages}
                for language, text in {part.languages[0]: value, **columns}.items():
                    if language in part.languages:
                        yield text, {**about, "language": language}, where, None
        else:
            rows = files.jsonl_rows(file, part.text_column, report) if file.kind == ".jsonl" else files.parquet_rows(file, part.text_column)
            for value, columns, where in rows:
                yield value, columns, where, None


def _text_file(file: File, cut: _Cut, size: int) -> Iterator[tuple[str, Mapping[str, Any], str, int | None]]:
    chunks = files.decoded(file.path)
    if cut.separator is not None:
        for number, piece in enumerate(passages.pieces(chunks, cut.separator)):
            yield piece, {"file": file.name, "piece": number}, f"{file.name}: piece {number}", None
    elif cut.passages:
        block = 0
        for number, passage in enumerate(passages.passages(chunks)):
            if number % size == 0:  # named by its first passage: the same book in another file has the same blocks
                block = hash63("block", size, number, passage)
            yield passage, {"file": file.name, "passage": number}, f"{file.name}: passage {number}", block
    else:
        yield "".join(chunks), {"file": file.name}, file.name, None
