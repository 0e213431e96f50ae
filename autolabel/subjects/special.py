"""What a model expects around a window of text: [CLS]..[SEP], a BOS, a shifted copy for a decoder; and how long a window may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autolabel.errors import SubjectError
from autolabel.subjects.moving import moved

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

UNLIMITED = 1_000_000  # the window of models with relative positions only


@dataclass(frozen=True)
class Specials:
    """How a window [B, T] becomes the model's input."""

    prefix: tuple[int, ...]  # ids before the content
    suffix: tuple[int, ...]  # ids after it
    ids: frozenset[int]  # all ids that are no text
    vocabulary: int  # rows of the embedding: ids are below it
    start: int | None = None  # what a decoder's shifted copy starts with; None where there is no second stack
    keywords: tuple[tuple[str, bool], ...] = ()  # further arguments of the forward pass

    def inputs(self, tokens: NDArray[np.int64], device: torch.device) -> dict[str, Any]:
        """The arguments of the forward pass. A decoder reads [start] + prefix + content (+ suffix), shifted right by one."""
        batch, length = tokens.shape
        n, m = len(self.prefix), len(self.suffix)
        ids = torch.empty((batch, n + length + m), dtype=torch.long)
        ids[:, :n] = torch.tensor(self.prefix, dtype=torch.long)
        ids[:, n:n + length] = torch.from_numpy(np.ascontiguousarray(tokens, np.int64))
        ids[:, n + length:] = torch.tensor(self.suffix, dtype=torch.long)
        made: dict[str, Any] = {"input_ids": moved(ids, device), **dict(self.keywords)}
        if self.start is not None:
            kept = ids[:, :n + length + max(m - 1, 0)]
            made["decoder_input_ids"] = moved(torch.cat([torch.full((batch, 1), self.start, dtype=torch.long), kept], 1), device)
        return made

    def span(self, length: int, stack: str) -> slice:
        """Where the content of a window of `length` tokens stands, in this stack."""
        first = len(self.prefix) + (stack == "d")
        return slice(first, first + length)

    def with_bos(self, tokenizer: PreTrainedTokenizerBase, config: Any) -> Specials:
        """A beginning-of-sequence id in front, as decoders were trained with: the tokenizer's, the model's, or the end of another text."""
        of_model = [getattr(config, key, None) for key in ("bos_token_id", "eos_token_id")]
        for found in (tokenizer.bos_token_id, of_model[0], tokenizer.eos_token_id, of_model[1]):
            if isinstance(found, int) and 0 <= found < self.vocabulary:
                return replace(self, prefix=(found,), ids=self.ids | {found})
        return self  # trained without any


def find_specials(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Specials:
    """Ask the tokenizer what it puts around a text. Raises SubjectError."""
    plain = list(tokenizer("a b", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a b")["input_ids"])
    first = next((i for i in range(len(full) - len(plain) + 1) if full[i:i + len(plain)] == plain), None)
    if first is None:
        raise SubjectError("the tokenizer changes the text's own tokens when it adds special ones: not supported")
    prefix, suffix = tuple(full[:first]), tuple(full[first + len(plain):])
    text_like = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id}
    ids = set(tokenizer.all_special_ids) | {n for n, t in tokenizer.added_tokens_decoder.items() if t.special} | {*prefix, *suffix}
    config = model.config
    start = None
    if getattr(config, "is_encoder_decoder", False) and hasattr(model, "get_decoder") and model.get_decoder() is not model:
        known = [getattr(config, key, None) for key in ("decoder_start_token_id", "pad_token_id", "bos_token_id")]
        start = next((n for n in known if isinstance(n, int)), None)
        if start is None:
            raise SubjectError("the configuration names no decoder_start_token_id: the decoder's input cannot be made")
        ids.add(start)
    keywords = (("use_cache", False),) if "use_cache" in signature(model.forward).parameters else ()
    rows = int(model.get_input_embeddings().weight.shape[0])
    return Specials(prefix, suffix, frozenset(n for n in ids if n not in text_like), rows, start, keywords)


def content_ids(specials: Specials, n: int) -> list[int]:
    """n different ids of content tokens, for a probe."""
    ids = [i for i in range(specials.vocabulary - 1, -1, -1) if i not in specials.ids][:n]
    if len(ids) < n:
        raise SubjectError(f"the vocabulary has only {len(ids)} content tokens")
    return ids


def longest_window(model: PreTrainedModel, specials: Specials) -> int:
    """How many content tokens fit, special ones taken off."""
    config = model.config.get_text_config()
    named = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len")]
    limit = next((int(n) for n in named if isinstance(n, int) and n > 0), UNLIMITED)
    for name, module in model.named_modules():
        # learned positions that start after the padding id (RoBERTa) hold that many fewer
        if isinstance(module, nn.Embedding) and "position" in name and module.padding_idx is not None and module.num_embeddings == limit:
            limit -= module.padding_idx + 1
            break
    extra = len(specials.prefix) + len(specials.suffix)
    if specials.start is not None:
        extra = max(extra, len(specials.prefix) + 1 + max(len(specials.suffix) - 1, 0))
    return max(limit - extra, 0)
