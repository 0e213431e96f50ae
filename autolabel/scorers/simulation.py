"""Correlation of simulated and real activations on a two-sided sample (scorer `simulation`; any simulator).

A simulator that costs something reads a sample, drawn where the unit is active and where the label claims to fire, and the
figures of the whole split are estimated from it (sampling/two_sided.py, stats/sampled.py; rho, peak and their intervals as
in stats/correlation.py and stats/precision.py, the document being the unit):

    rho = [m(ac) - m(a) m(c)] / sqrt([m(a^2) - m(a)^2] [m(c^2) - m(c)^2]),   m(x) = sum_i w_i sum_t x_it / sum_i w_i L_i,  w_i = 1/pi_i

n = 40 excerpts first, 16 more until the half-width is at most .1 or n is 120, Student's t at 97 % while the sample may grow.
p_size is then taken times 5/3. p_foreign ranks the label's rho among those of all other units of the layer on the same
sample and weights, for no further call. Beside it stands what the field reports, `top_and_random`: the plain correlation on the
10 most active of the sampled excerpts and 10 that came by chance alone, without weights. It is biased upwards (.04 for dense
units, .13 for sparse ones, Oikarinen, Yan and Weng 2025, arXiv 2506.05774) and only there to be compared with other tools.

The simulated score: Bills et al. 2023, Language models can explain neurons in language models. Tokens without a value are left
out of every sum, and counted; so are excerpts whose call failed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import PendingError, SettingsError, UnitError
from autolabel.patterns.embedded import Embedder
from autolabel.patterns.syntax import Pattern
from autolabel.protocols import SelectEvidence, Simulator, TestEvidence
from autolabel.registry import name_of, part
from autolabel.sampling.two_sided import Stored, shared_affinity, spread
from autolabel.scorers.affinity import affinities
from autolabel.scorers.baseline import objective
from autolabel.scorers.correlation import default_run, unscored_reason
from autolabel.scorers.entries import Run
from autolabel.scorers.labels import Layer, layers_of, read_patterns
from autolabel.scorers.plans import failed_calls, same_family, unreadable
from autolabel.scorers.reading import Reading
from autolabel.scorers.rival import against
from autolabel.scorers.sampled_null import foreign_ranks
from autolabel.scorers.top_and_random import top_and_random
from autolabel.stats import Budget, Correlation, Sampled, correlate, p_size, peak, sequential
from autolabel.stats.calibrate import isotonic_curve, linear, r2_linear
from autolabel.stats.levels import Levels
from autolabel.stats.precision import at_cut, best_cut
from autolabel.stats.sampled import by_level, joined, mass_recall, r2, sums
from autolabel.stats.sequential import imprecision
from autolabel.types import Excerpt, Explanation, Score, Simulation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Neighbours = Callable[[Explanation], Sequence[Explanation]]  # pattern labels of the other units of its layer
Rivals = Callable[[Explanation], Pattern | None]
T = TypeVar("T")
SCORER = "simulation"
TOGETHER = 8  # labels whose sample grows side by side: what they read stays at hand
SCALES = {"strength": 1.0, "decile": 10.0, "activation": 1.0}


@dataclass(frozen=True)
class Simulated:
    """What one label's sample says. Arrays are [tokens] of the sample, excerpt after excerpt, unless said."""

    ids: list[int]  # [m] excerpts, ascending
    x: Sampled
    chance: NDArray[np.bool_]  # [m] the excerpt came by the route of chance
    failures: list[Simulation]  # of excerpts whose calls failed


@dataclass(frozen=True)
class Read:
    """One label, read: what all its figures come from."""

    explanation: Explanation
    layer: Layer
    column: int  # of its unit in the layer
    mine: Simulated
    rho: Correlation  # [1]
    looks: int  # at the growing sample
    reason: str | None  # why there is no score
    imprecise: str | None  # why it is not to be relied on


@dataclass(frozen=True)
class SimulationScorer:
    """rho on a sample. Settings: the budget of excerpts per label, and what labels of one unit share."""

    start: int = 40
    step: int = 16
    cap: int = 120
    half_width: float = 0.1
    sample: Literal["own", "shared"] = "own"  # `shared`: labels of one unit are read on one sample, to be compared pair by pair
    seed: int = 0  # of the samples
    simulator: Simulator | None = part()
    run: Run | None = part()  # runs patterns; None: with the subject's vocabulary alone
    embedder: Embedder | None = part()  # for the likeness of label and excerpt, which says where to look; None: trigger words alone
    selected: Mapping[str, Score] | None = part()  # scores on select by Explanation.id: their cuts and calibrations are used on test
    neighbours: Neighbours | None = part()  # for the second rank of the foreign null
    rivals: Rivals | None = part()  # the word list of the same length: what a label must beat to be informative

    def score(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence) -> list[Score]:
        """One score per explanation, in order; `extra` has peak, p_foreign, p_size, df, ... (see `figures`).

        Raises UnitError, what ends a run, and PendingError after everything of this round was asked.
        """
        scoring = self._scoring(evidence)
        return scoring.each(explanations, scoring.score, scoring.unscored)

    def read(self, explanations: Sequence[Explanation], evidence: SelectEvidence | TestEvidence, finish: Callable[[Read], T],
             unread: Callable[[Explanation, str], T]) -> list[T]:
        """For other figures than a score: `finish` of each label's sample, `unread` of a label that this simulator cannot read, with the reason; in order."""
        return self._scoring(evidence).each(explanations, finish, unread)

    def _scoring(self, evidence: SelectEvidence | TestEvidence) -> _Scoring:
        if self.simulator is None:
            raise SettingsError("the scorer simulation reads labels with a simulator: write --simulator NAME")
        return _Scoring(self, self.simulator, evidence)

    @property
    def budget(self) -> Budget:
        """Raises SettingsError."""
        try:
            return Budget(self.start, self.step, self.cap, self.half_width)
        except ValueError as error:
            raise SettingsError(str(error)) from error


class _Scoring:
    def __init__(self, scorer: SimulationScorer, simulator: Simulator, view: SelectEvidence | TestEvidence) -> None:
        self.scorer, self.simulator, self.view = scorer, simulator, view
        self.name = name_of(simulator, "simulators")
        self.patterned = getattr(simulator, "reads", "text") == "pattern"
        self.reading = Reading(view, scorer.seed)
        self.run = scorer.run or default_run(view)
        self.memo: dict[tuple[str, int], Simulation] = {}

    def each(self, explanations: Sequence[Explanation], finish: Callable[[Read], T], unread: Callable[[Explanation, str], T]) -> list[T]:
        """In the order of layers, so that a layer is kept while its labels are scored."""
        patterns, _ = read_patterns(explanations)
        out: dict[int, T] = {}
        for i, e in enumerate(explanations):
            if (reason := self._unreadable(e)) is not None:
                out[i] = unread(e, reason)
        asked = [i for i in range(len(explanations)) if i not in out]
        layers = {(lay.site.layer, lay.site.name): lay for lay in layers_of(self.view)}
        ordered = sorted(asked, key=lambda i: (list(layers).index((explanations[i].unit.layer, explanations[i].unit.site))
                                               if (explanations[i].unit.layer, explanations[i].unit.site) in layers else -1, i))
        claims = affinities([explanations[i].text for i in ordered], [patterns[i] for i in ordered], self.view, self.reading.frame.ids, self.run,
                            self.scorer.embedder) if ordered else np.zeros((0, 0))
        if self.scorer.sample == "shared":
            claims = _shared([explanations[i] for i in ordered], claims)
        pending: PendingError | None = None
        for first in range(0, len(ordered), TOGETHER):
            some = ordered[first:first + TOGETHER]
            try:
                found = _Together(self, [explanations[i] for i in some], claims[first:first + TOGETHER], layers).read()
            except PendingError as error:  # the others are asked in this round too
                pending = error
                continue
            out |= {i: finish(r) for i, r in zip(some, found, strict=True)}
        if pending is not None:
            raise pending
        return [out[i] for i in range(len(explanations))]

    def _unreadable(self, e: Explanation) -> str | None:
        return read_patterns([e])[1][0] if self.patterned else unreadable(e)

    def simulate(self, e: Explanation, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        """Each excerpt of a label once."""
        new = [x for x in excerpts if (e.id, x.id) not in self.memo]
        if new:
            label = (e.pattern or "") if self.patterned else e.text
            for x, found in zip(new, self.simulator.simulate(label, new), strict=True):
                if found.excerpt != x.id or len(found.expected) != len(x.tokens):
                    raise ValueError(f"{self.name} answered about other excerpts or tokens than those it was given")
                self.memo[e.id, x.id] = found
        return [self.memo[e.id, x.id] for x in excerpts]

    def unscored(self, e: Explanation, reason: str) -> Score:
        """A label that this simulator cannot read."""
        return Score.unscored(e.id, SCORER, self.name, self.view.split, reason)

    def score(self, r: Read) -> Score:
        """All figures of one label."""
        e, x, failures = r.explanation, r.mine.x, r.mine.failures
        missing = int(x.missing[0])
        if r.reason is not None:
            return Score(e.id, SCORER, self.name, self.view.split, None, reason=r.reason, extra=failed_calls(failures) if missing == len(x.c) else {})
        budget = self.scorer.budget
        extra: dict[str, float | int | str | bool | None] = {
            **self.figures(r, budget.adaptive), **failed_calls(failures), "missing_tokens": missing,
            "looks": r.looks, "adaptive": budget.adaptive, "imprecise": r.imprecise, "chance": 0.0}
        llm = getattr(self.simulator, "llm", None)
        if llm is not None:
            extra |= {"judge": llm.name, "same_family": same_family(e.maker.llm, llm.name)}
        return Score(e.id, SCORER, self.name, self.view.split, float(r.rho.rho[0]), _figure(r.rho.low[0]), _figure(r.rho.high[0]),
                     len(r.mine.ids) - len(failures), None, extra)

    def figures(self, r: Read, adaptive: bool) -> dict[str, float | int | str | bool | None]:
        """peak with its interval and base rate, df, documents, the foreign null, p_size, p, top_and_random; on select the cut and
        calibration, on test what they give (f1, mass_recall, r2)."""
        mine, lay, column, rho = r.mine, r.layer, r.column, r.rho
        x = mine.x
        strong = x.a > lay.tau99[column]
        levels, tokens, positives = by_level(x, strong)
        top = peak(levels, tokens, positives)
        size = float(p_size(rho.rho, rho.se, rho.df, adaptive=adaptive)[0])
        null = foreign_ranks(self.reading, self.run, layers_of(self.view), lay, column, mine.ids, x, float(rho.rho[0]),
                             self.scorer.neighbours(r.explanation) if self.scorer.neighbours else ())
        out: dict[str, float | int | str | bool | None] = {
            "peak": _figure(top.value[0]), "peak_low": _figure(top.low[0]), "peak_high": _figure(top.high[0]), "base_rate": _figure(top.base_rate[0]),
            "objective": _figure(objective(rho.rho, top.value)[0]), "df": _figure(rho.df[0]), "se": _figure(rho.se[0]),
            "n_documents": len(np.unique(x.document)), "p_foreign": null.p, "rank": null.rank, "foreign_units": null.units, "foreign_labels": null.labels,
            "foreign_pooled": null.pooled, "foreign_one_rank": null.one_rank, "p_size": size, "p": max(null.p, size),
            "top_and_random": top_and_random(x, mine.ids, mine.chance)}
        if self.view.split == "select":
            slope, intercept = linear(sums(x))
            knots = isotonic_curve(x.known.c, x.known.a, x.known.weight)
            return out | {"cut": _figure(best_cut(levels, tokens.sum(0), positives.sum(0))[0]), "slope": _figure(slope[0]),
                          "intercept": _figure(intercept[0]), "isotonic": json.dumps(_bends(*knots))}
        rival = self.scorer.rivals(r.explanation) if self.scorer.rivals else None
        if rival is not None:
            out |= against(self.reading, self.run, mine.ids, x, strong, rival)
        chosen = (self.scorer.selected or {}).get(r.explanation.id)
        return out | (self._held_out(r, chosen, levels, tokens, positives) if chosen is not None and chosen.value is not None else {})

    def _held_out(self, r: Read, chosen: Score, levels: Levels, tokens: Floats, positives: Floats) -> dict[str, float | None]:
        """What the cut and the calibrations of select give on this sample."""
        if chosen.split != "select":
            raise ValueError("cuts and calibrations come from select")
        x, lay, column = r.mine.x, r.layer, r.column
        cut, slope, intercept = (np.array([np.nan if (v := chosen.extra.get(name)) is None else float(v)]) for name in ("cut", "slope", "intercept"))
        at = at_cut(levels, tokens.sum(0), positives.sum(0), cut)
        recall, _ = mass_recall(x, cut, lay.tau[[column]], lay.top[[column]])
        out = {"cut": _figure(cut[0]), "f1": _figure(at.f1[0]), "precision": _figure(at.precision[0]), "recall": _figure(at.recall[0]),
               "mass_recall": _figure(recall[0]), "r2_linear": _figure(r2_linear(sums(x), slope, intercept)[0])}
        bends = json.loads(str(chosen.extra.get("isotonic") or "[]"))
        if bends:
            fitted = np.where(np.isnan(x.c), np.nan, np.interp(np.nan_to_num(x.c), *np.array(bends).T))
            out["r2_isotonic"] = _figure(r2(x, fitted)[0])
        return out


class _Together:
    """A few labels whose samples grow side by side."""

    def __init__(self, scoring: _Scoring, explanations: Sequence[Explanation], claims: Floats, layers: Mapping[tuple[str, str], Layer]) -> None:
        self.scoring, self.explanations, self.claims = scoring, explanations, claims
        self.layers = [_layer(e, layers) for e in explanations]
        self.columns = [lay.column(e.unit) for e, lay in zip(explanations, self.layers, strict=True)]
        self.stored: list[Stored] = [scoring.reading.stored(lay, e.unit) for e, lay in zip(explanations, self.layers, strict=True)]
        self.latest: dict[int, Simulated] = {}

    def read(self) -> list[Read]:
        """Grow; the last samples."""
        grown = sequential(self._measure, len(self.explanations), self.scoring.scorer.budget)
        rho = [grown.result.of(p) for p in range(len(self.explanations))]
        loose = imprecision(grown.result)
        return [Read(e, self.layers[p], self.columns[p], self.latest[p], rho[p], int(grown.looks[p]), self._reason(p, rho[p]), loose[p])
                for p, e in enumerate(self.explanations)]

    def _reason(self, p: int, rho: Correlation) -> str | None:
        """Why there is no score."""
        mine, split = self.latest[p], self.scoring.view.split
        read = len(mine.ids)
        if read and int(mine.x.missing[0]) == len(mine.x.c):
            return (f"no token of {read} excerpts could be simulated: "
                    f"{mine.failures[0].failure if mine.failures else 'the simulator gave no value'}")
        if why := unscored_reason(bool(rho.flat_a[0]), bool(rho.flat_c[0]), read, split):
            return why.replace(f"of {split}", f"of {read} sampled excerpts of {split}")
        return "the sample is too small to say anything" if np.isnan(rho.rho[0]) else None

    def _measure(self, labels: Ints, n: int, confidence: float) -> Correlation:
        pending: PendingError | None = None
        for p in labels.tolist():
            try:
                self.latest[p] = self._simulated(p, n)
            except PendingError as error:
                pending = error
        if pending is not None:
            raise pending
        return correlate(sums(joined([self.latest[p].x for p in labels.tolist()])), confidence)

    def _simulated(self, p: int, n: int) -> Simulated:
        reading, e = self.scoring.reading, self.explanations[p]
        try:
            sample = reading.frame.draw(self.stored[p], self.claims[p], n)
        except ValueError as error:  # the budget is larger than what the extraction keeps of a unit
            raise SettingsError(f"the scorer simulation cannot draw its sample: {error}; lower cap") from error
        ids = sample.excerpt.tolist()
        some = reading.excerpts(ids)
        lengths = np.array([len(x.tokens) for x in some], np.int64)
        row = np.repeat(np.arange(len(ids)), lengths)
        a = np.concatenate([x[:, self.columns[p]] for x in reading.activations(self.layers[p], ids)]).astype(np.float64)
        weight = sample.weights(spread(a, float(self.layers[p].mean[self.columns[p]]), row, len(ids)))
        found = self.scoring.simulate(e, some)
        scale = np.repeat([SCALES[s.scale] for s in found], lengths)
        c = np.array([np.nan if v is None else v for s in found for v in s.expected], np.float64) / scale
        block = np.array(reading.blocks(ids), np.int64)
        x = Sampled.one(block[row], sample.excerpt[row], weight[row], a, c)
        return Simulated(ids, x, sample.by_chance, [s for s in found if s.failure is not None])


def _layer(e: Explanation, layers: Mapping[tuple[str, str], Layer]) -> Layer:
    found = layers.get((e.unit.layer, e.unit.site))
    if found is None:
        raise UnitError(f"{e.unit} does not exist here: the layers with statistics are {', '.join(f'{a}-{b}' for a, b in layers)}")
    return found


def _shared(explanations: Sequence[Explanation], claims: Floats) -> Floats:
    """Labels of one unit are drawn by the mean of their affinities."""
    out = claims.copy()
    for unit in {e.unit for e in explanations}:
        rows = [i for i, e in enumerate(explanations) if e.unit == unit]
        out[rows] = shared_affinity([claims[i] for i in rows])
    return out


def _bends(x: Floats, y: Floats) -> list[list[float]]:
    """Knots without those on a level stretch between two others: the same curve."""
    inside = np.r_[False, (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:]), False] if len(y) > 2 else np.zeros(len(y), bool)
    return [[float(f"{a:.6g}"), float(f"{b:.6g}")] for a, b in zip(x[~inside], y[~inside], strict=True)]


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
