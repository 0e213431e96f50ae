"""Labels that are only sentences, on another corpus and another checkpoint: read on a sample that agrees with reading all, and paid once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autolabel as al
from autolabel.corpus import Report, open_sources
from autolabel.elsewhere import read_elsewhere
from autolabel.pipeline.labels import HUMAN, embedder
from autolabel.pipeline.session import model_row, subject_of
from autolabel.registry import build
from autolabel.types import Ask, Explanation, Maker, Unit
from tests.cli.test_commands import run as command
from tests.llms.server import Fault, Server
from tests.pipeline.test_reading import knows
from tests.pipeline.test_validity import later

SENTENCES = (
    "She has two brothers and seven cousins.", "The doctor was not at the hospital.", "We never travel by train in winter.", "Who took the bread from the table?",
    "It rained for nine days before Easter.", "A river runs through the old city.", "Nobody knows the answer yet.", "He paid forty dollars for that.",
    "Blood pressure fell after the treatment.", "They were singing until midnight.", "Germany and France signed it.", "My mother bakes on Sundays.",
    "Python raises an error here.", "The number of cells is small.", "I cannot swim without help.", "Horses sleep standing up.")
STEPS = (1, 2, 3, 5)
FIXED = {"start": "40", "cap": "40"}
N = 6


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 documents of three sentences, in two groups."""
    path = tmp_path_factory.mktemp("other") / "others.jsonl"
    with path.open("w") as file:
        for i in range(len(SENTENCES)):
            for a in STEPS:
                for b in STEPS:
                    text = " ".join(SENTENCES[j % len(SENTENCES)] for j in (i, i + a, i + a + b))
                    file.write(json.dumps({"text": text, "kind": "near" if a < 3 else "far"}) + "\n")
    return path


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy in which the best labels of some units are the sentences alone, as a person might give them."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    made = al.open_catalogue(tmp_path / "copy.duckdb")
    best = made.read("SELECT neuron, label FROM labels WHERE verdict = 'confirmed' AND pattern LIKE '%word%' ORDER BY score DESC LIMIT ?", [N])
    sentences = [Explanation(Unit("minilm", "4", "mlp", n), text, None, Maker(HUMAN)) for n, text in best]
    with made.writer() as writer:
        writer.insert("explanations", {
            "id": [e.id for e in sentences], "model": "minilm", "layer": "4", "site": "mlp", "neuron": [e.unit.index for e in sentences], "side": "+",
            "text": [e.text for e in sentences], "explainer": HUMAN, "settings": "{}"})
        for e in sentences:
            writer.write(lambda c, e=e: c.execute("UPDATE choices SET explanation = ?, simulator = 'embedding' WHERE model = 'minilm' AND neuron = ?",
                                                  [e.id, e.unit.index]))
    return made


def units_of(catalogue: al.Catalogue) -> str:
    return ",".join(f"4/{n}" for (n,) in catalogue.read("SELECT neuron FROM labels WHERE pattern IS NULL AND label IS NOT NULL ORDER BY neuron"))


def whole(catalogue: al.Catalogue, other: Path) -> dict[int, float]:
    """rho of each sentence over all of the other corpus."""
    row = model_row(catalogue, "minilm")
    subject = subject_of(catalogue, row)
    part = read_elsewhere(catalogue, row.corpus_id, open_sources([str(other)], report=Report()), subject.tokenizer, subject.tokenizer_hash, row.context).parts[None]
    (e,) = part.chunks()
    site = next(s for s in subject.sites if s.layer == "4")
    a = np.concatenate([np.maximum(subject.activations(b.tokens, site).numpy(), 0).reshape(-1, site.width) for b in e.batches(32)]).astype(np.float64)
    simulator = build("simulators", "embedding", None, {"embedder": embedder()})
    found = {}
    for n, text in catalogue.read("SELECT neuron, label FROM labels WHERE pattern IS NULL AND label IS NOT NULL"):
        c = np.concatenate([s.expected for s in simulator.simulate(text, [e.excerpt(i) for i in range(len(e))])])
        found[n] = float(np.corrcoef(a[:, n], c)[0, 1]) if c.std() > 0 else np.nan
    return found


def test_a_sample_of_another_corpus_agrees_with_all_of_it(catalogue: al.Catalogue, other: Path) -> None:
    looks, units = catalogue.read("SELECT sum(test_looks) FROM labels"), units_of(catalogue)
    count = al.score_on(catalogue, str(other), units=units, model="minilm", settings=FIXED)
    assert (count.done, count.failed, count.asked) == (N, 0, N) and catalogue.read("SELECT sum(test_looks) FROM labels") == looks
    rows = catalogue.read("SELECT neuron, score, ci_low, ci_high, n, simulator, reason FROM validity WHERE NOT own AND corpus = 'others'")
    exact = whole(catalogue, other)
    assert {r[0] for r in rows} == set(exact) and all(by == "embedding" for *_, by, _ in rows)
    scored = [r for r in rows if r[1] is not None]
    assert len(scored) >= N - 1 and np.ptp([exact[r[0]] for r in scored]) > 0.3
    for neuron, score, low, high, n, *_ in scored:
        assert low <= exact[neuron] <= high and score == pytest.approx(exact[neuron], abs=0.1) and 20 <= n <= 45  # of 256
    assert all(np.isnan(exact[neuron]) and "same strength for every token" in why for neuron, score, *_, why in rows if score is None)
    weakest = catalogue.read("SELECT min_n, min_simulator FROM weakest WHERE min_corpus = 'others'")
    assert all(by == "embedding" and n <= 45 for n, by in weakest)
    again = al.score_on(catalogue, str(other), units=units, model="minilm", settings=FIXED)
    assert (again.done, again.before) == (0, N)


def test_an_llm_reads_what_it_read_on_test_and_is_paid_once(catalogue: al.Catalogue, other: Path, capsys: pytest.CaptureFixture[str],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    units = ",".join(units_of(catalogue).split(",")[:2])
    with catalogue.writer() as writer:
        writer.write(lambda c: c.execute("UPDATE choices SET simulator = 'digits' WHERE explanation IN (SELECT id FROM explanations WHERE explainer = ?)", [HUMAN]))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    ask = ("score", "--corpus", str(other), "--units", units, "--model", "minilm", "--db", str(catalogue.path), "-E", "start=12", "-E", "cap=12")
    code, _, err = command(capsys, *ask)
    rows = catalogue.read("SELECT score, reason, n, simulator FROM validity WHERE corpus = 'others'")
    assert code == 0 and "2 labels are not read: " in err and "digits read on test: name the LLM that it asks with --llm" in " ".join(err.split())
    assert len(rows) == 2 and all((score, n, by) == (None, 0, None) and "--llm" in why for score, why, n, by in rows)

    def answer(body: dict[str, Any]) -> str:
        return knows(body["messages"], Ask("simulate"))

    with Server(answer, key="sk-canary-0123456789") as server:
        llm = ("--llm", "openai/test-model", "--base-url", server.url)
        server.faults.extend([Fault(400, "no")] * 2)
        assert command(capsys, *ask, *llm)[0] == 0
        rows = catalogue.read("SELECT unit, score, n, simulator FROM validity WHERE corpus = 'others' ORDER BY unit")
        assert len(rows) == 2 and all(n >= 5 and by == "digits" for *_, n, by in rows)
        assert catalogue.read("SELECT DISTINCT judge FROM t_validity WHERE corpus = 'others'") == [("openai/test-model",)]
        asked = len(server.chats)
        for more in ((), ("--redo",)):
            code, _, err = command(capsys, *ask, *llm, *more)
            assert code == 0 and len(server.chats) == asked and catalogue.read("SELECT unit, score, n, simulator FROM validity WHERE corpus = 'others' ORDER BY unit") == rows
        code, _, err = command(capsys, *ask)  # without the LLM, what it found stays
        assert code == 0 and "2 before" in err and catalogue.read("SELECT count(score) FROM validity WHERE corpus = 'others'") == [(sum(r[1] is not None for r in rows),)]


def test_sentences_of_changed_units_are_stale_and_no_others(catalogue: al.Catalogue, tmp_path: Path) -> None:
    looks = dict(catalogue.read("SELECT neuron, test_looks FROM labels WHERE explainer = ?", [HUMAN]))
    changed = sorted(looks)[:2]
    folder = tmp_path / "later"
    folder.mkdir()
    found = al.score_checkpoint(catalogue, str(later(folder, changed)), units=units_of(catalogue), model="minilm")
    rows = catalogue.read("SELECT neuron, own, score, fall, fall_low, stale, n, simulator, reason FROM stale ORDER BY neuron")
    assert len(rows) == N == found.count.done and all(by == "embedding" and n >= 20 for *_, n, by, _ in rows)
    print(rows, found)
