"""Scorers that read sentences, built with all they need, and run label by label in blocks that can be taken up again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autolabel.catalogue import Catalogue
from autolabel.embeddings import DEFAULT
from autolabel.errors import PendingError, SettingsError
from autolabel.pipeline.baselines import read_baselines
from autolabel.pipeline.failing import calls_failed
from autolabel.pipeline.labels import embedder, runner
from autolabel.pipeline.session import ModelRow
from autolabel.protocols import LLM, SelectEvidence, TestEvidence
from autolabel.registry import build, load, name_of
from autolabel.types import Explanation, Score, layer_order

if TYPE_CHECKING:
    from autolabel.hierarchy import Hierarchy
    from autolabel.patterns.syntax import Pattern

BLOCK = 128  # labels that one call of a scorer takes: a pass over the split is shared by them, and what is known of them is stored after it
LONGEST = 20  # words of the list that a sentence is compared with


@dataclass(frozen=True)
class Reader:
    """How labels are read: a scorer, the simulator in it (if it takes one), and whom they ask."""

    scorer: str  # registered name
    simulator: str = ""  # registered name; empty: the one that fits (`default_simulator`)
    llm: LLM | None = None
    settings: Mapping[str, str] = field(default_factory=dict)  # of the scorer
    prompts: str = ""  # the user's own folder of templates
    concurrency: int = 8  # calls in flight

    @property
    def judge(self) -> str:
        """What the table `scores` names as the simulator: a simulator, or the model that judges."""
        if self.scorer == "simulation":
            return self.simulator or default_simulator(self.llm)
        if self.scorer == "embedding":
            return DEFAULT  # the name that its scores have
        return self.llm.name if self.llm is not None else self.scorer

    def build(self, catalogue: Catalogue, row: ModelRow, subject: Any, hierarchy: Hierarchy, selected: Mapping[str, Score],
              neighbours: Callable[[Explanation], Sequence[Explanation]] | None = None) -> Any:
        """The scorer as a plug-in. Raises SettingsError: an unknown name, an LLM that is missing."""
        parts: dict[str, Any] = {"llm": self.llm, "threads": self.concurrency, "prompts": self.prompts or None, "run": runner(subject, hierarchy),
                                 "embedder": embedder(), "selected": selected, "neighbours": neighbours, "rivals": _rivals(catalogue, row),
                                 "hierarchy": hierarchy}
        if self.scorer == "simulation":
            name = self.judge
            if name == "pattern":
                parts["vocabulary"] = getattr(subject, "vocabulary", ())
            parts["simulator"] = build("simulators", name, None, parts)
        return build("scorers", self.scorer, self.settings, parts)


def default_simulator(llm: LLM | None) -> str:
    """logprob where the LLM gives the probabilities of a whole text, digits for any other; embedding where there is none."""
    if llm is None:
        return "embedding"
    return "logprob" if "prompt_logprobs" in llm.capabilities else "digits"


def read_all(scorer: Any, labels: Iterable[Explanation], evidence: SelectEvidence | TestEvidence, save: Callable[[Sequence[Score]], None],
             progress: Callable[[int], None] = lambda done: None) -> tuple[int, int, int, int]:
    """Score labels in blocks and save each block. (scored, cannot be scored, without a score because calls failed, pending)."""
    done = unscored = failed = 0

    def read(block: Sequence[Explanation]) -> None:
        nonlocal done, unscored, failed
        scores = scorer.score(block, evidence)
        save(scores)
        done += sum(s.value is not None for s in scores)
        lost = sum(calls_failed(s) for s in scores)
        failed += lost
        unscored += sum(s.value is None for s in scores) - lost

    pending = in_blocks(labels, read, progress)
    return done, unscored, failed, pending


def in_blocks(labels: Iterable[Explanation], read: Callable[[Sequence[Explanation]], None], progress: Callable[[int], None] = lambda done: None) -> int:
    """Read labels (and store what they come to) in blocks, in the order of layers; how many are pending.

    A block with an answer that comes later is pending as a whole: what was answered of it is in the cache.
    """
    ordered = sorted(labels, key=lambda e: (layer_order(e.unit.layer), e.unit.side, e.unit.index))
    pending = 0
    for at in range(0, len(ordered), BLOCK):
        block = ordered[at:at + BLOCK]
        try:
            read(block)
        except PendingError:
            pending += len(block)
        progress(min(at + BLOCK, len(ordered)))
    return pending


def needs_llm(scorer: str, simulator: str) -> bool:
    """Whether this pair asks an LLM."""
    return scorer not in ("correlation", "embedding") and not (scorer == "simulation" and simulator in ("embedding", "pattern"))


def check(reader: Reader) -> None:
    """Raises SettingsError where there is no such simulator, or the LLM is missing that this reader asks."""
    if reader.scorer == "simulation":
        load("simulators", reader.judge)
    if reader.llm is None and needs_llm(reader.scorer, reader.judge):
        what = f"the simulator {reader.judge}" if reader.scorer == "simulation" else f"the scorer {reader.scorer}"
        raise SettingsError(f"{what} asks an LLM: name one with --llm, as in --llm openai/MODEL or --llm local/PATH")


def _rivals(catalogue: Catalogue, row: ModelRow) -> Callable[[Explanation], Pattern | None] | None:
    known = read_baselines(catalogue, row.name)
    if known is None:
        return None
    return lambda e: known.pattern(e.unit, min(LONGEST, max(1, len(e.text.split()))))


__all__ = ["Reader", "check", "default_simulator", "in_blocks", "name_of", "needs_llm", "read_all"]
