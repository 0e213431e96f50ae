"""Finds corpus files, and reads their bytes and rows a little at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from autolabel.corpus.report import Report
from autolabel.errors import CorpusError

SUFFIXES = (".txt", ".jsonl", ".parquet")
CHUNK = 1 << 20  # bytes read at a time
LONGEST_ROW = 64 << 20  # bytes: a longer JSONL line is no document that anyone reads

Row = tuple[object, dict[str, Any], str]  # value of the text column, the other columns (any JSON), where it stands


@dataclass(frozen=True, slots=True)
class File:
    """One file of a corpus."""

    path: Path  # where it is
    name: str  # its path within the corpus: what documents and messages call it

    @property
    def kind(self) -> str:
        """`.txt`, `.jsonl` or `.parquet`."""
        return self.path.suffix.lower()


def find(place: str, report: Report) -> list[File]:
    """The files of a spec that is a path, in order of their names. Raises CorpusError: missing, no corpus file, empty."""
    path = Path(place).expanduser()
    if not path.exists():
        raise CorpusError(f"no such corpus: {place} (write `demo`, `python`, hf:DATASET, or the path of a .txt, .jsonl or .parquet file "
                          "or of a folder of them)")
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise CorpusError(f"{place} is no corpus file: its name must end in .txt, .jsonl or .parquet")
        if not path.stat().st_size:
            raise CorpusError(f"{place} is empty")
        return [File(path, path.name)]
    found: list[File] = []
    for file in sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path).parts):
        name = file.relative_to(path).as_posix()
        if any(part.startswith(".") for part in file.relative_to(path).parts):
            continue
        if file.suffix.lower() not in SUFFIXES:
            report.add("file skipped: not .txt, .jsonl or .parquet", name)
        elif not file.stat().st_size:
            report.add("empty file", name)
        else:
            found.append(File(file, name))
    if not found:
        raise CorpusError(f"{place} holds no .txt, .jsonl or .parquet file with anything in it")
    return found


def fingerprint(path: Path) -> str:
    """SHA-256 of the file's bytes, read in pieces."""
    hashed = sha256()
    for chunk in _chunks(path):
        hashed.update(chunk)
    return hashed.hexdigest()


def decoded(path: Path) -> Iterator[str]:
    """The text of a UTF-8 file in pieces of about 1 MiB, line ends as they are, without a byte order mark.

    Raises CorpusError: binary (a NUL byte) or not UTF-8, with the offset of the first bad byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0  # offset of the chunk
    for chunk in _chunks(path):
        if not at and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise CorpusError(f"{path} is UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
        if (nul := chunk.find(0)) >= 0:
            raise CorpusError(f"{path} is binary: NUL at byte {at + nul}")
        pending = len(decoder.getstate()[0])
        text = _decode(decoder, chunk, path, at - pending, final=False)
        yield text.removeprefix("\ufeff") if not at else text
        at += len(chunk)
    _decode(decoder, b"", path, at - len(decoder.getstate()[0]), final=True)


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, path: Path, offset: int, *, final: bool) -> str:
    try:
        return decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8: byte {offset + error.start} is 0x{error.object[error.start]:02x} ({error.reason}); "
                          "convert it with iconv") from error


def jsonl_rows(file: File, column: str, report: Report) -> Iterator[Row]:
    """Rows of a JSONL file. Broken lines are counted and named, the rest is used; raises CorpusError when no line can be used."""
    used, problems = 0, Report()
    missing: list[str] = []  # the columns of the first row without the text column

    def broken(reason: str, line: int, what: str) -> None:
        for r in (report, problems):
            r.add(reason, f"{file.name}:{line}: {what}")

    for number, raw in _rows(file.path):
        if number == 1:
            if 0 in raw[:8192]:
                raise CorpusError(f"{file.path} is binary: NUL at byte {raw.index(0)}")
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if not raw.strip():
            continue
        if len(raw) > LONGEST_ROW:
            broken("line over 64 MiB", number, raw[:40].decode("utf-8", "replace"))
            continue
        try:
            row = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
        except UnicodeDecodeError as error:
            broken("line that is not UTF-8", number, f"byte {error.start} of the line")
        except UnicodeEncodeError:
            broken("line with half of a surrogate pair", number, "it cannot be written as UTF-8")
        except (ValueError, RecursionError) as error:
            broken("broken line", number, str(error))
        else:
            if not isinstance(row, dict):
                broken("line that is no JSON object", number, f"a {type(row).__name__}")
            elif column not in row:
                missing = missing or sorted(row)
                broken(f"row without the text column {column!r}", number, f"it has {', '.join(sorted(row)) or 'nothing'}")
            else:
                used += 1
                yield row.pop(column), row, f"{file.name}:{number}"
    if not used:
        if missing:
            raise CorpusError(f"no row of {file.path} has the text column {column!r}; the first has {', '.join(missing)}: "
                              "choose one with --text-column")
        found = problems.lines()
        raise CorpusError(f"no line of {file.path} can be read ({found[0]})" if found else f"{file.path} holds only blank lines")


def parquet_rows(file: File, column: str) -> Iterator[Row]:
    """Rows of a Parquet file, a few thousand at a time. Raises CorpusError: no Parquet file, or no such text column."""
    import duckdb

    # A connection of our own, for a file that the user named; the catalogue's connections may reach no file.
    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": True, "autoinstall_known_extensions": False, "memory_limit": "512MB", "threads": 1}
    with duckdb.connect(config=settings) as connection:
        try:
            rows = connection.execute("SELECT * FROM read_parquet(?, hive_partitioning = false)", [_literal(file.path)])
            columns = [c[0] for c in rows.description or ()]
            if column not in columns:
                raise CorpusError(f"{file.path} has no text column {column!r}; it has {', '.join(columns)}: choose one with --text-column")
            at, number = columns.index(column), 0
            while batch := rows.fetchmany(2048):
                for row in batch:
                    number += 1
                    yield row[at], {c: _plain(v) for c, v in zip(columns, row, strict=True) if c != column}, f"{file.name}: row {number}"
        except duckdb.Error as error:
            raise CorpusError(f"{file.path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _literal(path: Path) -> str:
    """The path with the wildcards of DuckDB's file names taken literally."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))


def _plain(value: object) -> Any:  # Any: JSON
    """A value of a Parquet column as JSON: dates as ISO text, bytes as hexadecimal, NaN as null (JSON has none)."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a file; one that is too long comes cut, just long enough to be told."""
    try:
        with path.open("rb") as handle:
            number = 0
            while raw := handle.readline(LONGEST_ROW + 1):
                number += 1
                if len(raw) > LONGEST_ROW and not raw.endswith(b"\n"):
                    while (more := handle.readline(LONGEST_ROW)) and not more.endswith(b"\n"):
                        pass
                yield number, raw
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                yield chunk
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
