"""Controls keep what they say they keep, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.subjects import load_subject
from autolabel.subjects.control import CONTROLS

T5 = {"vocab_size": 40, "d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 48, "num_layers": 2, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3}


@pytest.mark.parametrize("kind", CONTROLS)
def test_controls(make_model: Callable[..., Path], kind: str) -> None:
    folder = str(make_model("t5", tokenizer="t5", **T5))
    plain, control, again, other = load_subject(folder), load_subject(folder, control=kind), load_subject(folder, control=kind), load_subject(folder, control=kind, seed=1)
    assert control.name == f"t5~{kind}" and control.control_of == "t5" and plain.control_of is None
    assert len({plain.hash, control.hash, other.hash}) == 3 and control.hash == again.hash
    assert control.sites == plain.sites and control.tokenizer_hash == plain.tokenizer_hash
    tokens = np.array([[5, 6, 7, 8]])
    a, b, c, d = (s.activations(tokens, s.sites[-1]) for s in (plain, control, again, other))
    assert torch.equal(b, c) and not torch.allclose(a, b, atol=1e-3) and not torch.allclose(b, d, atol=1e-3)
    kept = [n for n, p in control.model.named_parameters() if torch.equal(p, plain.model.get_parameter(n))]
    assert kept == (["shared.weight"] if kind == "embeddings-kept" else [])
    if kind != "initialised":
        for name, tensor in control.model.named_parameters():
            assert torch.equal(tensor.flatten().sort().values, plain.model.get_parameter(name).flatten().sort().values)


def test_initialised_is_as_the_architecture_draws_it(make_model: Callable[..., Path]) -> None:
    folder = make_model("bert", vocab_size=40, hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=256, max_position_embeddings=16)
    control = load_subject(str(folder), control="initialised")
    weight = control.model.get_parameter("encoder.layer.0.output.dense.weight")
    assert weight.std().item() == pytest.approx(.02, rel=.05)
    assert (control.model.get_parameter("encoder.layer.0.output.dense.bias") == 0).all()
    state = torch.random.get_rng_state()
    load_subject(str(folder), control="initialised")
    assert torch.equal(state, torch.random.get_rng_state())  # nobody else's randomness is touched
