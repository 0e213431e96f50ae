"""A model run to its end, and what its output loses when neurons are edited.

* causal decoders: cross-entropy of the next content token, in nats; the first token too where a BOS stands before it
* encoders: 1 - cosine between the window's embedding and that of the unedited model. The embedding is the model's own where its
  folder says how it pools (`1_Pooling/config.json` of sentence-transformers: the mean over all tokens, or the first token), else the
  mean over content tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from autolabel.errors import SubjectError
from autolabel.subjects.files import pooling_of
from autolabel.subjects.hf import HFSubject, build_subject
from autolabel.subjects.intervene import Edit, chain, run_edited
from autolabel.subjects.loading import check_versions, find_source, load_causal, load_model, load_tokenizer
from autolabel.subjects.special import content_ids
from autolabel.types import Site

if TYPE_CHECKING:
    from autolabel.subjects.loading import Source

Measure = Literal["nats per token", "1 - cosine"]
Pooling = Literal["mean of all tokens", "first token", "mean of content tokens"]
Floats = NDArray[np.float64]
Before = Callable[[NDArray[np.int64]], Mapping[Site, Edit]]


@dataclass(frozen=True, eq=False)
class Whole:
    """A subject whose model has all it needs to the end: its LM head where it is a decoder."""

    subject: HFSubject
    measure: Measure
    pooling: Pooling | None = None  # of embeddings; None for decoders
    before: Before | None = None  # edits that are a part of the subject itself: those of planted units

    def output(self, tokens: NDArray[np.int64], edits: Mapping[Site, Edit]) -> torch.Tensor:
        """Decoders: nats [B, targets] of windows [B, T]; encoders: unit embeddings [B, d]. float64. Raises as `run_edited`."""
        found = run_edited(self.subject, tokens, self._with_own(tokens, edits))
        span = self.subject.specials.span(tokens.shape[1], "")
        if self.measure == "nats per token":
            first = max(span.start, 1)
            targets = torch.as_tensor(tokens[:, first - span.start:], device=found.logits.device)
            logits = found.logits[:, first - 1:span.stop - 1]
            # a window at a time: the logits of a batch in another type would take as much memory again
            nats = [cross_entropy(one.float(), wanted, reduction="none") for one, wanted in zip(logits, targets, strict=True)]
            return torch.stack(nats).double().cpu()
        state = found.last_hidden_state.double()
        pooled = state[:, 0] if self.pooling == "first token" else (state if self.pooling == "mean of all tokens" else state[:, span]).mean(1)
        unit: torch.Tensor = pooled / pooled.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return unit.cpu()

    def read(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """x [B, T, U] of the content tokens, float32, on the CPU: what edits of the site are given."""
        if self.before is None:
            return self.subject.activations(tokens, site)
        kept: list[torch.Tensor] = []

        def keep(x: torch.Tensor) -> torch.Tensor:
            kept.append(x.to("cpu", copy=True))
            return x
        run_edited(self.subject, tokens, self._with_own(tokens, {site: keep}))
        return kept[0]

    def _with_own(self, tokens: NDArray[np.int64], edits: Mapping[Site, Edit]) -> Mapping[Site, Edit]:
        """The subject's own edits, each before the one that is asked for."""
        out = dict(self.before(tokens) if self.before else {})
        for site, edit in edits.items():
            out[site] = chain(out[site], edit) if site in out else edit
        return out

    def loss(self, output: torch.Tensor, original: torch.Tensor) -> Floats:
        """[B] each window's summed loss; `original` is the output without edits.

        For unit vectors 1 - cosine = |u - v|^2 / 2, which is exactly 0 for equal ones.
        """
        total = output.sum(1) if self.measure == "nats per token" else (output - original).square().sum(1) / 2
        return np.asarray(total.numpy(), np.float64)

    def count(self, output: torch.Tensor) -> Floats:
        """[B] what each window's loss is the sum over: target tokens, or the window itself."""
        return np.full(len(output), float(output.shape[1]) if self.measure == "nats per token" else 1.0)


def open_whole(spec: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto", threads: int = 0) -> Whole:
    """Load `demo`, a hub id or a local folder with all that follows its last block.

    Raises SubjectError, also for a causal decoder whose files hold no LM head, and for encoder-decoders, whose decoder would read the
    very text that it must predict; ExtraError.
    """
    check_versions()
    if threads:
        torch.set_num_threads(threads)
    source = find_source(spec, revision=revision)
    tokenizer = load_tokenizer(source)
    subject = _causal(source, tokenizer, device, dtype)
    if subject is not None:
        return Whole(subject, "nats per token")
    subject = build_subject(source, load_model(source, device=device, dtype=dtype), tokenizer)
    if subject.specials.start is not None:
        raise SubjectError(f"{source.name} is an encoder-decoder: what its layers are worth is measured for encoders and decoders alone")
    if is_causal(subject):
        raise SubjectError(f"{source.name} is a decoder, but its files hold no LM head: the loss of the next token cannot be measured")
    return Whole(subject, "1 - cosine", pooling_of(source.files.folder) or "mean of content tokens")


def _causal(source: Source, tokenizer: Any, device: str, dtype: str) -> HFSubject | None:  # transformers' own type
    """The subject with its LM head; None where there is none, or where tokens see what follows them (an encoder with such a head)."""
    try:
        model = load_causal(source, device=device, dtype=dtype)
    except SubjectError:
        return None
    subject = build_subject(source, model, tokenizer)
    return subject if is_causal(subject) else None


def is_causal(subject: HFSubject) -> bool:
    """Whether the first token's neurons in the last layer are untouched by the last token."""
    row = content_ids(subject.specials, 7)
    x = subject.activations(np.array([row[:6], [*row[:5], row[6]]], np.int64), subject.sites[-1])[:, 0]
    return bool(torch.allclose(x[0], x[1], atol=1e-6))
