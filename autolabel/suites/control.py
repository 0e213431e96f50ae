"""The same pipeline on the trained model and on copies of it that learned nothing: which figures tell them apart, layer by layer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path

from autolabel.catalogue import Catalogue
from autolabel.stats.proportions import Share, wilson
from autolabel.suites.world import Line

FIGURES = ("confirmed", "contextual", "carries_over", "informative")
POINTS, TIMES = 0.15, 3.0  # by how much the trained model's share that carries over must exceed the shuffled one's
_COUNTS = """
    SELECT layer, count(*), count(*) FILTER (verdict = 'confirmed'), count(*) FILTER (contextual), count(*) FILTER (carries_over),
           count(*) FILTER (informative), count(*) FILTER (carries_over IS NULL), avg(score), avg(rho_context), avg(rho_new)
    FROM choices GROUP BY layer ORDER BY length(layer), layer"""


@dataclass(frozen=True)
class Counted:
    """What came of the labels of one model. Counts are of attempted units."""

    units: Mapping[str, int]  # layer -> attempted
    hits: Mapping[str, Mapping[str, int]]  # figure -> layer -> units
    unknown: int  # units whose rho_new rests on too little, counted as not carrying over
    means: tuple[float, float, float]  # rho, rho_context, rho_new over the units that have one; nan where none has

    def share(self, figure: str, layer: str | None = None) -> Share:
        """Of the attempted units of one layer, or of all; 95 % interval (Wilson)."""
        layers = list(self.units) if layer is None else [layer]
        return wilson(sum(self.hits[figure][x] for x in layers), sum(self.units[x] for x in layers))


def run(*, subject: str, corpus: list[str], max_tokens: int, layers: str, units: int, kinds: list[str], seeds: int, explainers: list[str],
        seed: int) -> Iterator[Line]:
    """`units` neurons of the model, as many of each layer, drawn by seed; and of `seeds` copies of each kind."""
    def counted(kind: str | None, k: int) -> Counted:
        return _counted(subject, corpus, max_tokens, layers, units, kind, explainers, seed + k)

    trained = counted(None, 0)
    yield from _told("trained", trained)
    copies: dict[str, list[Counted]] = {}
    for kind in kinds:
        for k in range(seeds):
            copies.setdefault(kind, []).append(counted(kind, k))
            yield from _told(f"{kind}, seed {seed + k}", copies[kind][-1])
    for kind, made in copies.items():
        for figure in FIGURES:
            yield _apart(kind, figure, trained, made)
    for k, one in enumerate(copies.get("shuffled", ())):
        mine, theirs = trained.share("carries_over").value, one.share("carries_over").value
        held = mine >= theirs + POINTS and mine >= TIMES * theirs
        times = f"{mine / theirs:.1f} times" if theirs else "no unit of the control"
        yield Line(f"carries over, trained against shuffled, seed {seed + k}", f"{mine:.1%} against {theirs:.1%}: {100 * (mine - theirs):+.1f} points, {times}",
                   f">= {100 * POINTS:.0f} points and {TIMES:.0f} times", held)


def _counted(subject: str, corpus: Sequence[str], max_tokens: int, layers: str, units: int, kind: str | None, explainers: Sequence[str],
             seed: int) -> Counted:
    """A catalogue that is thrown away: extract, explain, score, choose."""
    from autolabel.pipeline.extracting import extract
    from autolabel.pipeline.runfile import label
    from autolabel.pipeline.session import models

    with tempfile.TemporaryDirectory() as folder:
        catalogue = extract(subject, corpus=list(corpus), db=Path(folder) / "control.duckdb", max_tokens=max_tokens, layers=layers or None,
                            control=kind, seed=seed)
        name = models(catalogue)[0].name
        label(catalogue, explainers=list(explainers), units=f"sample:{units}", model=name, seed=seed)
        return read_counts(catalogue)


def read_counts(catalogue: Catalogue) -> Counted:
    """The counts of a catalogue of one model."""
    rows = catalogue.read(_COUNTS)
    hits = {figure: {row[0]: row[2 + i] for row in rows} for i, figure in enumerate(FIGURES)}
    means = catalogue.read("SELECT coalesce(avg(score), 'nan'::DOUBLE), coalesce(avg(rho_context), 'nan'::DOUBLE), coalesce(avg(rho_new), 'nan'::DOUBLE) "
                           "FROM choices")[0]
    return Counted({row[0]: row[1] for row in rows}, hits, sum(row[6] for row in rows), (means[0], means[1], means[2]))


def _told(name: str, c: Counted) -> Iterator[Line]:
    rho, context, new = c.means
    yield Line(f"{name}: units, mean rho, rho_context, rho_new", f"{sum(c.units.values()):,}; {rho:.3f}, {context:.3f}, {new:.3f} "
               f"(rho_new of {c.unknown:,} units rests on too little)")
    for figure in FIGURES:
        by_layer = ", ".join(f"{layer}: {100 * c.share(figure, layer).value:.0f}" for layer in c.units)
        yield Line(f"{name}: {figure.replace('_', ' ')}", f"{_percent(c.share(figure))}; by layer, in percent, {by_layer}")


def _apart(kind: str, figure: str, trained: Counted, copies: Sequence[Counted]) -> Line:
    """Told apart: the interval of the difference of the shares lies above 0 for every copy (Newcombe 1998)."""
    differences = [_difference(trained.share(figure), copy.share(figure)) for copy in copies]
    words = ["told apart" if all(d.low > 0 for d in differences) else "NOT told apart"]
    words += [f"{100 * d.value:+.1f} points [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" for d in differences]
    return Line(f"{figure.replace('_', ' ')}: trained minus {kind}", "; ".join(words))


def _difference(one: Share, two: Share) -> Share:
    """Of two independent shares, with Newcombe's hybrid score interval."""
    d = one.value - two.value
    return Share(d, d - hypot(one.value - one.low, two.high - two.value), d + hypot(one.high - one.value, two.value - two.low))


def _percent(s: Share) -> str:
    return f"{s.value:.1%} [{s.low:.1%}, {s.high:.1%}]"
