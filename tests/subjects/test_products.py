"""Products by oneDNN: the same numbers, and nothing else of the model is another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from autolabel.subjects import load_subject, products
from autolabel.subjects.loading import find_source, load_causal

KINDS = {
    "bert": {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40},
    "gpt2": {"tokenizer": "gpt2", "vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {"tokenizer": "llama", "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40},
    "t5": {"tokenizer": "t5", "vocab_size": 60, "d_model": 32, "d_kv": 16, "num_layers": 2, "num_heads": 2, "d_ff": 40},
}
TOKENS = np.array([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5], [5, 5, 9, 9, 7]])
pytestmark = pytest.mark.skipif(not products.has_onednn(), reason="this torch was built without oneDNN")


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """`everywhere(True)`: as on a processor on which MKL is slow; `everywhere(False)`: as on any other."""
    return lambda slow: monkeypatch.setattr(products, "slow_mkl", lambda: slow)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers(kind: str, make_model: Callable[..., Path], everywhere: Callable[[bool], None]) -> None:
    folder = str(make_model(kind, **KINDS[kind]))
    everywhere(False)
    plain = load_subject(folder)
    everywhere(True)
    quick = load_subject(folder)
    made = [m for m in quick.model.modules() if isinstance(m, products.Linear | products.Conv1D)]
    assert made and not any(isinstance(m, products.Linear | products.Conv1D) for m in plain.model.modules())
    assert quick.sites == plain.sites and quick.hash == plain.hash and quick.describe() == plain.describe()
    for site in plain.sites:
        expected = plain.activations(TOKENS, site)
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(quick.activations(TOKENS, site), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(quick.output_weights(site), plain.output_weights(site), rtol=0, atol=0)
    for (name, weight), (_, other) in zip(plain.model.state_dict().items(), quick.model.state_dict().items(), strict=True):
        assert torch.equal(weight, other), name


def test_weights_that_are_changed_or_copied_count_at_once(make_model: Callable[..., Path], everywhere: Callable[[bool], None]) -> None:
    """No copy of the weights is kept: a stale one would be used without a word."""
    everywhere(True)
    subject = load_subject(str(make_model("bert", **KINDS["bert"])))
    twin = copy.deepcopy(subject.model)
    with torch.no_grad():
        for module in subject.model.modules():
            if isinstance(module, products.Linear):
                module.weight.zero_()
                assert module.bias is not None
                module.bias.fill_(1.0)
    module = next(m for m in subject.model.modules() if isinstance(m, products.Linear))
    other = next(m for m in twin.modules() if isinstance(m, products.Linear))
    x = torch.randn(3, module.in_features)
    with torch.inference_mode():
        assert torch.equal(module(x), torch.ones(3, module.out_features))
        assert not torch.equal(other(x), module(x))


def test_a_head_that_is_the_embedding_stays_one(make_model: Callable[..., Path], everywhere: Callable[[bool], None]) -> None:
    everywhere(True)
    model = load_causal(find_source(str(make_model("gpt2", head=True, **KINDS["gpt2"]))))
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert isinstance(head, products.Linear) and head.weight is embedding.weight and embedding.weight.is_contiguous()
    x = torch.randn(2, 3, 32)
    with torch.inference_mode():
        torch.testing.assert_close(head(x), x @ embedding.weight.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("biased", [True, False])
def test_whatever_else_comes_goes_torch_s_own_way(biased: bool, everywhere: Callable[[bool], None]) -> None:
    everywhere(True)
    model = nn.Sequential(nn.Linear(8, 4, bias=biased))
    plain = copy.deepcopy(model)
    products.quicken(model)
    x = torch.randn(5, 8)
    with torch.inference_mode():
        for some in (x, x[::2], x[:, None], x.T.contiguous().T, x[0], torch.stack([x, x]).transpose(0, 1)):
            torch.testing.assert_close(model(some), plain(some))
        assert model(x[:0]).shape == (0, 4)
    leaf = x.clone().requires_grad_()
    model(leaf).sum().backward()
    assert leaf.grad is not None and model[0].weight.grad is not None
    torch.testing.assert_close(leaf.grad, plain[0].weight.sum(0).expand(5, 8))
    with torch.inference_mode():
        torch.testing.assert_close(model.double()(x.double()), plain.double()(x.double()))


def test_half_precision_is_left_alone(make_model: Callable[..., Path], everywhere: Callable[[bool], None]) -> None:
    everywhere(True)
    subject = load_subject(str(make_model("bert", **KINDS["bert"])), dtype="bfloat16")
    assert not any(isinstance(m, products.Linear) for m in subject.model.modules())
