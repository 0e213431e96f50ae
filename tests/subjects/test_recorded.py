"""Narrow subjects, and subjects that run once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.errors import CatalogueError, SettingsError, UnitError
from autolabel.protocols import Subject
from autolabel.subjects import HFSubject, Narrow, Recorded, load_subject
from autolabel.types import Site

BERT = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 16}
Seen = dict[str, torch.Tensor]


@pytest.fixture
def bert(make_model: Callable[..., Path]) -> HFSubject:
    return load_subject(str(make_model("bert", **BERT)))


def batches() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, 30, shape).astype(np.int64) for shape in ((4, 6), (3, 6), (2, 9))]


def visited(subject: Subject, tokens: np.ndarray, sites: tuple[Site, ...] | None = None) -> Seen:
    seen: Seen = {}
    def keep(site: Site, x: torch.Tensor, span: slice) -> None:
        assert x.dtype == torch.float32 and x.is_contiguous()
        seen[site.layer] = x[:, span].clone()
    subject.run(tokens, subject.sites if sites is None else sites, keep)
    return seen


def test_narrow(bert: HFSubject) -> None:
    narrow = Narrow(bert, 10)
    assert isinstance(narrow, Subject) and [s.width for s in narrow.sites] == [10, 10]
    assert narrow.hash != bert.hash and narrow.name == "bert" and narrow.tokenizer is bert.tokenizer and narrow.vocabulary == bert.vocabulary
    tokens = batches()[0]
    for layer, x in visited(narrow, tokens).items():
        assert torch.equal(x, bert.activations(tokens, bert.site(layer))[..., :10])
    assert narrow.activations(tokens, narrow.sites[1]).shape == (4, 6, 10)
    assert narrow.output_weights(narrow.sites[0]).shape == (10, 32)
    assert [row["width"] for row in narrow.describe()] == [10, 10]
    assert Narrow(bert, 999).sites == bert.sites
    with pytest.raises(UnitError):
        narrow.activations(tokens, Site("9", 9, "mlp", 10, False))
    with pytest.raises(SettingsError):
        Narrow(bert, 0)


def test_recorded_runs_each_batch_once_and_both_passes_see_the_same(bert: HFSubject, tmp_path: Path) -> None:
    recorded = Recorded(Narrow(bert, 10), tmp_path / "r")
    assert isinstance(recorded, Subject) and recorded.tokenizer is bert.tokenizer
    first = [visited(recorded, tokens) for tokens in batches()]
    assert recorded.passes == 3
    second = [visited(recorded, tokens) for tokens in reversed(batches())][::-1]
    assert recorded.passes == 3
    for tokens, a, b in zip(batches(), first, second, strict=True):
        for site in recorded.sites:
            exact = bert.activations(tokens, site)[..., :10]
            assert torch.equal(a[site.layer], b[site.layer])
            assert torch.equal(a[site.layer], exact.half().float())
    assert list(visited(recorded, batches()[0], recorded.sites[1:])) == ["1"]
    assert recorded.activations(batches()[1], recorded.sites[0]).shape == (3, 6, 10)


def test_a_first_pass_for_one_site_records_all(bert: HFSubject, tmp_path: Path) -> None:
    recorded = Recorded(bert, tmp_path / "r")
    visited(recorded, batches()[0], bert.sites[:1])
    assert set(visited(recorded, batches()[0])) == {"0", "1"} and recorded.passes == 1


def test_reopened_after_a_kill(bert: HFSubject, tmp_path: Path) -> None:
    recorded = Recorded(bert, tmp_path / "r")
    seen = [visited(recorded, tokens) for tokens in batches()]
    index, data = tmp_path / "r" / "index.jsonl", tmp_path / "r" / "records.f16"
    index.write_text(index.read_text()[:-20])  # the last entry was being written
    data.write_bytes(data.read_bytes() + b"half a tensor")
    again = Recorded(bert, tmp_path / "r")
    for tokens, expected in zip(batches(), seen, strict=True):
        got = visited(again, tokens)
        assert all(torch.equal(got[layer], x) for layer, x in expected.items())
    assert again.passes == 1
    data.write_bytes(data.read_bytes()[:-100])  # records that are in the index are gone
    third = Recorded(bert, tmp_path / "r")
    assert all(torch.equal(visited(third, batches()[2])[layer], x) for layer, x in seen[2].items()) and third.passes == 1


def test_another_subject_may_not_use_the_folder(bert: HFSubject, tmp_path: Path) -> None:
    visited(Recorded(bert, tmp_path / "r"), batches()[0])
    with pytest.raises(CatalogueError, match="another subject"):
        Recorded(Narrow(bert, 5), tmp_path / "r")


def test_large_values_are_scaled_not_lost(bert: HFSubject, tmp_path: Path) -> None:
    with torch.no_grad():
        bert.model.get_parameter("encoder.layer.1.intermediate.dense.weight").mul_(1e6)
    recorded = Recorded(bert, tmp_path / "r")
    tokens = batches()[0]
    visited(recorded, tokens)
    exact = bert.activations(tokens, bert.sites[1])
    assert exact.max() > 65_504
    assert torch.allclose(recorded.activations(tokens, bert.sites[1]), exact, rtol=1e-3, atol=exact.max().item() * 1e-6)
