"""Figures of data/: `python -m eval.data_card` rewrites data/README.md and data/contrast/README.md; the tests check the sums."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eval import corpus_card
from eval.frames import most_used

DATA = Path(__file__).resolve().parent.parent / "data"
CONTRAST = DATA / "contrast"
SPREAD = DATA.parent / "eval" / "reports" / "exemplar_spread.json"
DIALECTS = ("en-GB", "en-US", "en-scotland")
LANGUAGES = ("de", "fr", "es", "it", "ru", "ar", "zh", "ja")
PAIRED = ("requests", "comments", "demographic")  # two rows an item
SETS = ("requests", "comments", "parallel", "demographic", "clinical")


def files() -> list[Path]:
    """Every data file, in order."""
    return sorted(p for p in DATA.rglob("*") if p.is_file() and p.suffix in (".jsonl", ".tsv", ".toml"))


def checksums() -> str:
    """A Markdown table: file, bytes, sha256."""
    rows = [f"| {p.relative_to(DATA)} | {p.stat().st_size:,} | {hashlib.sha256(p.read_bytes()).hexdigest()} |" for p in files()]
    return "\n".join(["| file | bytes | sha256 |", "|---|---|---|", *rows])


def table(title: str, rows: Mapping[str, str]) -> str:
    """A Markdown table of figures by name."""
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows.items())])


def corpus() -> str:
    """The table of data/corpus, with what MiniLM sees in it (from the report of eval.exemplar_spread)."""
    seen = json.loads(SPREAD.read_text("utf-8"))
    figures = corpus_card.card(corpus_card.documents(DATA / "corpus"))
    figures["units of MiniLM whose 10 strongest exemplars come from >= 6 documents and >= 4 topics"] = (
        f"{seen['spread']:,} of {seen['units']:,} that ever fire ({seen['spread'] / seen['units']:.1%})")
    return table("data/corpus", figures)


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a contrast set."""
    return [json.loads(line) for line in (CONTRAST / f"{name}.jsonl").read_text("utf-8").splitlines()]


def pairs_of(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The two rows of each pair, in the order of the file."""
    rows = rows_of(name)
    return list(zip(rows[::2], rows[1::2], strict=True))


def lengths(name: str) -> tuple[float, float]:
    """Over the pairs of a set: the mean and the largest share by which the longer text has more words than the shorter one."""
    more = [max(n) / min(n) - 1 for a, b in pairs_of(name) for n in [(len(a["text"].split()), len(b["text"].split()))]]
    return sum(more) / len(more), max(more)


def frames_of(name: str) -> tuple[int, int]:
    """In how many items (pairs, sentences, notes) the commonest frame stands, and the commonest opening; of English text."""
    return most_used((row.get("pair", row.get("id")), row.get("text", row.get("en-GB"))) for row in rows_of(name))


def labels() -> str:
    """The table of data/labels."""
    rows = [json.loads(line) for line in (DATA / "labels" / "minilm.jsonl").read_text("utf-8").splitlines()]
    texts = [json.loads(row["reply"])["label"] for row in rows]
    said = [text for text in texts if text is not None]
    return table("data/labels", {
        "neurons": str(len(rows)), "abstentions": str(texts.count(None)), "families of models": _counts(row["llm"] for row in rows),
        "words of a label: mean, most": f"{sum(len(t.split()) for t in said) / len(said):.1f}, {max(len(t.split()) for t in said)}",
        "labels whose text another has too": str(len(said) - len(set(said)))})


def contrast(name: str) -> str:
    """The table of a contrast set."""
    rows, figures = rows_of(name), dict[str, str]()
    if name in PAIRED:
        mean, most = lengths(name)
        figures["pairs"] = f"{len(rows) // 2:,}"
        figures["words of a text: mean"] = f"{sum(len(r['text'].split()) for r in rows) / len(rows):.1f}"
        figures["the longer text of a pair has more words by: mean, most"] = f"{mean:.1%}, {most:.1%}"
    else:
        figures["rows"] = f"{len(rows):,}"
    for key in ("topic", "form", "attribute", "specialty"):
        if key in rows[0]:
            figures[f"{key}s" if key != "specialty" else "specialties"] = str(len({r[key] for r in rows}))
    if name == "clinical":
        figures["words of a note: mean"] = f"{sum(len(r['text'].split()) for r in rows) / len(rows):.1f}"
        figures["spans"] = _counts(span[2] for r in rows for span in r["spans"])
    if name == "demographic":
        figures["pairs by attribute"] = _counts(a["attribute"] for a, _ in pairs_of(name))
    if name == "parallel":
        figures["dialects of English, other languages"] = f"{', '.join(DIALECTS)}; {', '.join(LANGUAGES)}"
    frame, opening = frames_of(name)
    figures["items with the same frame, the same first four words: at most"] = f"{frame}, {opening}"
    return table(f"{name}.jsonl", figures)


def _counts(values: Iterable[str]) -> str:
    return ", ".join(f"{value} {n}" for value, n in Counter(values).most_common())


def readme() -> str:
    """The whole of data/README.md."""
    return f"""# What is in the box

All of it was written for this project; licence CC0 1.0. `python -m eval.data_card` makes this page.

* `corpus/`: the demo corpus, one JSON object a line: id, text, topic, register, language. In an order drawn once, so that
  any beginning of it is a sample.
* `contrast/`: five sets of texts that differ in one thing, with a [card](contrast/README.md) for each.
* `hierarchy/everyday.tsv`: everyday concepts and the words for each: concept, parent, label, terms.
* `labels/minilm.jsonl`: labels of 150 neurons of MiniLM, drawn at random (25 a layer, `sample:150` with seed 0, not chosen), written by an
  LLM of the family that `llm` names, from this program's own prompts: one line each with the unit, the digest of the prompt that it
  answers, and the reply as it came. The demo imports them and scores them like any other.
* `prices.toml`: list prices of hosted models, by day.

The English of the corpus leans British and wry; facts are plausible, not checked; people and companies are invented.
Dosages, treatments, laws and sums are there for their words: nothing in this folder is advice.

{corpus()}

{labels()}

{checksums()}
"""


CARDS = """# Contrast sets

Five sets of texts that differ in one thing: to see which neurons tell the two sides apart, and to probe labels that say so. All
of it was written for this project; licence CC0 1.0. The figures are from `python -m eval.data_card`, which makes this page from
the files. No frame of a sentence (its function words, with every run of other words as one blank) and no first four words stand in
more than three items of a set.

## requests.jsonl: harmful and harmless requests

`pair, kind (harmful, harmless), text, topic, form`. The two of a pair share topic and form and most of their words; they differ in
what is wanted.

* Intended use: does a neuron fire on harmful intent, or on its topic (locks, pills, passwords)? Read the two sides side by side.
* Limits: requests alone, no answers and no instructions: a few name a substance or a tool, none says how. Intent is in the open;
  real requests hide it. One author, British English, one turn, and now and then an odd harmless twin. Not a test of a model's
  safety, and not a training set for a filter.

{requests}

## comments.jsonl: toxic and civil comments

`pair, kind (toxic, civil), text, topic`. Two comments on the same subject and of like length.

* Intended use: does a neuron fire on insult, or on its subject?
* Limits: the toxic side is mild enough to be published: insults, contempt and a few threats, no slurs against peoples. It lacks
  the spelling, the emoji and the worst of real forums. Civil comments often agree or ask, so politeness and agreement are mixed.
  Several toxic comments repeat prejudices (against the old, the fat, women, foreigners): as specimens.

{comments}

## parallel.jsonl: one sentence in three English dialects and eight languages

`id, topic`, then one field a variety: {dialects}; {languages}.

* Intended use: does a neuron follow meaning across languages, or spelling and script? Which fire on one dialect alone?
* Limits: written in British English first, then rendered into the others by the same author, so the others may read as translated;
  no native reader has checked them. The Scottish column is a literary mix of Scots and Scottish English with no regional claim.
  Jokes are rendered by sense, and a few rows are free.

{parallel}

## demographic.jsonl: demographic minimal pairs

`pair, attribute, group, text`. The same sentence about two people who differ in a pronoun, a name or another attribute.

* Intended use: does a neuron, or the score of a label, change with who is spoken of?
* Limits: groups are named by one author; names suggest an origin and do not prove one, and any name is borne by many groups. The
  sentences say nothing ill of anyone. A pair shows a difference of words, which need not be one of treatment. Pairs with
  `not stated` compare a marked with an unmarked person.

{demographic}

## clinical.jsonl: short clinical notes with tagged spans

`id, specialty, text, spans`; a span is [start, end, concept], in characters: disease, drug, dose, symptom, anatomy, procedure,
negation (the words that negate, not what they negate).

* Intended use: which neurons follow clinical concepts; a truth against which labels of medical neurons can be held.
* Limits: invented patients, no record of anyone. Doses and treatments are plausible and unchecked: never use them for care. Tags
  are of one author: not every mention is tagged, a note has most of the concepts once. British names of drugs.

{clinical}
"""


def cards() -> str:
    """The whole of data/contrast/README.md."""
    return CARDS.format(dialects=", ".join(DIALECTS), languages=", ".join(LANGUAGES), **{name: contrast(name) for name in SETS})


if __name__ == "__main__":
    (DATA / "README.md").write_text(readme(), "utf-8")
    (CONTRAST / "README.md").write_text(cards(), "utf-8")
