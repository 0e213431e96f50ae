"""Helpers of the extraction tests: a small subject with two kinds of sites, a corpus of any shape, and an independent recomputation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autolabel.catalogue import Catalogue
from autolabel.excerpts import Excerpts
from autolabel.types import SPLITS, Site, hash63

VOCABULARY = 60
CONTEXT = 12


@dataclass(frozen=True)
class Tiny:
    """Two layers: a GELU site and a two-sided product. A special column at either end holds huge values that must never be seen."""

    name: str = "tiny"
    hash: str = "h"
    context: int = CONTEXT
    sites: tuple[Site, ...] = (Site("0", 0, "mlp", 7, False), Site("1", 1, "mlp", 5, True))
    special_ids: frozenset[int] = frozenset({3})
    vocabulary: tuple[str, ...] = tuple(f"t{i}" for i in range(VOCABULARY))

    def _x(self, tokens: np.ndarray, site: Site) -> torch.Tensor:
        g = torch.Generator().manual_seed(site.order)
        e = torch.randn(VOCABULARY, site.width, generator=g)
        before = torch.randn(VOCABULARY, site.width, generator=g)
        t = torch.from_numpy(tokens)
        x = e[t] + 0.3 * before[torch.roll(t, 1, 1)] + 0.01 * torch.arange(t.shape[1])[None, :, None]
        if site.two_sided:
            return x * torch.tanh(before[t]) + 0.05
        x[..., -1] = -torch.abs(x[..., -1]) - 5  # a dead neuron
        return torch.nn.functional.gelu(x)

    def run(self, tokens, sites, visit):
        with torch.inference_mode():
            for site in sites:
                x = self._x(tokens, site)
                b, _, u = x.shape
                huge = torch.full((b, 1, u), 1e4)
                x = torch.cat([huge, x, -huge], 1).contiguous()
                kept = x.clone()
                visit(site, x, slice(1, 1 + tokens.shape[1]))
                assert torch.equal(x, kept), "the subject's own tensor was changed"

    def activations(self, tokens, site):
        return self._x(tokens, site)


def corpus(path: Path, *, n: int = 90, seed: int = 0, context: int = CONTEXT, special: bool = True) -> tuple[Catalogue, str]:
    """A catalogue with a corpus of n documents a split, windows of mixed length, some with a special id inside."""
    rng = np.random.default_rng(seed)
    catalogue = Catalogue.open(path, create=True)
    rows: dict[str, list] = {k: [] for k in ("corpus_id", "id", "document", "block", "split", "start", "n_tokens", "token_ids",
                                             "char_start", "char_end", "text")}
    p = 1 / np.arange(1, VOCABULARY + 1)
    for split in SPLITS:
        for d in range(n):
            length = int(rng.choice([context, context, context, context - 3, 4]))
            ids = rng.choice(VOCABULARY, length, p=p / p.sum())
            if not special:
                ids[ids == 3] = 4
            number = hash63(split, d, seed)
            for key, value in zip(rows, ("c", number, number, number, split, 0, length, ids.tolist(), list(range(length)),
                                         list(range(1, length + 1)), "x" * length), strict=True):
                rows[key].append(value)
    with catalogue.writer() as writer:
        writer.insert("corpora", {"id": ["c"], "context": [context], "state": ["complete"]})
        writer.insert("t_excerpts", rows)
    return catalogue, "c"


@dataclass
class Window:
    """One excerpt with the activations of one site."""

    id: int
    tokens: np.ndarray  # [T]
    x: np.ndarray  # [T, U]
    valid: np.ndarray  # [T]


def windows(catalogue: Catalogue, corpus_id: str, split: str, subject, site) -> list[Window]:
    """Every excerpt by itself, in hash order."""
    out = []
    for row in every(catalogue.excerpts(corpus_id, split)):
        tokens = np.array(row.tokens, np.int64)
        x = subject.activations(tokens[None], site)[0].double().numpy()
        out.append(Window(row.id, tokens, x, ~np.isin(tokens, list(subject.special_ids))))
    return sorted(out, key=lambda w: w.id)


def every(chunks: Iterator[Excerpts]):
    """All excerpts, one at a time."""
    for chunk in chunks:
        for row in range(len(chunk)):
            yield chunk.excerpt(row)


def dump(catalogue: Catalogue) -> dict[str, list]:
    """Every row that an extraction writes, in a canonical order."""
    return {table: sorted(catalogue.read(f"SELECT * FROM {table}"), key=repr) for table in
            ("models", "units", "activations", "type_means", "position_means", "priority")}
