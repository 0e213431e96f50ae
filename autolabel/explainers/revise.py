"""Revision: a label is tried on the select split, its worst mistakes go back to the LLM that made it, and the best of all rounds is kept.

Bills et al. 2023 revise explanations in the light of new examples; here these are the excerpts at which the label was most wrong. Mistakes and scores
are of *select*: it is where candidates are compared, and no figure that is reported comes from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel import prompts, render
from autolabel.assets import read_prompt
from autolabel.errors import LLMError, PendingError
from autolabel.explainers import asking
from autolabel.patterns.syntax import parse
from autolabel.prompts import Prompt
from autolabel.protocols import Message, SelectEvidence
from autolabel.types import ActivationRecord, Excerpt, Exemplars, Explanation, Simulation, Site, UnitStats, digest

if TYPE_CHECKING:
    import torch

    from autolabel.excerpts import Excerpts
    from autolabel.patterns.run import Strengths
    from autolabel.patterns.syntax import Pattern

    Run = Callable[[Sequence[Pattern], Excerpts], Strengths]

NAME = "revise"
WRONG = 3  # levels between truth and prediction that make a mistake
SHOWN = 5  # mistakes of each kind that are shown
POOL = 8 * SHOWN  # worst excerpts kept, so that the ones shown can be of different words


@dataclass(frozen=True, slots=True)
class Mistake:
    """One excerpt of select at which a label is wrong."""

    excerpt: Excerpt
    levels: tuple[int, ...]  # true, 0..10 per token
    expected: tuple[int | None, ...]  # predicted, 0..10; None where nothing was predicted

    def gap(self, missed: bool) -> list[int]:
        """How far the prediction is too low (`missed`) or too high at each token; 0 where there is none."""
        sign = 1 if missed else -1
        return [0 if e is None else sign * (n - e) for n, e in zip(self.levels, self.expected, strict=True)]


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What a label gets most wrong, the worst first."""

    missed: tuple[Mistake, ...] = ()  # false negatives
    false: tuple[Mistake, ...] = ()  # false positives

    @property
    def all(self) -> tuple[Mistake, ...]:
        """Both kinds."""
        return (*self.missed, *self.false)


@dataclass(frozen=True, slots=True)
class Revision:
    """What became of one label."""

    best: Explanation  # with the largest score on select; the first of equals
    tried: tuple[tuple[Explanation, float | None], ...]  # every round's label and score, that of round 0 first
    error: LLMError | None = None  # what ended the last round, where a call failed: the labels before it stand


def revise(plugin: Any, labels: Sequence[tuple[Exemplars, Explanation]], find: Callable[[Sequence[Explanation]], Sequence[Mistakes]],
           score: Callable[[Sequence[Explanation]], Sequence[float | None]], *, rounds: int = 2,
           each: Callable[..., Iterable[Any]] = map) -> list[Revision]:
    """Revise labels of one explainer, all of them in each round, so that `find` and `score` need one pass over select for all.

    plugin: an explainer that asks an LLM; labels: what it saw of a unit on explain, and the label it gave. find: the worst mistakes of labels
    on select (`search` for patterns, `from_simulations` for simulators); score: their scores on select, None where unscored.
    each: `map`, or that of a pool of threads. A round starts from the best label so far; a unit ends early when there is no
    mistake, when the answer abstains or is the same, or when its call fails (the error is kept beside the labels). Raises what ends a run:
    fatal LLMErrors, StoppedError, PendingError.
    """
    first = score([label for _, label in labels])
    tried = [[(label, value)] for (_, label), value in zip(labels, first, strict=True)]
    errors: list[LLMError | None] = [None] * len(labels)
    going = [i for i, (_, label) in enumerate(labels) if label.abstained is None]
    for number in range(1, rounds + 1):
        wrong = dict(zip(going, find([_best(tried[i])[0] for i in going]), strict=True)) if going else {}
        going = [i for i in going if wrong[i].all]
        made = list(each(lambda i, n=number, w=wrong: _one(plugin, labels[i][0], *_best(tried[i]), w[i], n), going))
        if pending := [one for one in made if isinstance(one, PendingError)]:  # all have been asked by now: one round of batched calls
            raise pending[0]
        fresh: dict[int, Explanation] = {}
        for i, one in zip(going, made, strict=True):
            if isinstance(one, LLMError):
                errors[i] = one
            elif one.abstained is None and (one.text, one.pattern) not in {(e.text, e.pattern) for e, _ in tried[i]}:
                fresh[i] = one
        for (i, one), value in zip(fresh.items(), score(list(fresh.values())) if fresh else (), strict=True):
            tried[i].append((one, value))
        going = list(fresh)
    return [Revision(_best(rows)[0], tuple(rows), error) for rows, error in zip(tried, errors, strict=True)]


def prompt_for(plugin: Any, exemplars: Exemplars, label: Explanation, score: float | None, mistakes: Mistakes) -> Prompt:
    """The conversation that made the label, the label, and its mistakes."""
    template = prompts.parse(NAME, read_prompt(f"{NAME}.md", own=plugin.prompts))
    prompts.check(template, {"user": ("word", "score", "missed", "false")}, {"user": ("missed", "false")})
    before = asking.prompt_for(plugin, plugin.style, exemplars)
    ids = [m.excerpt.id for m in mistakes.all]
    seed = digest(before.digest, label.id, ids)
    word = render.nonce(seed, [*(m["content"] for m in before.messages), *(m.excerpt.text for m in mistakes.all), label.text])
    values = {"word": word, "score": "unknown" if score is None else f"{score:.2f}",
              "missed": _listed(mistakes.missed, word, True, plugin.window), "false": _listed(mistakes.false, word, False, plugin.window)}
    answer: Mapping[str, Any] = {"label": label.text, "pattern": None if label.pattern is None else json.loads(label.pattern)}
    more: list[Message] = [{"role": "assistant", "content": plugin.style.answer(answer)}, {"role": "user", "content": prompts.fill(template, "user", values)}]
    return Prompt((*before.messages, *more), digest(before.template, template.digest), tuple(dict.fromkeys([*before.excerpts, *ids])), before.dropped)


def search(evidence: SelectEvidence, labels: Sequence[Explanation], run: Run, shown: int = SHOWN) -> list[Mistakes]:
    """The worst mistakes of labels with patterns, over all of select in one pass. The labels may be of any units of the subject."""
    patterns = [parse(label.pattern or "") for label in labels]
    missed: list[list[tuple[tuple[int, int, int], Mistake]]] = [[] for _ in labels]
    false: list[list[tuple[tuple[int, int, int], Mistake]]] = [[] for _ in labels]
    for chunk in evidence.chunks() if labels else ():
        strengths, levels, starts = run(patterns, chunk), _levels(evidence, chunk, labels), chunk.offset[:-1]
        for p in range(len(labels)):
            expected = np.minimum(render.TOP, render.TOP * strengths.row(p) + .5).astype(np.int16)
            gap = levels[p].astype(np.int16) - expected
            for kept, g in ((missed[p], gap), (false[p], -gap)):
                worst, total = np.maximum.reduceat(g, starts), np.add.reduceat(np.maximum(g, 0).astype(np.int64), starts)
                rows = np.lexsort((chunk.id, -total, -worst))[:POOL]
                for row in rows[worst[rows] >= WRONG].tolist():
                    s = slice(int(chunk.offset[row]), int(chunk.offset[row + 1]))
                    one = Mistake(chunk.excerpt(row), tuple(levels[p, s].tolist()), tuple(expected[s].tolist()))
                    kept.append(((-int(worst[row]), -int(total[row]), one.excerpt.id), one))
                kept.sort(key=lambda item: item[0])
                del kept[POOL:]
    return [_chosen([one for _, one in a], [one for _, one in b], shown) for a, b in zip(missed, false, strict=True)]


def from_simulations(stats: UnitStats, records: Sequence[ActivationRecord], simulations: Sequence[Simulation], shown: int = SHOWN) -> Mistakes:
    """The worst mistakes of a label that a simulator read, among records of select. Tokens without a prediction are no mistakes."""
    scales = {"strength": float(render.TOP), "decile": 1.0, "activation": render.TOP / stats.max if stats.max > 0 else 0.0}
    found = []
    for record, simulation in zip(records, simulations, strict=True):
        if simulation.excerpt != record.excerpt.id:
            raise ValueError(f"the simulation of excerpt {simulation.excerpt} is not that of record {record.excerpt.id}")
        levels = tuple(render.level(a, stats.max) for a in record.activations)
        expected = tuple(None if e is None else render.level(e * scales[simulation.scale], render.TOP) for e in simulation.expected)
        found.append(Mistake(record.excerpt, levels, expected))
    ranked = {kind: sorted((m for m in found if max(m.gap(kind), default=0) >= WRONG), key=partial(_rank, kind)) for kind in (True, False)}
    return _chosen(ranked[True], ranked[False], shown)


def _rank(missed: bool, one: Mistake) -> tuple[int, int, int]:
    gap = one.gap(missed)
    return -max(gap), -sum(max(g, 0) for g in gap), one.excerpt.id


def _chosen(missed: Sequence[Mistake], false: Sequence[Mistake], shown: int) -> Mistakes:
    """The worst of different words first; an excerpt once, where it is worse."""
    taken: set[int] = set()
    kept: dict[bool, list[Mistake]] = {True: [], False: []}
    for kind in (True, False):
        others = {m.excerpt.id: max(m.gap(not kind)) for m in (false if kind else missed)}
        rest = [m for m in (missed if kind else false) if m.excerpt.id not in taken and others.get(m.excerpt.id, 0) <= max(m.gap(kind))]
        seen: dict[str, int] = {}
        turn = []  # the n-th mistake at a word comes after the first at any other
        for one in rest:
            word = render.pieces(one.excerpt)[_at(one, kind)].strip().casefold()
            seen[word] = seen.get(word, 0) + 1
            turn.append(seen[word])
        kept[kind] = [one for _, one in sorted(zip(turn, rest, strict=True), key=lambda item: item[0])][:shown]
        taken |= {m.excerpt.id for m in kept[kind]}
    return Mistakes(tuple(kept[True]), tuple(kept[False]))


def _at(one: Mistake, missed: bool) -> int:
    gap = one.gap(missed)
    return gap.index(max(gap))


def _one(plugin: Any, exemplars: Exemplars, label: Explanation, score: float | None, mistakes: Mistakes,
         number: int) -> Explanation | LLMError | PendingError:
    """One revised label, or what its call ended in."""
    try:
        made = asking.candidate(plugin, plugin.style, exemplars, prompt_for(plugin, exemplars, label, score, mistakes), role="revise")
    except PendingError as error:
        return error
    except LLMError as error:
        if error.fatal:
            raise
        return error
    return replace(made, maker=replace(made.maker, settings={**made.maker.settings, "round": number, "revises": label.id}))


def _best(tried: Sequence[tuple[Explanation, float | None]]) -> tuple[Explanation, float | None]:
    """The largest score; unscored ones count least, and the first wins among equals."""
    return max(tried, key=lambda row: float("-inf") if row[1] is None else row[1])


def _levels(evidence: SelectEvidence, chunk: Excerpts, labels: Sequence[Explanation]) -> NDArray[np.uint8]:
    """[labels, tokens] true levels of each label's unit."""
    found = np.zeros((len(labels), chunk.n_tokens), np.uint8)
    of_layer: dict[str, list[int]] = {}
    for p, label in enumerate(labels):
        of_layer.setdefault(label.unit.layer, []).append(p)
    sites = [site for site in evidence.subject.sites if site.layer in of_layer]
    for batch in chunk.batches(evidence.batch_size):
        def visit(site: Site, x: torch.Tensor, span: slice, at: slice = batch.span) -> None:
            rows = of_layer[site.layer]
            units = [labels[p].unit for p in rows]
            largest = np.array([evidence.stats[u.layer, u.side].max[u.index] for u in units])
            a = x[:, span][..., [u.index for u in units]].double().cpu().numpy() * np.array([-1. if u.side == "-" else 1. for u in units])
            scaled = render.TOP * np.maximum(a, 0) / np.where(largest > 0, largest, np.inf) + .5
            found[rows, at] = np.minimum(render.TOP, scaled).astype(np.uint8).reshape(-1, len(units)).T
        evidence.subject.run(batch.tokens, sites, visit)
    return found


def _listed(several: Sequence[Mistake], word: str, missed: bool, window: int) -> str:
    """Numbered excerpts with the true levels marked, the predicted ones beneath."""
    def lines() -> Iterator[str]:
        for i, one in enumerate(several, 1):
            at = _at(one, missed)
            true, said = (render.snippet(ActivationRecord(one.excerpt, tuple(float(n or 0) for n in row), NAME), render.TOP, window, at)
                          for row in (one.levels, one.expected))
            yield f"{i}. {render.marked(true, word, grades=True)}\n   predicted: {render.active_list(said) or 'nothing'}"
    return "\n".join(lines()) or "none"


__all__ = ["Mistake", "Mistakes", "Revision", "from_simulations", "prompt_for", "revise", "search"]
