"""The logit lens of neurons: which output tokens a neuron's output weights raise and lower most.

The row that a neuron writes into the residual stream is put through the model's final norm and its unembedding (nostalgebraist 2020;
for neurons Geva et al. 2022, arXiv 2203.14680; as a source of labels Gur-Arieh et al. 2025, arXiv 2501.08319). What the two would say to nothing at all,
their biases, is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from autolabel.errors import SubjectError
from autolabel.subjects.loading import find_source, load_causal, load_tokenizer
from autolabel.subjects.special import content_ids, find_specials

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 64  # neurons at a time: 64 rows of logits of 150,000 tokens are 40 MB


@dataclass(frozen=True, eq=False)
class Lens:
    """The end of a model: final norm and unembedding."""

    norm: nn.Module | None  # None: the unembedding reads the residual stream as it is
    head: nn.Module  # residual stream -> logits
    width: int  # of the residual stream
    vocabulary: Sequence[str]  # token strings by id, empty where an id is unused

    def tokens(self, rows: torch.Tensor, k: int = 10) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """For each of `rows` [n, width]: the k tokens with the largest logits, and the k with the smallest, most extreme first."""
        found = []
        with torch.inference_mode():
            nothing = self._logits(torch.zeros(1, self.width))
            for first in range(0, len(rows), BLOCK):
                logits = self._logits(rows[first:first + BLOCK].detach().float().cpu()) - nothing
                high, low = logits.topk(k, dim=1).indices.tolist(), logits.topk(k, dim=1, largest=False).indices.tolist()
                found += [(self._names(a), self._names(b)) for a, b in zip(high, low, strict=True)]
        return found

    def _logits(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, vocabulary] of the tokens that exist."""
        logits: torch.Tensor = self.head(self.norm(rows) if self.norm is not None else rows)[:, :len(self.vocabulary)]
        unused = torch.from_numpy(np.array([not token for token in self.vocabulary]))
        return logits.masked_fill(unused, 0)

    def _names(self, ids: list[int]) -> tuple[str, ...]:
        return tuple(self.vocabulary[i] for i in ids if self.vocabulary[i])


def open_lens(spec: str, *, revision: str | None = None) -> Lens | None:
    """The lens of a hub id or local folder whose base model has been loaded before, on the CPU in float32; the model is loaded once more, with its head.

    None where its files hold no unembedding, or one that does not read the residual stream. Raises SubjectError where there is no such model.
    """
    source = find_source(spec, revision=revision)
    try:
        model = load_causal(source, device="cpu", dtype="float32")
    except SubjectError:
        return None
    tokenizer = load_tokenizer(source)
    known = tokenizer.get_vocab()
    head: Any = model.get_output_embeddings()
    if head is None:
        return None
    vocabulary = [""] * min(max(known.values()) + 1, int(head.weight.shape[0]))
    for word, number in known.items():
        if number < len(vocabulary):
            vocabulary[number] = word
    return build_lens(model, head, find_specials(model, tokenizer), vocabulary)


def build_lens(model: PreTrainedModel, head: nn.Module, specials: Any, vocabulary: Sequence[str]) -> Lens | None:
    """Find the norm whose output enters the head by one small pass: its name differs from model to model."""
    entering: list[torch.Tensor] = []
    leaving: dict[nn.Module, torch.Tensor] = {}

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, torch.Tensor):
            leaving[module] = output

    handles = [head.register_forward_pre_hook(lambda _module, args: entering.append(args[0]))]
    handles += [m.register_forward_hook(note) for m in model.modules() if "norm" in type(m).__name__.lower()]
    try:
        with torch.inference_mode():
            model(**specials.inputs(np.array([content_ids(specials, 5)], np.int64), torch.device("cpu")))
    finally:
        for handle in handles:
            handle.remove()
    if not entering:
        return None
    x = entering[-1]
    norms = [m for m, out in leaving.items() if out.shape[-1] == x.shape[-1] and out.numel() >= x.numel()
             and torch.equal(out.reshape(-1, x.shape[-1])[-1], x.reshape(-1, x.shape[-1])[-1])]
    return Lens(norms[-1] if norms else None, head, int(x.shape[-1]), vocabulary)
