"""Which labelled neurons fire unusually strongly on a text, token by token and over the whole of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel.audited import failed, veil_rows
from autolabel.catalogue import Catalogue
from autolabel.errors import SetupError
from autolabel.neurons import QUANTILES
from autolabel.pipeline.session import model_row, subject_of

if TYPE_CHECKING:
    from autolabel.subjects import HFSubject

COLUMNS = ("token", "unit", "activation", "of max", "above its", "label", "score", "verdict")
WHOLE = "(whole text)"


@dataclass(frozen=True, slots=True)
class Probe:
    """Rows of COLUMNS: the whole text first, then token by token; strongest first, as a share of each unit's own maximum."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def probe(catalogue: Catalogue, text: str, *, model: str = "", per_token: int = 5, device: str = "auto", dtype: str = "auto",
          threads: int = 0) -> Probe:
    """Run the subject on `text` and compare each labelled unit with its own quantiles on explain.

    A unit is listed at a token where it exceeds its 99th percentile; `above its` names the highest quantile that it exceeds
    (`maximum` where it is stronger than anything on explain). Raises SetupError for an empty text or a catalogue without labels.
    """
    row = model_row(catalogue, model)
    labels = catalogue.columns("SELECT layer, neuron, side, unit, label, score, verdict FROM labels WHERE model = ? AND label <> ''", [row.name])
    if not len(labels["neuron"]):
        raise SetupError(f"{catalogue.path} has no labels of {row.name} yet: run `autolabel label`")
    subject: HFSubject = subject_of(catalogue, row, device=device, dtype=dtype, threads=threads)  # type: ignore[assignment]  # loaded ones are
    tokens, pieces = _tokens(subject, text)
    found: list[tuple[float, int, tuple[Any, ...]]] = []
    for site in subject.sites:
        for side in site.sides:
            of = np.flatnonzero((labels["layer"] == site.layer) & (labels["side"] == side))
            if not len(of):
                continue
            index = labels["neuron"][of].astype(np.int64)
            x = np.concatenate([subject.activations(w[None, :], site)[0].numpy() for w in _windows(tokens, row.context)])[:, index]
            a = np.maximum(x if side == "+" else -x, 0.0)
            quantiles, top = _quantiles(catalogue, row.name, site.layer, side, index)
            found += _strong(a, quantiles, top, of, labels, pieces, per_token)
    found.sort(key=lambda item: (item[1], -item[0]))
    kept: list[tuple[Any, ...]] = []
    count: dict[int, int] = {}
    for _, position, line in found:
        count[position] = count.get(position, 0) + 1
        if count[position] <= per_token * (2 if position < 0 else 1):
            kept.append(line)
    return Probe(COLUMNS, list(veil_rows(COLUMNS, kept, failed(catalogue, row.name))))


def _tokens(subject: HFSubject, text: str) -> tuple[NDArray[np.int64], list[str]]:
    from autolabel.corpus import Encoder

    ids, offsets = Encoder(subject.tokenizer).encode([text])[0]
    if not len(ids):
        raise SetupError("the text has no tokens: give some words")
    return np.asarray(ids, np.int64), [text[a:b] for a, b in offsets]


def _windows(tokens: NDArray[np.int64], context: int) -> list[NDArray[np.int64]]:
    return [tokens[i:i + context] for i in range(0, len(tokens), context)]


def _quantiles(catalogue: Catalogue, model: str, layer: str, side: str, index: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = catalogue.columns("SELECT neuron, quantiles, max FROM units WHERE model = ? AND layer = ? AND side = ? ORDER BY neuron", [model, layer, side])
    at = np.searchsorted(rows["neuron"], index)
    return np.stack([np.asarray(rows["quantiles"][i], np.float64) for i in at]), np.asarray(rows["max"], np.float64)[at]


def _strong(a: NDArray[np.floating[Any]], quantiles: NDArray[np.float64], top: NDArray[np.float64], of: NDArray[np.int64],
            labels: dict[str, Any], pieces: list[str], per_token: int) -> list[tuple[float, int, tuple[Any, ...]]]:
    """Candidates of one layer and side: (share of the maximum, position or -1 for the whole text, line)."""
    bar = np.maximum(quantiles[:, QUANTILES.index(0.99)], 1e-12)
    share = np.where(a > bar, a / np.maximum(top, 1e-12), 0.0)
    best = share.argmax(0)
    spots = [(-1, u, int(best[u])) for u in np.argsort(-share.max(0))[:2 * per_token]]
    spots += [(t, u, t) for t in range(len(a)) for u in np.argsort(-share[t])[:per_token]]
    lines = []
    for position, u, t in spots:
        if share[t, u] <= 0:
            continue
        value = float(a[t, u])
        above = "maximum" if value > top[u] else f"{100 * max(q for q, v in zip(QUANTILES, quantiles[u], strict=True) if value > v):g} %"
        row = {name: column[of[u]] for name, column in labels.items()}
        score = None if row["score"] is None or np.isnan(row["score"]) else float(row["score"])
        piece = f"{WHOLE} at {pieces[t]}" if position < 0 else pieces[t]
        lines.append((float(share[t, u]), position, (piece, row["unit"], value, float(share[t, u]), above, row["label"], score, row["verdict"])))
    return lines
