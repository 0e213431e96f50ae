"""Sites are found in models of every build, by how values flow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.errors import SubjectError
from autolabel.subjects import load_subject

ENCODER = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64}
DECODER = {**ENCODER, "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
BART = {"vocab_size": 40, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
        "decoder_start_token_id": 3, "forced_eos_token_id": 3}
CASES: list[tuple[str, str, dict[str, object], dict[str, int], bool, str]] = [  # class, tokenizer, settings, layers and widths, two-sided, end of the module's name
    ("albert", "bert", {**ENCODER, "embedding_size": 16}, {"0": 48, "1": 48, "2": 48}, False, "ffn_output"),
    ("distilbert", "bert", {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}, {"0": 48, "1": 48}, False, "ffn.lin2"),
    ("roberta", "bart", {**ENCODER, "pad_token_id": 0}, {"0": 48, "1": 48, "2": 48}, False, "output.dense"),
    ("modernbert", "bert", {**ENCODER, "cls_token_id": 2, "sep_token_id": 3, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
     {"0": 48, "1": 48, "2": 48}, True, "mlp.Wo"),  # gate and value from one map
    ("fnet", "bert", ENCODER, {"0": 48, "1": 48, "2": 48}, False, "output.dense"),  # no attention at all
    ("opt", "llama", {**DECODER, "ffn_dim": 48, "word_embed_proj_dim": 16}, {"0": 48, "1": 48, "2": 48}, False, "fc2"),  # no container, 2-D inputs
    ("gpt_neox", "gpt2", DECODER, {"0": 48, "1": 48, "2": 48}, False, "dense_4h_to_h"),  # parallel to attention
    ("phi", "gpt2", DECODER, {"0": 48, "1": 48, "2": 48}, False, "mlp.fc2"),
    ("phi3", "llama", DECODER, {"0": 48, "1": 48, "2": 48}, True, "mlp.down_proj"),  # fused gate_up_proj
    ("gemma2", "llama", DECODER, {"0": 48, "1": 48, "2": 48}, True, "mlp.down_proj"),  # norms after the MLP
    ("bloom", "gpt2", {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4}, {"0": 128, "1": 128}, False, "dense_4h_to_h"),
    ("xlnet", "bert", {"vocab_size": 40, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}, {"0": 48, "1": 48}, False, "layer_2"),  # time before batch
    ("bart", "bart", BART, {"e0": 48, "e1": 48, "d0": 40, "d1": 40}, False, "fc2"),
    ("mobilebert", "bert", {**ENCODER, "embedding_size": 16, "intra_bottleneck_size": 24, "num_feedforward_networks": 2}, {"0": 48, "1": 48, "2": 48},
     False, "output.dense"),  # stacked feed-forwards: the last
]


@pytest.mark.parametrize(("kind", "tokenizer", "settings", "widths", "two_sided", "ending"), CASES, ids=[c[0] for c in CASES])
def test_finds_the_down_projection(make_model: Callable[..., Path], kind: str, tokenizer: str, settings: dict[str, object], widths: dict[str, int],
                                   two_sided: bool, ending: str) -> None:
    subject = load_subject(str(make_model(kind, tokenizer=tokenizer, **settings)))
    assert {site.layer: site.width for site in subject.sites} == widths
    assert [site.order for site in subject.sites] == sorted(site.order for site in subject.sites)
    assert {site.two_sided for site in subject.sites} == {two_sided}
    rows = subject.describe()
    assert [row["layer"] for row in rows] == list(widths) and all(str(row["module"]).endswith(ending) for row in rows)
    tokens = subject.tokenizer("the cat sat on the mat", add_special_tokens=False, return_tensors="np")["input_ids"]
    for site in subject.sites:
        assert subject.activations(tokens, site).shape == (1, 6, site.width)
        apart = [subject.activations(tokens[:, ::step], site) for step in (1, -1)]
        assert torch.allclose(subject.activations(np.concatenate([tokens, tokens[:, ::-1]]), site), torch.cat(apart), atol=1e-4)
        weights = subject.output_weights(site)
        assert weights.shape[0] == site.width
        assert weights.data_ptr() == subject.place(site).module.weight.data_ptr()


def test_a_shared_block_has_one_address_for_each_pass(make_model: Callable[..., Path]) -> None:
    subject = load_subject(str(make_model("albert", **ENCODER, embedding_size=16)))
    assert len({id(place.module) for place in subject.places}) == 1
    tokens = subject.tokenizer("the cat sat", add_special_tokens=False, return_tensors="np")["input_ids"]
    first, last = (subject.activations(tokens, subject.sites[i]) for i in (0, 2))
    assert (first - last).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "settings"), [
    ("mixtral", {**DECODER, "num_local_experts": 4}),
    ("qwen2_moe", {**DECODER, "num_experts": 4, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 48}),  # a shared expert is not the whole block
    ("switch_transformers", {"vocab_size": 40, "d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 48, "num_layers": 2, "num_experts": 3,
                             "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3}),
])
def test_experts_are_refused(make_model: Callable[..., Path], kind: str, settings: dict[str, object]) -> None:
    with pytest.raises(SubjectError, match="mixture of experts"):
        load_subject(str(make_model(kind, tokenizer="t5" if kind.startswith("switch") else "llama", **settings)))


def test_a_model_without_an_mlp(make_model: Callable[..., Path]) -> None:
    folder = make_model("mamba", tokenizer="gpt2", vocab_size=40, hidden_size=32, num_hidden_layers=2, state_size=4)
    with pytest.raises(SubjectError, match="has no MLP"):
        load_subject(str(folder))
