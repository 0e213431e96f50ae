"""Labels that are only sentences, on another corpus and another checkpoint: read on a sample that agrees with reading all, and paid once."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autolabel as al
from autolabel.corpus import Report, open_sources
from autolabel.elsewhere import read_elsewhere
from autolabel.errors import RefusedError
from autolabel.llms.scripted import Scripted
from autolabel.pipeline.labels import HUMAN, embedder, hierarchy
from autolabel.pipeline.reader import Reader
from autolabel.pipeline.session import model_row, subject_of
from autolabel.pipeline.validity import chosen_labels
from autolabel.protocols import Message
from autolabel.registry import build
from autolabel.scorers.checkpoint_read import exchanged
from autolabel.scorers.priorities import priority_samples
from autolabel.splits import test_evidence
from autolabel.stats import Sampled, correlate
from autolabel.stats.sampled import sums
from autolabel.types import Ask, Explanation, Maker, Unit
from tests.cli.test_commands import run as command
from tests.llms.server import Fault, Server

SENTENCES = (
    "She has two brothers and seven cousins.", "The doctor was not at the hospital.", "We never travel by train in winter.", "Who took the bread from the table?",
    "It rained for nine days before Easter.", "A river runs through the old city.", "Nobody knows the answer yet.", "He paid forty dollars for that.",
    "Blood pressure fell after the treatment.", "They were singing until midnight.", "Germany and France signed it.", "My mother bakes on Sundays.",
    "Python raises an error here.", "The number of cells is small.", "I cannot swim without help.", "Horses sleep standing up.")
STEPS = (1, 2, 5)
FIXED = {"start": "40", "cap": "40"}
N = 4


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 documents of three sentences, in two groups."""
    path = tmp_path_factory.mktemp("other") / "others.jsonl"
    with path.open("w") as file:
        for i in range(len(SENTENCES)):
            for a in STEPS[:2]:
                for b in STEPS:
                    text = " ".join(SENTENCES[j % len(SENTENCES)] for j in (i, i + a, i + a + b))
                    file.write(json.dumps({"text": text, "kind": "near" if a < 2 else "far"}) + "\n")
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
            writer.write(lambda c, e=e: c.execute("UPDATE choices SET explanation = ?, explainer = ?, llm = NULL, label = ?, pattern = NULL, simulator = 'embedding' "
                                                  "WHERE model = 'minilm' AND neuron = ?", [e.id, HUMAN, e.text, e.unit.index]))
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
        assert low <= exact[neuron] <= high and score == pytest.approx(exact[neuron], abs=0.1) and 15 <= n <= 45  # of 96
    assert all(np.isnan(exact[neuron]) and "same strength for every token" in why for neuron, score, *_, why in rows if score is None)
    weakest = catalogue.read("SELECT min_n, min_simulator FROM weakest WHERE min_corpus = 'others'")
    assert all(by == "embedding" and n <= 45 for n, by in weakest)
    again = al.score_on(catalogue, str(other), units=units, model="minilm", settings=FIXED)
    assert (again.done, again.before) == (0, N)


def test_a_priority_sample_made_now_is_the_one_that_the_extraction_stored(small: Path) -> None:
    catalogue = al.open_catalogue(small)
    view = test_evidence(catalogue, subject_of(catalogue, model_row(catalogue, "minilm")))
    units = [Unit("minilm", "4", "mlp", n) for n in (1, 700, 1535)]
    made = priority_samples(view, units)
    for u in units:
        now, stored = made("4", "+", u.index), view.priority("4", "+", u.index)
        assert len(now.key) == 64 and now.excerpt.tolist() == stored.excerpt.tolist()
        np.testing.assert_allclose(now.s, stored.s, rtol=1e-4)


def reads(messages: Sequence[Message], ask: Ask) -> str:
    """Level 10 for the words that stand in the label, 0 for all others."""
    label = " ".join(re.findall(r"[a-z']+", messages[-1]["content"].split("\n")[0].lower()))
    tokens = json.loads(messages[-1]["content"][messages[-1]["content"].rindex("[[0,"):].split("\n")[0])
    return json.dumps({"activations": [[i, t, 10 if t.strip().lower() in label.split() else 0] for i, t in tokens]})


def refuse(messages: Sequence[Message], ask: Ask) -> str:
    raise RefusedError("the model refuses", "no")


def test_an_llm_reads_what_it_read_on_test_and_is_paid_once(catalogue: al.Catalogue, other: Path, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    unit = units_of(catalogue).split(",")[0]
    with catalogue.writer() as writer:
        writer.write(lambda c: c.execute("UPDATE choices SET simulator = 'digits' WHERE explanation IN (SELECT id FROM explanations WHERE explainer = ?)", [HUMAN]))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    few = tmp_path / "others.jsonl"
    few.write_text("\n".join(other.read_text().split("\n")[:40]))
    ask = ("score", "--corpus", str(few), "--group", "kind", "--units", unit, "--model", "minilm", "--db", str(catalogue.path), "-E", "start=10", "-E", "cap=10")
    have = "SELECT subgroup, score, n, simulator, reason FROM validity WHERE corpus = 'others' ORDER BY subgroup"
    code, _, err = command(capsys, *ask)
    assert code == 0 and "labels not read (1): a sentence" in err and "digits read on test: name the LLM that it asks with --llm" in " ".join(err.split())
    assert [(r[1:4], "--llm" in r[4]) for r in catalogue.read(have)] == [((None, 0, None), True)] * 2

    with Server(lambda body: reads(body["messages"], Ask("simulate")), key="sk-canary-0123456789") as server:
        llm = ("--llm", "openai/test-model", "--base-url", server.url)
        server.fault = lambda n, body: Fault(400, "no")
        assert command(capsys, *ask, *llm)[0] == 1  # more failed than --max-failures
        assert all(score is None and by is None and "could be simulated" in why for _, score, _, by, why in catalogue.read(have))
        assert catalogue.read("SELECT stage, count(*) FROM failures GROUP BY ALL") == [("score --corpus: simulation", 1)]
        server.fault = None
        assert command(capsys, *ask, *llm)[0] == 0
        rows = catalogue.read(have)
        assert [r[0] for r in rows] == ["kind=far", "kind=near"] and all(score is not None and n >= 4 and by == "digits" for _, score, n, by, _ in rows)
        assert catalogue.read("SELECT DISTINCT judge FROM t_validity WHERE corpus = 'others'") == [("openai/test-model",)]
        assert catalogue.read("SELECT count(*) FROM failures") == [(0,)]
        asked = len(server.chats)
        assert command(capsys, *ask, *llm, "--redo")[0] == 0 and catalogue.read(have) == rows and len(server.chats) == asked
        assert max(server.answered.values()) == 1
    code, _, err = command(capsys, *ask)  # without the LLM, what it found stays
    assert code == 0 and "1 before" in err and catalogue.read(have) == rows


class Later:
    """Another checkpoint of a subject (Any), in which one unit has the other sign."""

    hash = "later"

    def __init__(self, subject: Any, unit: int) -> None:
        self.subject, self.unit = subject, unit

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def run(self, tokens: Any, sites: Any, visit: Any) -> None:
        def changed(site: Any, x: Any, span: slice) -> None:
            y = x.clone()
            y[:, :, self.unit] *= -1
            visit(site, y, span)
        self.subject.run(tokens, sites, changed)


def test_sentences_of_changed_units_are_stale_and_no_others(catalogue: al.Catalogue) -> None:
    two = units_of(catalogue).split(",")[:2]
    looks = dict(catalogue.read("SELECT unit, test_looks FROM labels WHERE explainer = ?", [HUMAN]))
    asked: list[str] = []

    def noted(messages: Sequence[Message], ask: Ask) -> str:
        asked.append(messages[-1]["content"])
        return reads(messages, ask)
    llm = Scripted("scripted/reads", noted)
    row = model_row(catalogue, "minilm")
    subject = subject_of(catalogue, row)
    labels = chosen_labels(catalogue, row, two, None, "", 0)
    reader = Reader("simulation", "digits", llm, FIXED)
    scored = reader.build(catalogue, row, subject, hierarchy(), {}).score(labels, test_evidence(catalogue, subject))
    before, asked[:] = sorted(asked), []
    how: dict[str, Any] = {"units": two, "model": "minilm", "simulator": "digits", "settings": FIXED, "llm": llm}
    other = Later(subject, labels[0].unit.index)
    lost = al.score_checkpoint(catalogue, other, **how | {"units": two[:1], "llm": Scripted("scripted/reads", refuse)})
    assert (lost.count.failed, lost.count.done, lost.left_out) == (1, 0, 1)
    assert catalogue.read("SELECT stage, kind FROM failures") == [("score --subject: simulation", "refused")]
    notes: list[str] = []
    found = al.score_checkpoint(catalogue, other, notes=notes.append, **how)
    assert notes == ["labels read by embedding on test and by digits (scripted/reads) here (2): the two figures do not compare"]
    assert catalogue.read("SELECT count(*) FROM failures") == [(0,)]
    assert sorted(asked) == before  # what was read on test, and nothing else
    rows = catalogue.read("SELECT unit, own, fall, stale, n, simulator FROM stale")
    assert {(r[0], r[1], r[4]) for r in rows} == {(str(e.unit), s.value, s.n) for e, s in zip(labels, scored, strict=True)}
    said = {r[0]: r[3] for r in rows if r[3] is not None}
    assert said == {unit: unit == str(labels[0].unit) for unit in said} and len(said) == 2
    assert all(abs(fall) < 1e-9 for unit, _, fall, *_ in rows if unit != str(labels[0].unit)) and all(by == "digits" for *_, by in rows)
    assert (found.compared, found.stale, found.count.done) == (2, 1, 2) and found.planted >= 1 and found.power is not None
    again = al.score_checkpoint(catalogue, other, **how)
    assert (again.count.done, again.count.before, again.stale) == (0, 2, 1) and len(asked) == len(before)
    assert dict(catalogue.read("SELECT unit, test_looks FROM labels WHERE explainer = ?", [HUMAN])) == looks | {r[0]: looks[r[0]] + 1 for r in rows}


def test_a_planted_fall_is_as_large_as_it_says() -> None:
    """A sample with unequal weights: rho falls by the share of itself, on average."""
    rng = np.random.default_rng(0)
    n = 4000
    c = (rng.random(n) < 0.2).astype(np.float64)
    x = Sampled.one(np.repeat(np.arange(100), 40), np.repeat(np.arange(100), 40), np.repeat(rng.uniform(1, 30, 100), 40), np.maximum(c + rng.normal(0, 0.7, n), 0), c)
    rho, = correlate(sums(x)).rho
    left = [correlate(sums(exchanged(x, 0.2 / rho, i))).rho[0] for i in range(60)]
    assert np.mean(left) == pytest.approx(rho - 0.2, abs=0.01) and 0 < np.std(left) < 0.05
