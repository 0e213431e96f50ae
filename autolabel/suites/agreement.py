"""Do explainers say the same of a unit, and do metrics say the same of a label."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from autolabel.assets import data_path
from autolabel.audits.metrics import METRICS, Sight
from autolabel.audits.nulls import correlations
from autolabel.registry import build
from autolabel.suites.world import Line, World, world
from autolabel.types import Unit

Floats = NDArray[np.float64]
LLM = "LLM"  # the labels in data/labels, whatever model wrote them
LEAST = 3  # labels with a figure for two metrics to be compared at all


def run(*, subject: str, corpus: list[str], max_tokens: int, layers: list[str], explainers: list[str], seed: int) -> Iterator[Line]:
    """The units for which data/labels has a label by an LLM; beside it the labels of `explainers`, made on explain; all on test."""
    del seed  # the units are those of the file
    here = world(subject, corpus, max_tokens)
    asked = _llm_patterns()
    yield Line("tokens of explain and test", f"{here.explain.n_tokens:,} and {here.test.n_tokens:,}")
    alike: dict[tuple[str, str], list[Floats]] = {}
    figures: list[dict[str, dict[str, float]]] = []  # of each unit: explainer -> metric -> value
    for layer in layers:
        mine = {unit: pattern for unit, pattern in asked.items() if unit.layer == layer}
        strengths, values = _layer(here, layer, mine, explainers)
        for pair in combinations(strengths, 2):
            alike.setdefault(pair, []).append(correlations(strengths[pair[0]], strengths[pair[1]]))
        figures += values
    for (one, two), matrices in alike.items():
        own = np.concatenate([np.diag(m) for m in matrices])
        other = np.concatenate([m[~np.eye(len(m), dtype=bool)] for m in matrices])
        known = ~np.isnan(own)
        yield Line(f"{one} and {two}: correlation of what they say of each token", f"same unit {own[known].mean():.3f}, two units {np.nanmean(other):.3f}; "
                   f"{int(known.sum())} units labelled by both")
    yield from _metrics(figures)


def _llm_patterns() -> Mapping[Unit, str]:
    """Unit -> pattern of the labels in data/labels; abstentions and sentences without a pattern are left out."""
    found = {}
    for line in data_path("labels", "minilm.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if (pattern := json.loads(row["reply"]).get("pattern")) is not None:
            found[Unit.parse(row["unit"])] = json.dumps(pattern)
    return found


def _layer(here: World, layer: str, asked: Mapping[Unit, str], explainers: list[str]) -> tuple[dict[str, Floats], list[dict[str, dict[str, float]]]]:
    """Strengths [tokens, units] by explainer, and the figures of every label."""
    units = np.array([u.index for u in asked], np.int64)
    a = here.activations(here.test, layer, units).astype(np.float64)
    views = here.views(layer, units)
    tau99 = views.explain.stats[layer, "+"].tau99
    patterns: dict[str, list[str | None]] = {LLM: list(asked.values())}
    patterns |= {name: [e.pattern for e in here.labels(build("explainers", name), views)] for name in explainers}
    strengths = {name: here.strengths(mine, here.test).astype(np.float64) for name, mine in patterns.items()}
    excerpt, ones = here.test.excerpt_of_token, np.ones(len(a))
    values: list[dict[str, dict[str, float]]] = []
    for u in range(len(units)):
        sights = {name: Sight(a[:, u], c[:, u], ones, a[:, u] > tau99[u], excerpt, True) for name, c in strengths.items() if c[:, u].any()}
        values.append({name: {metric: f(sight) for metric, f in METRICS.items()} for name, sight in sights.items()})
    return strengths, values


def _metrics(figures: list[dict[str, dict[str, float]]]) -> Iterator[Line]:
    """Each metric against rho: over all labels (Spearman), and on pairs of labels of one unit (which of the two is better)."""
    from scipy.stats import spearmanr

    for metric in METRICS:
        if metric == "rho":
            continue
        pairs = np.array([(label["rho"], label[metric]) for unit in figures for label in unit.values()])
        known = ~np.isnan(pairs).any(1)
        same = [np.sign(x["rho"] - y["rho"]) == np.sign(x[metric] - y[metric]) for unit in figures for x, y in combinations(unit.values(), 2)
                if not np.isnan(x[metric] - y[metric]) and x["rho"] != y["rho"]]
        if known.sum() < LEAST or not same:
            continue
        ranks = float(spearmanr(*pairs[known].T).statistic)
        yield Line(f"{metric} and rho", f"rank correlation {ranks:.2f} over {int(known.sum())} labels; the same of two labels of a unit is better "
                   f"in {np.mean(same):.1%} of {len(same)}")
