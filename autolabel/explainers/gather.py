"""One pass over the explain split: the activations that every LLM-free explainer reads, a layer at a time.

The chunks of a split come in hash order, so its first tokens are a random sample of its excerpts. All tokens of a small
corpus are read; of a large one as many as fit `memory_bytes`, never fewer than `MIN_TOKENS` (the layers are then shared
out over several passes). Nothing grows with the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.errors import SetupError
from autolabel.explainers.lexicon import Lexicon, head, read
from autolabel.neurons import LayerStats
from autolabel.protocols import ExplainSplit
from autolabel.threads import each, stretches
from autolabel.types import Exemplars, Side, Site

MIN_TOKENS, MAX_TOKENS = 32_768, 262_144
MEMORY_BYTES = 768 << 20  # of half-precision activations held at once
UNITS = 256  # summed at once by one thread

Key = tuple[str, Side]


@dataclass(frozen=True)
class Layer:
    """All units of one layer and side. a = max(side * x, 0)."""

    site: Site
    side: Side
    tau: NDArray[np.float64]  # [U] what counts as active
    tau99: NDArray[np.float32]  # [U] what counts as strong
    a: NDArray[np.float32]  # [N, U] activation of each token of the lexicon
    n: NDArray[np.float32]  # [C] tokens of each cell
    sums: NDArray[np.float32]  # [C, U] sum of a over each cell
    strong: NDArray[np.float32]  # [C, U] tokens of each cell with a > tau99
    mean: NDArray[np.float32]  # [U] of a over the N tokens
    std: NDArray[np.float32]  # [U] of a over the N tokens
    n_strong: NDArray[np.float32]  # [U] tokens with a > tau99

    @property
    def key(self) -> Key:
        """(layer, side)."""
        return self.site.layer, self.side

    def of(self, units: slice | NDArray[np.int64]) -> Layer:
        """Some of its units; of a slice nothing is copied."""
        return replace(self, tau=self.tau[units], tau99=self.tau99[units], a=self.a[:, units], sums=self.sums[:, units], strong=self.strong[:, units],
                       mean=self.mean[units], std=self.std[units], n_strong=self.n_strong[units])


def indicator(rows: NDArray[np.int64], n_rows: int, columns: NDArray[np.int64] | None = None,
              n_columns: int | None = None) -> sp.csr_matrix:
    """A 0/1 matrix [n_rows, n_columns] with ones at (rows[i], columns[i]); columns default to 0, 1, 2, ...; repeated pairs count once."""
    columns = np.arange(len(rows), dtype=np.int64) if columns is None else columns
    shape = (n_rows, len(rows) if n_columns is None else n_columns)
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.data[:] = 1
    return matrix


def by_layer(units: Iterable[Exemplars]) -> dict[Key, list[Exemplars]]:
    """The units of each (layer, side), in the order in which they came."""
    found: dict[Key, list[Exemplars]] = {}
    for exemplars in units:
        found.setdefault((exemplars.unit.layer, exemplars.unit.side), []).append(exemplars)
    return found


def lexicon_of(split: ExplainSplit, keys: Sequence[Key]) -> Lexicon:
    """The lexicon of the tokens that a pass over `keys` will read; made once per view of the split."""
    n_tokens = _n_tokens(split, keys)
    if ("lexicon", n_tokens) not in split.memo:
        split.memo["lexicon", n_tokens] = read(split.chunks(), n_tokens)
    lexicon: Lexicon = split.memo["lexicon", n_tokens]
    return lexicon


def layers(split: ExplainSplit, keys: Sequence[Key], lexicon: Lexicon) -> Iterator[Layer]:
    """One `Layer` per key, in order of the sites. Raises SetupError where the subject has no such layer."""
    sites = {site.layer: site for site in split.subject.sites}
    for layer, _ in keys:
        if layer not in sites:
            raise SetupError(f"{split.subject.name} has no layer {layer!r}: it has {', '.join(sites)}")
    names = sorted({layer for layer, _ in keys}, key=lambda name: sites[name].order)
    groups = list(_passes([sites[name] for name in names], lexicon.n_tokens))
    for some in groups:
        # one pass serves all explainers that are given the same split; of several passes none is kept
        held = _held(split, some, lexicon.n_tokens) if len(groups) == 1 else _run(split, some, lexicon.n_tokens)
        for site in some:
            x = held[site.layer] if len(groups) == 1 else held.pop(site.layer)
            for side in ("+", "-"):
                if (site.layer, side) in keys:
                    yield _layer(site, side, split.stats[site.layer, side], x, lexicon)


def _n_tokens(split: ExplainSplit, keys: Sequence[Key]) -> int:
    widths = {site.layer: site.width for site in split.subject.sites}
    units = sum(widths.get(layer, 0) for layer in {layer for layer, _ in keys})
    return int(np.clip(MEMORY_BYTES // (2 * max(units, 1)), MIN_TOKENS, MAX_TOKENS))


def _passes(sites: Sequence[Site], n_tokens: int) -> Iterator[list[Site]]:
    some: list[Site] = []
    for site in sites:
        if some and 2 * n_tokens * (sum(s.width for s in some) + site.width) > MEMORY_BYTES * 1.25:
            yield some
            some = []
        some.append(site)
    if some:
        yield some


def _held(split: ExplainSplit, sites: Sequence[Site], n_tokens: int) -> dict[str, NDArray[np.float16]]:
    """As `_run`, from the view of the split where it has been read before: several explainers, one pass."""
    have, held = split.memo.get("half", (None, {}))
    if have != n_tokens or not {site.layer for site in sites} <= held.keys():
        split.memo.pop("half", None)  # never two sets at once: MEMORY_BYTES holds for all
        held = _run(split, sites, n_tokens)
        split.memo["half"] = n_tokens, held
    found: dict[str, NDArray[np.float16]] = held
    return found


def _run(split: ExplainSplit, sites: Sequence[Site], n_tokens: int) -> dict[str, NDArray[np.float16]]:
    """x [N, U] in half precision for each of `sites`."""
    import torch

    held = {site.layer: torch.empty((n_tokens, site.width), dtype=torch.float16) for site in sites}
    done = 0
    for chunk in split.chunks():
        chunk = head(chunk, n_tokens - done)
        if not len(chunk):
            break
        for batch in chunk.batches(split.batch_size):
            def visit(site: Site, x: torch.Tensor, span: slice,
                      at: int = done + batch.span.start, to: int = done + batch.span.stop) -> None:
                rows = x[:, span]
                held[site.layer][at:to].view(rows.shape).copy_(rows)
            split.subject.run(batch.tokens, sites, visit)
        done += chunk.n_tokens
    return {name: x.numpy() for name, x in held.items()}


def _layer(site: Site, side: Side, stats: LayerStats, x: NDArray[np.float16], lexicon: Lexicon) -> Layer:
    import torch

    raw = torch.from_numpy(x).float()  # numpy converts half precision one number at a time
    # beyond half precision's range is as good as its largest value: such a token is strong either way
    return summed(site, side, stats.tau, stats.tau99, (raw.neg_() if side == "-" else raw).clamp_(0, 65504).numpy(), lexicon)


def summed(site: Site, side: Side, tau: NDArray[np.float64], tau99: NDArray[np.float64], a: NDArray[np.float32], lexicon: Lexicon) -> Layer:
    """A layer from a [N, U] at the tokens of the lexicon and its thresholds [U]; the units are shared out among the cores."""
    cells, bar = indicator(lexicon.cell, len(lexicon.cell_form)), tau99.astype(np.float32)
    sums, strong = np.empty((cells.shape[0], a.shape[1]), np.float32), np.zeros((cells.shape[0], a.shape[1]), np.float32)
    mean, std = np.empty(a.shape[1], np.float32), np.empty(a.shape[1], np.float32)

    def work(units: slice) -> None:
        mine = a[:, units]
        sums[:, units] = cells @ mine
        centre = mine.mean(0, dtype=np.float64)
        square = np.einsum("tu,tu->u", mine, mine) / max(len(a), 1)
        mean[units], std[units] = centre, np.sqrt(np.maximum(square - centre ** 2, 0))
        # few tokens are strong: their places are counted, not a second dense array summed
        tokens, columns = np.nonzero(mine > bar[units])
        np.add.at(strong, (lexicon.cell[tokens], columns + units.start), np.float32(1))

    each(work, stretches(a.shape[1], UNITS))
    return Layer(site, side, tau, bar, a, lexicon.cell_count.astype(np.float32), sums, strong, mean, std, strong.sum(0))
