"""Figures of data/corpus: how varied it is, as counts over its documents.

Words are runs of word characters, case-folded. Chinese, Japanese and Thai are written without spaces between words: there,
characters stand for words.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

WORD = re.compile(r"\w+")
UNSPACED = frozenset({"zh", "ja", "th"})
SAMPLE = 80_000  # English words of one draw
DRAWS = 20
JACCARD = 0.5
_SAME = {"HIRAGANA": "KANA", "KATAKANA": "KANA", "CJK": "HAN"}
Document = dict[str, Any]


def documents(folder: Path) -> list[Document]:
    """The documents of a folder of .jsonl, in the order of files and lines."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]


def digest(docs: Sequence[Document]) -> str:
    """sha256 of ids, texts and topics, in the order of ids: what the figures of a catalogue depend on."""
    return hashlib.sha256(json.dumps(sorted([d["id"], d["text"], d["topic"]] for d in docs), ensure_ascii=False).encode()).hexdigest()


def pieces(document: Document) -> list[str]:
    """Its words, or its letters where words are not spaced."""
    words = [w.casefold() for w in WORD.findall(document["text"])]
    return [letter for word in words for letter in word] if document["language"] in UNSPACED else words


def script(text: str) -> str:
    """The script of most of its letters, by their names in Unicode."""
    names = Counter(unicodedata.name(c, "?").split()[0] for c in text if c.isalpha())
    joined: Counter[str] = Counter()
    for name, n in names.items():
        joined[_SAME.get(name, name)] += n
    return joined.most_common(1)[0][0]


def distinct_words(docs: Sequence[Document], sample: int = SAMPLE, draws: int = DRAWS) -> int:
    """Distinct words in the first `sample` words of English documents in random order: the least of `draws` orders."""
    english = [pieces(d) for d in docs if d["language"] == "en"]
    rng, found = random.Random(0), []
    for _ in range(draws):
        words = [w for text in rng.sample(english, len(english)) for w in text][:sample]
        found.append(len(set(words)))
    return min(found)


def near_duplicates(docs: Sequence[Document], least: float = JACCARD) -> int:
    """Documents that share at least `least` of their joint distinct words (pairs of letters where unspaced) with another one."""
    sets = [set(pairwise(p)) if d["language"] in UNSPACED else set(p) for d in docs for p in [pieces(d)]]
    index = {piece: i for i, piece in enumerate(sorted({str(p) for s in sets for p in s}))}
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    columns = np.array([index[str(p)] for s in sets for p in s])
    matrix = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), (len(sets), len(index)))
    sizes = np.array([len(s) for s in sets])
    shared = (matrix @ matrix.T).tocoo()
    joint = sizes[shared.row] + sizes[shared.col] - shared.data
    close = (shared.row != shared.col) & (shared.data >= least * joint)
    return len(set(shared.row[close].tolist()))


def card(docs: Sequence[Document]) -> dict[str, str]:
    """Every figure by its name, as it is printed."""
    english = [d for d in docs if d["language"] == "en"]
    words = [w for d in english for w in pieces(d)]
    first = Counter((d["language"], *(p[:10] if d["language"] in UNSPACED else p[:5])) for d in docs for p in [pieces(d)])
    five = Counter(tuple(p[i:i + 5]) for d in english for p in [pieces(d)] for i in range(len(p) - 4))
    spaced = [len(d["text"].split()) for d in docs if d["language"] not in UNSPACED]
    letters = [len(d["text"]) for d in docs if d["language"] in UNSPACED]
    languages, scripts = Counter(d["language"] for d in docs), Counter(script(d["text"]) for d in docs)
    recur = sum(n for n in first.values() if n > 1)
    twins = near_duplicates(docs)
    return {
        "documents": f"{len(docs):,}",
        "bytes of text": f"{sum(len(d['text'].encode()) for d in docs):,}",
        "words of a document: least, mean, most": f"{min(spaced)}, {np.mean(spaced):.0f}, {max(spaced)}",
        "characters of a document in Chinese, Japanese, Thai: least, mean, most": f"{min(letters)}, {np.mean(letters):.0f}, {max(letters)}",
        "English": f"{len(english):,} documents ({len(english) / len(docs):.1%}), {len(words):,} words, {len(set(words)):,} of them distinct",
        f"distinct words in {SAMPLE:,} English ones drawn by document (least of {DRAWS} draws)": f"{distinct_words(docs):,}",
        "topics": str(len({d["topic"] for d in docs})),
        "registers": str(len({d["register"] for d in docs})),
        "languages": f"{len(languages)}: " + ", ".join(f"{name} {n}" for name, n in languages.most_common()),
        "scripts": f"{len(scripts)}: " + ", ".join(f"{name.capitalize()} {n}" for name, n in scripts.most_common()),
        f"documents with a near-duplicate (Jaccard of their words >= {JACCARD})": f"{twins} ({twins / len(docs):.2%})",
        "5-word sequences that recur, of all distinct English ones": f"{sum(n > 1 for n in five.values())} of {len(five):,}",
        "documents whose first five words (ten letters) recur": f"{recur} ({recur / len(docs):.2%})",
    }
