from __future__ import annotations

import gzip
import json
import sys
import types
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from autolabel.corpus import Report, open_sources, read_documents
from autolabel.corpus.python_docs import sections
from autolabel.errors import CorpusError, ExtraError
from autolabel.types import Document


def read(*specs: object, report: Report | None = None, **options: Any) -> list[Document]:
    return list(read_documents([str(s) for s in specs], report=report or Report(), **options))


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def fails(message: str, *specs: object, **options: Any) -> None:
    with pytest.raises(CorpusError) as caught:
        read(*specs, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


LONG = "\n\n".join(f"Paragraph {i}: " + "word " * 48 for i in range(100))  # 5,000 words


# Text files

def test_a_short_text_file_is_one_document_as_it_is(tmp_path: Path) -> None:
    text = "\r\n  Zwölf Boxkämpfer\r\n\r\njagen 日本 👍\r\n"
    (document,) = read(write(tmp_path / "a.txt", text))
    assert document.text == text and document.corpus == "a" and document.metadata == {"file": "a.txt"} and document.block == document.id


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", b"\xef\xbb\xbfhello"))[0].text == "hello"


def test_a_long_text_is_cut_into_passages_in_blocks(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.txt", LONG))
    assert len(found) == 25 and len({d.block for d in found}) == 25, "25 passages: blocks of one, so that the splits are filled"
    found = read(write(tmp_path / "b.txt", LONG * 20))
    assert len(found) > 400
    sizes = [sum(d.block == b for d in found) for b in dict.fromkeys(d.block for d in found)]
    assert set(sizes[:-1]) == {len(found) // 60} and len(sizes) >= 60
    runs = 1 + sum(a.block != b.block for a, b in pairwise(found))
    assert runs == len(sizes), "a block is a run of neighbours"


def test_reading_a_little_of_a_long_text_takes_smaller_blocks(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.txt", LONG * 20), max_tokens=40_000)
    assert found[0].block != found[2].block


def test_end_of_text_marks_cut_a_long_text_into_documents(tmp_path: Path) -> None:
    stories = [f"Story {i}. " + "word " * 300 for i in range(9)]
    found = read(write(tmp_path / "a.txt", "<|endoftext|>\n".join(stories)))
    assert [d.text for d in found] == [s.strip() for s in stories] and all(d.block == d.id for d in found)
    assert len(read(write(tmp_path / "short.txt", "a<|endoftext|>b"))) == 1, "a short text stays whole"


def test_split_on_overrides(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n---\ntwo\n---\n\n---\nthree")
    assert [d.text for d in read(path, split_on="---")] == ["one", "two", "three"]
    assert [d.text for d in read(path, split_on="\\n")] == ["one", "---", "two", "---", "---", "three"]
    fails("--split-on needs at least one character", path, split_on="")


def test_a_folder_is_read_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "c" / "b.txt", "second")
    write(tmp_path / "c" / "a" / "z.jsonl", '{"text": "first"}\n')
    write(tmp_path / "c" / "notes.md", "no")
    write(tmp_path / "c" / "empty.txt", "")
    write(tmp_path / "c" / ".hidden.txt", "no")
    report = Report()
    found = read(tmp_path / "c", report=report)
    assert [d.text for d in found] == ["first", "second"] and {d.corpus for d in found} == {"c"}
    assert report.counts == {"file skipped: not .txt, .jsonl or .parquet": 1, "empty file": 1}


@pytest.mark.parametrize(("content", "message"), [
    (b"", "a.txt is empty"), (b" \n\n", "nothing but white space"), (b"abc\x00def", "binary: NUL at byte 3"),
    ("ab\xe9cd".encode("latin-1"), "not UTF-8: byte 2 is 0xe9"), (b"abc\xe2\x82", "not UTF-8: byte 3 is 0xe2"),
    ("hello".encode("utf-16"), "is UTF-16"), (b"x" * (1 << 20) + b"\xff", "byte 1048576 is 0xff"),
    (b"x" * ((1 << 20) - 1) + "é".encode() + b"\xc3(", "byte 1048577 is 0xc3"), (b"x" * (1 << 20) + b"\0", "NUL at byte 1048576"),
])
def test_bad_text_files(tmp_path: Path, content: bytes, message: str) -> None:
    fails(message, write(tmp_path / "a.txt", content))


def test_what_is_not_there(tmp_path: Path) -> None:
    fails("no such corpus", tmp_path / "missing.txt")
    fails("holds no .txt, .jsonl or .parquet file", tmp_path)
    fails("must end in .txt, .jsonl or .parquet", write(tmp_path / "a.csv", "a,b"))
    fails("no corpus is named")


# JSONL

def jsonl(*rows: object) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)


def test_metadata_of_any_json_is_kept(tmp_path: Path) -> None:
    row = {"text": "hello", "topic": "a", "n": 1, "nested": {"x": [1, None, True]}, "name": "日本"}
    (document,) = read(write(tmp_path / "a.jsonl", jsonl(row)))
    assert document.text == "hello" and dict(document.metadata) == {k: v for k, v in row.items() if k != "text"}
    assert read(write(tmp_path / "b.jsonl", jsonl({"body": "x", "text": 3})), text_column="body")[0].metadata == {"text": 3}


def test_broken_lines_are_counted_and_named_and_the_rest_is_used(tmp_path: Path) -> None:
    lines = [b'{"text": "one"}', b'{"text": "two', b"", b'{"text": "bad \xff"}', b"[1, 2]", b'{"title": "no text"}', b'{"text": null}',
             b'{"text": "  "}', b'{"text": NaN}', b'{"text": "\\ud800 half"}', b'{"text": "last"}']
    report = Report()
    found = read(write(tmp_path / "a.jsonl", b"\n".join(lines)), report=report)
    assert [d.text for d in found] == ["one", "last"]
    assert report.counts == {"broken line": 2, "line that is not UTF-8": 1, "line with half of a surrogate pair": 1, "line that is no JSON object": 1,
                             "row without the text column 'text'": 1, "text that is no string": 1, "empty document": 1}
    assert report.examples["broken line"][0].startswith("a.jsonl:2: ") and report.examples["empty document"] == ["a.jsonl:8"]
    assert report.lines() == [f"{n} x {r}: {report.examples[r][0]}" for r, n in sorted(report.counts.items())]


def test_only_a_few_examples_are_kept(tmp_path: Path) -> None:
    report = Report()
    read(write(tmp_path / "a.jsonl", "{\n" * 1000 + '{"text": "x"}'), report=report)
    assert report.counts["broken line"] == 1000 and len(report.examples["broken line"]) == 5


@pytest.mark.parametrize(("content", "message"), [
    (b"{\n{\n", "no line of"), (b"\n\n", "only blank lines"), (b'{"a": 1}\n', "has the text column 'text'; the first has a"),
    (b"\x00\x01\x02", "binary: NUL at byte 0"), (b'[{"text": "a"}]', "a list"),
])
def test_jsonl_without_a_usable_line(tmp_path: Path, content: bytes, message: str) -> None:
    fails(message, write(tmp_path / "a.jsonl", content))


# Parquet

def parquet(path: Path, select: str) -> Path:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    return path


def test_parquet_keeps_order_and_columns(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a [1].parquet", "SELECT 'text ' || i AS text, i AS n, {'a': i, 'b': [i]} AS s, DATE '2020-01-02' AS d, "
                                               "NULL::FLOAT AS z, 'nan'::DOUBLE AS x, 'é'::VARCHAR AS u, '\\x01'::BLOB AS b FROM range(5000) t(i)")
    found = read(path)
    assert [d.text for d in found] == [f"text {i}" for i in range(5000)]
    assert found[7].metadata == {"n": 7, "s": {"a": 7, "b": [7]}, "d": "2020-01-02", "z": None, "x": None, "u": "é", "b": "01"}
    json.dumps(found[7].metadata, allow_nan=False)


def test_bad_parquet(tmp_path: Path) -> None:
    fails("cannot be read as Parquet", write(tmp_path / "a.parquet", b"not parquet at all"))
    fails("no text column 'text'; it has a, b", parquet(tmp_path / "b.parquet", "SELECT 1 AS a, 2 AS b"))
    report = Report()
    assert len(read(parquet(tmp_path / "c.parquet", "SELECT unnest(['x', NULL, '']) AS text"), report=report)) == 1
    assert report.counts == {"text that is no string": 1, "empty document": 1}


# python, demo, hub, mixtures

@pytest.fixture(scope="module")
def python_documents() -> list[Document]:
    return read("python")


def test_python_gives_two_megabytes_of_prose(python_documents: Sequence[Document]) -> None:
    assert sum(len(d.text) for d in python_documents) > 1_500_000 and len(python_documents) > 4000
    by_name = {(d.metadata["module"], d.metadata["name"]): d for d in python_documents}
    assert by_name["json", "json"].metadata["kind"] == "module" and "JSON" in by_name["json", "json"].text
    assert by_name["textwrap", "TextWrapper.wrap"].metadata == {"topic": "textwrap", "module": "textwrap", "name": "TextWrapper.wrap",
                                                               "kind": "function"}
    assert any(d.metadata["topic"] == "language reference" and "try" in d.text for d in python_documents)
    assert not any(".test" in d.metadata["module"] or "site-packages" in d.metadata["module"] for d in python_documents)


def test_docstrings_are_those_that_python_shows(python_documents: Sequence[Document]) -> None:
    import inspect
    import textwrap

    texts = {(d.metadata["module"], d.metadata["name"]): d.text for d in python_documents}
    assert texts["textwrap", "dedent"] == inspect.getdoc(textwrap.dedent)


def test_sections_are_what_stands_between_headings() -> None:
    assert sections('Title\n*****\n\nbody one\n\nNext part\n=========\n\nbody two\n\n  a == b\n') == ["body one", "body two\n\n  a == b"]


def test_a_mixture_keeps_the_names(tmp_path: Path) -> None:
    found = read(write(tmp_path / "b.txt", "b"), write(tmp_path / "a.jsonl", jsonl({"text": "a"})))
    assert [(d.corpus, d.text) for d in found] == [("b", "b"), ("a", "a")]


def test_identity_follows_content_names_and_options(tmp_path: Path) -> None:
    def identity(path: Path, **options: Any) -> list[object]:
        return open_sources([str(path)], report=Report(), **options).identity()

    one = identity(write(tmp_path / "x" / "a.txt", "hello"))
    assert identity(write(tmp_path / "y" / "a.txt", "hello")) == one, "where it lies does not matter"
    others = [identity(write(tmp_path / "y" / "a.txt", "hellO")), identity(write(tmp_path / "x" / "b.txt", "hello")),
              identity(tmp_path / "x" / "a.txt", split_on="x"), identity(tmp_path / "x" / "a.txt", text_column="body")]
    assert len({json.dumps(i) for i in [one, *others]}) == 5


def test_the_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExtraError, match=r"autolabel\[datasets\]"):
        read("hf:some/dataset")
    fails("write hf:DATASET", "hf:")
    fails("write hf:DATASET", "hf:a:b:c:d")


def test_the_hub_is_streamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []
    module = types.ModuleType("datasets")
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]  # find_spec only asks whether there is one

    def load_dataset(name: str, *, split: str, revision: str | None, streaming: bool) -> list[dict[str, object]]:
        calls.append((name, split, revision, streaming))
        return [{"body": "one", "n": 1}, {"body": "two", "n": float("nan")}]
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    found = read(f"hf:{tmp_path}:validation:body")
    assert [(d.text, d.metadata, d.corpus) for d in found] == [("one", {"n": 1}, str(tmp_path)), ("two", {"n": None}, str(tmp_path))]
    assert calls == [(str(tmp_path), "validation", None, True)]
    fails("has no text column 'text'; it has body, n", f"hf:{tmp_path}")


def test_a_compressed_file_is_no_text(tmp_path: Path) -> None:
    fails("a.txt is", write(tmp_path / "a.txt", gzip.compress(b"hello " * 100)))


# Built-in contrast sets, and the same texts in another case

def test_contrast_sets_and_parallel_texts() -> None:
    found = read("contrast:parallel")
    assert {d.corpus for d in found} == {"parallel"} and len({d.metadata["id"] for d in found}) == 202
    by = {d.metadata["language"]: d.text for d in found if d.metadata["id"] == "p-001"}
    assert len(by) == 11 and by["de"] == "Der Lastwagen versperrte eine Stunde lang den Gehweg." and set(found[0].metadata) == {"id", "topic", "language"}
    assert {d.metadata["kind"] for d in read("contrast:comments")} == {"toxic", "civil"}
    fails("there is no contrast set 'nosuch': choose from clinical,", "contrast:nosuch")


def test_another_case_is_another_corpus_of_the_same_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "Ein Fuß im Wasser"}')
    plain, upper = read(path), read(f"upper:{path}")
    assert [d.text for d in upper] == ["EIN FUSS IM WASSER"] and upper[0].id == plain[0].id and upper[0].corpus == "a in upper case"
    one, two = (open_sources([s], report=Report()).identity() for s in (str(path), f"upper:{path}"))
    assert one != two
    fails("no such corpus: nosuch.txt", "lower:nosuch.txt")
