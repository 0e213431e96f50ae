"""Figures of data/: `python -m eval.data_card` rewrites the tables of data/README.md; the tests check the sums."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
WORD = re.compile(r"\w+")


def files() -> list[Path]:
    """Every data file, in order."""
    return sorted(p for p in DATA.rglob("*") if p.is_file() and p.suffix in (".jsonl", ".tsv"))


def checksums() -> str:
    """A Markdown table: file, bytes, sha256."""
    rows = [f"| {p.relative_to(DATA)} | {p.stat().st_size:,} | {hashlib.sha256(p.read_bytes()).hexdigest()} |" for p in files()]
    return "\n".join(["| file | bytes | sha256 |", "|---|---|---|", *rows])


def corpus(folder: str) -> str:
    """A Markdown table of what a corpus folder holds."""
    documents = [json.loads(line) for p in sorted((DATA / folder).glob("*.jsonl")) for line in p.read_text("utf-8").splitlines()]
    english = [d for d in documents if d["language"] == "en"]
    words = [w.casefold() for d in english for w in WORD.findall(d["text"])]
    first = Counter(" ".join(d["text"].split()[:5]) for d in documents)
    five = Counter(tuple(words[i:i + 5]) for d in english for words in [d["text"].casefold().split()] for i in range(len(words) - 4))
    lengths = [len(d["text"].split()) for d in english]
    rows = (("documents", f"{len(documents):,}"), ("bytes of text", f"{sum(len(d['text'].encode()) for d in documents):,}"),
            ("English words", f"{len(words):,}"), ("distinct English words", f"{len(set(words)):,}"),
            ("words of an English document: least, mean, most", f"{min(lengths)}, {sum(lengths) / len(lengths):.0f}, {max(lengths)}"),
            ("topics", str(len({d["topic"] for d in documents}))), ("registers", str(len({d["register"] for d in documents}))),
            ("languages", str(len({d["language"] for d in documents}))),
            ("documents whose first five words recur", str(sum(n for n in first.values() if n > 1))),
            ("5-word sequences that recur, of all distinct ones", f"{sum(n > 1 for n in five.values())} of {len(five):,}"))
    return "\n".join([f"| data/{folder} | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def readme() -> str:
    """The whole of data/README.md."""
    return f"""# What is in the box

All of it was written for this project; licence CC0 1.0. `python -m eval.data_card` makes this page.

* `corpus/`: the demo corpus, one JSON object a line: id, text, topic, register, language.
* `more/`: more texts of the same kind, for larger runs (`--corpus data/corpus --corpus data/more`).
* `hierarchy/everyday.tsv`: everyday concepts and the words for each: concept, parent, label, terms.

The English leans British and wry; facts are plausible, not checked; people and companies are invented.

{corpus("corpus")}

{corpus("more")}

{checksums()}
"""


if __name__ == "__main__":
    (DATA / "README.md").write_text(readme(), "utf-8")
