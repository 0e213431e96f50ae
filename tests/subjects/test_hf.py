"""The contract of `run`: what is visited, where the content stands, and where the pass ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from autolabel.errors import SettingsError, SubjectError, UnitError
from autolabel.passes import Passes
from autolabel.protocols import Subject
from autolabel.subjects import HFSubject, load_subject
from autolabel.types import Site

BERT = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 16}
BART = {"vocab_size": 40, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
        "decoder_start_token_id": 3}


@pytest.fixture
def bert(make_model: Callable[..., Path]) -> HFSubject:
    return load_subject(str(make_model("bert", **BERT)))


def some(subject: HFSubject, batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(3).integers(5, 30, (batch, length)).astype(np.int64)


def called(subject: HFSubject, tokens: np.ndarray, sites: list[Site]) -> set[str]:
    """Names of the modules whose forward is entered."""
    names: list[str] = []
    handles = [m.register_forward_hook(lambda _m, _i, _o, name=n: names.append(name)) for n, m in subject.model.named_modules()]
    subject.run(tokens, sites, lambda *_: None)
    for handle in handles:
        handle.remove()
    return set(names)


def test_is_a_subject(bert: HFSubject) -> None:
    assert isinstance(bert, Subject)
    assert bert.name == "bert" and bert.context == 14
    assert bert.vocabulary[2] == "[CLS]" and len(bert.tokenizer_hash) == len(bert.hash) == 16
    assert bert.special_ids == {0, 2, 3}  # the unknown word is text
    assert bert.site("1") == bert.sites[1]


def test_special_positions_are_outside_the_span(bert: HFSubject) -> None:
    tokens = some(bert, 4, 6)
    seen = []
    bert.run(tokens, bert.sites, lambda site, x, span: seen.append((site, tuple(x.shape), span, x.is_contiguous(), x.dtype)))
    assert seen == [(site, (4, 8, 48), slice(1, 7), True, torch.float32) for site in bert.sites]


def test_the_visited_tensor_is_the_one_that_enters(bert: HFSubject) -> None:
    entered: list[int] = []
    place = bert.places[0]
    handle = place.module.register_forward_pre_hook(lambda _m, args: entered.append(args[0].data_ptr()))
    visited: list[int] = []
    bert.run(some(bert, 2, 5), bert.sites[:2], lambda site, x, span: visited.append(x.data_ptr()))
    handle.remove()
    assert visited[0] == entered[0]


def test_the_pass_ends_at_the_last_site(bert: HFSubject) -> None:
    names = called(bert, some(bert, 2, 5), [bert.sites[1]])
    assert "encoder.layer.1.intermediate.dense" in names
    assert "encoder.layer.1.output.dense" not in names and not any(n.startswith("encoder.layer.2") for n in names)
    assert not any("pooler" in n for n, _ in bert.model.named_modules())


def test_no_head_is_loaded(make_model: Callable[..., Path]) -> None:
    folder = make_model("gpt2", tokenizer="gpt2", head=True, vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=16, bos_token_id=0,
                        eos_token_id=0, tie_word_embeddings=False)
    model = load_subject(str(folder)).model
    assert not any(isinstance(m, nn.Linear) and m.out_features == 40 for m in model.modules())


def test_an_encoder_site_needs_no_decoder(make_model: Callable[..., Path]) -> None:
    subject = load_subject(str(make_model("bart", tokenizer="bart", **BART)))
    names = called(subject, some(subject, 2, 5), [subject.site("e1")])
    assert not any(n.startswith("decoder") for n in names)
    spans = {}
    subject.run(some(subject, 2, 5), subject.sites, lambda site, x, span: spans.update({site.layer: (x.shape[1], span)}))
    assert spans == {"e0": (7, slice(1, 6)), "e1": (7, slice(1, 6)), "d0": (7, slice(2, 7)), "d1": (7, slice(2, 7))}  # </s> <s> text


def test_nothing_is_left_behind_when_a_visitor_fails(bert: HFSubject) -> None:
    def fail(*_: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        bert.run(some(bert, 2, 5), bert.sites, fail)
    assert not any(m._forward_pre_hooks for m in bert.model.modules())
    assert bert.activations(some(bert, 2, 5), bert.sites[0]).shape == (2, 5, 48)


def test_batches_do_not_matter(bert: HFSubject) -> None:
    tokens = some(bert, 6, 9)
    together = bert.activations(tokens, bert.sites[-1])
    alone = torch.cat([bert.activations(tokens[i:i + 1], bert.sites[-1]) for i in range(6)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(together, bert.activations(tokens, bert.sites[-1]))


def test_bad_requests(bert: HFSubject) -> None:
    with pytest.raises(UnitError, match=r"no site 7-mlp: it has 0-mlp, 1-mlp, 2-mlp"):
        bert.activations(some(bert, 1, 4), Site("7", 7, "mlp", 48, False))
    with pytest.raises(SubjectError, match="longer than bert takes: at most 14"):
        bert.activations(some(bert, 1, 15), bert.sites[0])
    assert bert.activations(some(bert, 1, 14), bert.sites[0]).shape == (1, 14, 48)
    with pytest.raises(SubjectError, match="token id 40 is unknown"):
        bert.activations(np.array([[40]]), bert.sites[0])


@pytest.mark.parametrize("option", [{"threads": 0}, {"control": "upside-down"}])
def test_bad_settings(option: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        load_subject("demo", **option)


def test_longest_windows(make_model: Callable[..., Path]) -> None:
    roberta = load_subject(str(make_model("roberta", tokenizer="bart", **{**BERT, "max_position_embeddings": 20}, pad_token_id=1)))
    assert roberta.context == 20 - 2 - 2  # positions start after the padding id, and two special tokens
    assert roberta.activations(some(roberta, 1, roberta.context), roberta.sites[-1]).shape[1] == 16
    t5 = load_subject(str(make_model("t5", tokenizer="t5", vocab_size=40, d_model=32, d_kv=8, num_heads=4, d_ff=48, num_layers=1,
                                     decoder_start_token_id=0, pad_token_id=0, eos_token_id=3)))
    assert t5.context > 100_000


def test_loading_twice_gives_the_same_hash_and_other_weights_another(make_model: Callable[..., Path]) -> None:
    folder = make_model("bert", **BERT)
    first = load_subject(str(folder))
    assert load_subject(str(folder)).hash == first.hash
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    changed = load_subject(str(folder))
    assert changed.hash != first.hash and changed.tokenizer_hash == first.tokenizer_hash


def test_half_precision_is_visited_as_float32(make_model: Callable[..., Path]) -> None:
    subject = load_subject(str(make_model("bert", **BERT)), dtype="bfloat16")
    assert subject.model.dtype == torch.bfloat16
    subject.run(some(subject, 1, 4), subject.sites[:1], lambda site, x, span: pytest.fail("no float32") if x.dtype != torch.float32 else None)


@pytest.mark.parametrize("kind", ["bert", "bart"])
def test_passes_side_by_side_do_not_meet(kind: str, make_model: Callable[..., Path]) -> None:
    """Hooks belong to their own pass: windows read side by side give what they give alone."""
    subject = load_subject(str(make_model(kind, **{"bert": BERT, "bart": BART}[kind])))
    assert subject.concurrent
    batches = [some(subject, 2 + i % 3, 5 + i % 4) + i % 2 for i in range(12)]
    alone = [{site: subject.activations(b, site) for site in subject.sites} for b in batches]
    found: list[dict[Site, torch.Tensor]] = [{} for _ in batches]

    def visit(i: int, site: Site, x: torch.Tensor, span: slice) -> None:
        found[i][site] = x[:, span].clone()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Passes(subject, subject.sites) as passes:
            for i, batch in enumerate(batches):
                passes.add(partial(subject.run, batch, subject.sites), partial(visit, i))
    finally:
        torch.set_num_threads(before)
    for mine, theirs in zip(found, alone, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.allclose(x, theirs[site], atol=1e-5) for site, x in mine.items())
