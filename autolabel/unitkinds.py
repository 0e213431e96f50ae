"""What kind of unit it is, beyond what the extraction counts: how much context it reads, and how much of it one token type leaves open.

k* (effective context length): the smallest k with corr(a, a_k) >= .9, where a_k is the activation at a token when the model reads
nothing but that token and the k tokens before it (and the k after it, where the model reads ahead). Positions begin anew in the
shorter window, as in any truncation: an absolute position that matters counts as context. The correlation is over tokens of
explain, estimated from a sample that favours tokens where the asked units differ from their means:

    pi_t = min(1, S (1/2P + q_t/2)),  q_t = mean over units of (a_t - mean)^2 / sum_t (a_t - mean)^2,  w_t = 1/pi_t
    corr = weighted Pearson correlation (self-normalised: Hajek 1971)

Same-token contrast: how much a differs between occurrences of the same token type, over the unit's eight types r with the
largest mean (of those seen at least five times):

    sum_r n_r s2_r / sum_r sum a^2,  s2_r = sum (a - m_r)^2 / (n_r - 1)

0: every occurrence fires alike. For a unit that fires with one strength or not at all, it is the share of occurrences where it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from autolabel.errors import CorpusError
from autolabel.excerpts import Excerpts
from autolabel.protocols import ExplainSplit, Subject
from autolabel.sampling.scout import take
from autolabel.stats.uniform import uniform
from autolabel.types import Side, Site

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Key = tuple[str, Side]
LENGTHS = (0, 1, 2, 4, 8, 16, 32)  # candidates for k*; beyond them the whole window is needed
ALIKE = 0.9  # the correlation that is asked for
LEAST, MOST, PER_UNIT = 512, 2048, 64  # sampled tokens, about: so many for each asked unit, within bounds
ENOUGH = 10  # sampled tokens with a > tau from which a correlation is given
POOL = 32_768  # tokens of explain that are read in full, at most ...
MEMORY_BYTES = 512 << 20  # ... and of half-precision activations held at once
TYPES, OFTEN = 8, 5  # types of the contrast, and how often each must occur
UNITS = 512  # units whose sums by type are made at a time


@dataclass(frozen=True)
class Kinds:
    """Some units of one layer and side."""

    units: Ints  # [U] neuron numbers
    correlations: Floats  # [U, len(LENGTHS)] of a with a_k; nan where too little is active in the sample
    context_length: Ints  # [U] k*; the tokens of a window where no candidate is enough; -1 where it cannot be said
    same_token: Floats  # [U] in [0, 1]; nan where no type is seen often enough, or none fires
    n: Ints  # [U] sampled tokens with a > tau


def kinds(split: ExplainSplit, asked: Mapping[Key, Ints], *, sample: int = 0, seed: int = 0,
          progress: Callable[[int, int], None] = lambda done, total: None) -> dict[Key, Kinds]:
    """The kinds of the asked units, (layer, side) -> neuron numbers, all layers in the same passes.

    sample: tokens that are read again with less context, about; 0: by the number of units. Raises CorpusError.
    """
    sample = sample or min(MOST, max(LEAST, PER_UNIT * sum(len(units) for units in asked.values())))
    sites = [site for site in split.subject.sites if any(layer == site.layer for layer, _ in asked)]
    columns = {site.layer: np.unique(np.concatenate([u for (layer, _), u in asked.items() if layer == site.layer])) for site in sites}
    room = MEMORY_BYTES // (2 * sum(len(u) for u in columns.values()))
    pool = _pool(split, int(np.clip(room, 4096, POOL)))
    full = _read(split, pool, sites, columns)
    a = {key: _side(full[key[0]], columns[key[0]], units, key[1]) for key, units in asked.items()}
    text = ~np.isin(pool.tokens, sorted(getattr(split.subject, "special_ids", ())))
    token, weight = _draw(pool, text, list(a.values()), sample, seed)
    ahead = {site.layer: reads_ahead(split.subject, site, pool) for site in sites}
    found: dict[Key, list[Floats]] = {key: [] for key in asked}
    for i, k in enumerate(LENGTHS):
        progress(i, len(LENGTHS))
        for both in sorted(set(ahead.values())):
            mine = [site for site in sites if ahead[site.layer] == both]
            short = truncated(split, pool, token, mine, columns, k, both)
            for key in asked:
                if key[0] in short:
                    part = _side(short[key[0]], columns[key[0]], asked[key], key[1])
                    found[key].append(correlation(a[key][token].astype(np.float64), part.astype(np.float64), weight))
    progress(len(LENGTHS), len(LENGTHS))
    longest, out = int(pool.lengths.max()), {}
    for key, units in asked.items():
        active = (a[key][token] > split.stats[key].tau[units]).sum(0)
        r = np.where(active[:, None] >= ENOUGH, np.stack(found[key], 1), np.nan)
        out[key] = Kinds(units, r, shortest(r, longest), same_token(a[key][text], pool.tokens[text]), active.astype(np.int64))
    return out


def shortest(correlations: Floats, longest: int) -> Ints:
    """[U] the smallest candidate with a correlation of at least ALIKE, `longest` where none has it, -1 where none is known."""
    good = correlations >= ALIKE
    length = np.where(good.any(1), np.array(LENGTHS)[good.argmax(1)], longest)
    return np.where(np.isnan(correlations).all(1), -1, length).astype(np.int64)


def correlation(x: Floats, y: Floats, weight: Floats) -> Floats:
    """[U] weighted Pearson correlation of columns x, y [n, U]; nan where one of the two does not vary."""
    w = weight[:, None] / weight.sum()
    x, y = x - (w * x).sum(0), y - (w * y).sum(0)
    scale = np.sqrt((w * x * x).sum(0) * (w * y * y).sum(0))
    out: Floats = np.divide((w * x * y).sum(0), scale, out=np.full(len(scale), np.nan), where=scale > 1e-12)
    return out


def same_token(a: NDArray[np.float32], tokens: Ints) -> Floats:
    """[U] the same-token contrast of a [n, U] at tokens [n]; nan where no type is seen often enough, or none fires."""
    types, inverse, count = np.unique(tokens, return_inverse=True, return_counts=True)
    often = np.flatnonzero(count >= OFTEN)
    out = np.full(a.shape[1], np.nan)
    if not len(often):
        return out
    by_type = sp.csr_matrix((np.ones(len(tokens)), (inverse, np.arange(len(tokens)))), shape=(len(types), len(tokens)))[often]
    n = count[often][:, None].astype(np.float64)
    for first in range(0, a.shape[1], UNITS):
        part = a[:, first:first + UNITS].astype(np.float64)
        total, square = np.asarray(by_type @ part), np.asarray(by_type @ np.square(part))
        top = np.argsort(-total / n, axis=0, kind="stable")[:TYPES]
        within = np.take_along_axis(n * np.maximum(square - total ** 2 / n, 0) / (n - 1), top, 0).sum(0)
        mass = np.take_along_axis(square, top, 0).sum(0)
        out[first:first + UNITS] = np.minimum(np.divide(within, mass, out=np.full(len(mass), np.nan), where=mass > 0), 1.0)
    return out


def reads_ahead(subject: Subject, site: Site, pool: Excerpts) -> bool:
    """Whether a token's neurons of this site depend on the tokens after it, as in an encoder: the first excerpt against its reversed rest."""
    tokens = pool.tokens[:pool.offset[1]]
    x = subject.activations(np.stack([tokens, np.r_[tokens[:1], tokens[:0:-1]]]), site)
    return not bool((x[0, 0] - x[1, 0]).abs().max() <= 1e-6 * (1 + x[0, 0].abs().max()))


def truncated(split: ExplainSplit, pool: Excerpts, token: Ints, sites: Sequence[Site], columns: Mapping[str, Ints], k: int,
              ahead: bool) -> dict[str, NDArray[np.float32]]:
    """x [n, U] of the units `columns` at each of the flat tokens [n] of `pool`, each read with no more than k tokens of context."""
    row = pool.excerpt_of_token[token]
    first = np.maximum(pool.offset[row], token - k)
    last = np.minimum(pool.offset[row + 1], token + 1 + (k if ahead else 0))
    out = {site.layer: np.zeros((len(token), len(columns[site.layer])), np.float32) for site in sites}
    for length in np.unique(last - first).tolist():
        mine = np.flatnonzero(last - first == length)
        step = max(1, split.batch_size * 64 // length)
        for at in range(0, len(mine), step):
            rows = mine[at:at + step]
            windows = pool.tokens[first[rows][:, None] + np.arange(length)]
            for layer, x in _at(split.subject, windows, token[rows] - first[rows], sites, columns).items():
                out[layer][rows] = x
    return out


def _at(subject: Subject, windows: Ints, position: Ints, sites: Sequence[Site], columns: Mapping[str, Ints]) -> dict[str, NDArray[np.float32]]:
    """x [B, U] at one position of each window [B, T]."""
    import torch

    out: dict[str, NDArray[np.float32]] = {}

    def visit(site: Site, x: torch.Tensor, span: slice) -> None:
        at = torch.from_numpy(position + (span.start or 0)).to(x.device)
        chosen = x[torch.arange(len(x), device=x.device), at]
        out[site.layer] = chosen[:, torch.from_numpy(columns[site.layer]).to(x.device)].float().cpu().numpy()
    subject.run(windows, list(sites), visit)
    return out


def _pool(split: ExplainSplit, n_tokens: int) -> Excerpts:
    """The first excerpts of explain in hash order, a random sample."""
    for chunk in split.chunks():
        order = np.argsort(chunk.id)
        return take(chunk, order[:max(1, int(np.searchsorted(np.cumsum(chunk.lengths[order]), n_tokens, side="right")))])
    raise CorpusError("the explain split is empty")


def _read(split: ExplainSplit, pool: Excerpts, sites: Sequence[Site], columns: Mapping[str, Ints]) -> dict[str, NDArray[np.float16]]:
    """x [tokens, U] of the asked units, by layer."""
    import torch

    out = {site.layer: np.zeros((pool.n_tokens, len(columns[site.layer])), np.float16) for site in sites}
    for batch in pool.batches(split.batch_size):
        def visit(site: Site, x: torch.Tensor, span: slice, where: slice = batch.span) -> None:
            chosen = x[:, span][:, :, torch.from_numpy(columns[site.layer]).to(x.device)].clamp(-65504, 65504)
            out[site.layer][where] = chosen.reshape(-1, chosen.shape[-1]).to(torch.float16).cpu().numpy()
        split.subject.run(batch.tokens, list(sites), visit)
    return out


def _side(x: NDArray[np.float16] | NDArray[np.float32], have: Ints, units: Ints, side: Side) -> NDArray[np.float32]:
    """a [n, U] of one side."""
    signed = x[:, np.searchsorted(have, units)].astype(np.float32) * (1 if side == "+" else -1)
    return np.maximum(signed, 0)


def _draw(pool: Excerpts, text: NDArray[np.bool_], a: Sequence[NDArray[np.float32]], sample: int, seed: int) -> tuple[Ints, Floats]:
    """Flat tokens of the pool that are text [tokens], and their weights 1/pi."""
    q, units = np.zeros(pool.n_tokens), 0
    for part in a:
        for first in range(0, part.shape[1], UNITS):
            square = np.square(part[:, first:first + UNITS] - part[:, first:first + UNITS].mean(0), dtype=np.float32)
            total = square.sum(0)
            q += (square[:, total > 0] / total[total > 0]).sum(1)
            units += int((total > 0).sum())
    q = q / units if units else np.full(len(q), 1 / len(q))
    pi = np.minimum(1.0, sample * (0.5 / len(q) + 0.5 * q))
    with np.errstate(over="ignore"):
        name = pool.id[pool.excerpt_of_token] + pool.position * np.int64(0x632BE59BD9B4E01)
    token = np.flatnonzero((uniform(seed, name) <= pi) & text)
    return token.astype(np.int64), 1 / pi[token]


__all__ = ["LENGTHS", "Kinds", "correlation", "kinds", "reads_ahead", "same_token", "shortest", "truncated"]
