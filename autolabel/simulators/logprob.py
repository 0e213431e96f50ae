"""All tokens of an excerpt at once, from the probabilities of a local model (Bills et al. 2023, the all-at-once variant).

The text has one line per token, `token<TAB>unknown`. What the model expects right after a tab, before it reads `unknown`, is
its guess of the activation there; one forward pass shows it at every tab. Expected value over the levels 0..10:

    E_t = sum_k k p_t(k) / sum_k p_t(k),   p_t(k) the probability of the token `k` after the tab of line t

The opening, its examples and the label are read once for all excerpts. A model that writes `10` in two tokens is asked on
0..9, and its values are stretched to 0..10.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np

from autolabel.assets import read_prompt
from autolabel.errors import LLMError, SettingsError
from autolabel.llms.asking import failure
from autolabel.llms.local import Floats, LocalLLM, Prefix, local_of
from autolabel.prompts import few_shot, fill
from autolabel.protocols import LLM
from autolabel.registry import part
from autolabel.render import TOP, pieces, show_token
from autolabel.simulators.text import clean, template
from autolabel.types import Excerpt, Simulation

_log = logging.getLogger(__name__)
UNKNOWN = "unknown\n"


@dataclass(frozen=True)
class Asked:
    """One excerpt as the model reads it after a label: ids, and where the tabs are."""

    ids: list[int]
    at: list[int]  # the last id of `token<TAB>`, one per token


@dataclass(frozen=True)
class LogprobSimulator:
    """Levels 0..10 from a local model."""

    examples: int = 3  # neurons shown before the one asked about; fewer where the model's context is short
    prompt: str = "simulate_logprob"  # file of prompts/
    llm: LLM | None = part()
    prompts: str | None = part()  # the user's own folder of templates

    def simulate(self, label: str, excerpts: Sequence[Excerpt]) -> list[Simulation]:
        """One forward pass per excerpt. An excerpt that does not fit into the model's context has no values. Raises SettingsError."""
        prefixes: dict[int, Prefix] = {}
        found = []
        for excerpt in excerpts:
            asked = self.asked(excerpt)
            if not asked.at:
                found.append(Simulation(excerpt.id, (), "decile"))
                continue
            try:
                shown = self._fitting(label, len(asked.ids))
                if shown not in prefixes:
                    prefixes[shown] = self.prefix(label, shown)
                expected = self.expected(self.local.choices(prefixes[shown], asked.ids, asked.at, self.levels))
                found.append(Simulation(excerpt.id, tuple(expected), "decile"))
            except LLMError as error:
                found.append(Simulation(excerpt.id, (None,) * len(excerpt.tokens), "decile", failure(error)))
        return found

    @cached_property
    def local(self) -> LocalLLM:
        """The local model."""
        return local_of(self.llm, "the simulator logprob")

    @cached_property
    def levels(self) -> list[int]:
        """Ids of the levels 0..10, or of 0..9 where `10` is two tokens. Raises SettingsError."""
        ids = [self.local.ids(str(k)) for k in range(TOP + 1)]
        if any(len(i) != 1 for i in ids[:TOP]) or len({i[0] for i in ids[:TOP]}) < TOP:
            raise SettingsError(f"{self.local.name} writes digits in several tokens: it cannot be asked for levels; use the simulator digits")
        if not self.local.ids("\t"):  # every line would lose its place
            raise SettingsError(f"{self.local.name} has no token for a tab: it cannot be asked for levels; use the simulator digits")
        return [i[0] for i in ids if len(i) == 1]

    def prefix(self, label: str, shown: int | None = None) -> Prefix:
        """The opening, `shown` examples and the label, read."""
        shown = self.examples if shown is None else shown
        return self.local.read(self._label_ids(label, shown), self._opening[shown])

    def asked(self, excerpt: Excerpt) -> Asked:
        """An excerpt's lines. Each piece is encoded by itself, so that no token crosses a tab."""
        ids: list[int] = []
        at = []
        for piece in pieces(excerpt):
            ids += self._ids(show_token(piece) + "\t")
            at.append(len(ids) - 1)
            ids += self._ids(UNKNOWN)
        return Asked(ids[:at[-1] + 1] if at else [], at)  # what follows the last tab is never read

    def expected(self, logp: Floats) -> list[float]:
        """Expected level [T], 0..10, from log probabilities [T, levels]."""
        p = np.exp(logp - logp.max(1, keepdims=True))
        value = p @ np.arange(p.shape[1]) / p.sum(1)
        out: list[float] = (value * (TOP / (p.shape[1] - 1))).tolist()
        return out

    @cached_property
    def _ids(self) -> Any:  # lru_cache keeps no signature
        llm = self.local
        return lru_cache(maxsize=1 << 16)(lambda text: tuple(llm.ids(llm.plain(text))))

    @cached_property
    def _opening(self) -> dict[int, Prefix]:
        """What comes before the label, read, by number of examples."""
        shown = few_shot("simulate.jsonl", read_prompt("few_shot", "simulate.jsonl", own=self.prompts))
        if len(shown) < self.examples:
            raise SettingsError(f"few_shot/simulate.jsonl has {len(shown)} examples, {self.examples} are asked for")
        top = len(self.levels) - 1
        found = {0: self.local.read(self.local.ids(fill(template(self.prompt, self.prompts), "user", {"top": str(top)}) + "\n"))}
        for n, example in enumerate(shown[:self.examples], 1):
            lines = self._example(n, example, top)
            if len(found[n - 1].ids) + len(lines) >= self.local.context:
                break
            found[n] = self.local.read(lines, found[n - 1])
        return found

    def _example(self, number: int, example: Mapping[str, Any], top: int) -> list[int]:
        """One example's lines; the first third of its values is hidden, so that `unknown` is seen to stand for any value."""
        ids = self.local.ids(f"\nNeuron {number}\nExplanation: {example['label']}\nActivations:\n")
        for i, (token, level) in enumerate(zip(example["tokens"], example["levels"], strict=True)):
            value = UNKNOWN if i < len(example["tokens"]) // 3 else f"{int(level * top / TOP + 0.5)}\n"
            ids += [*self._ids(show_token(token) + "\t"), *self._ids(value)]
        return ids

    def _label_ids(self, label: str, shown: int) -> list[int]:
        return self.local.ids(self.local.plain(f"\nNeuron {shown + 1}\nExplanation: {clean(label)}\nActivations:\n"))

    def _fitting(self, label: str, length: int) -> int:
        """How many examples leave room for the label and an excerpt of so many ids."""
        for shown in sorted(self._opening, reverse=True):
            if shown == 0 or len(self._opening[shown].ids) + len(self._label_ids(label, shown)) + length <= self.local.context:
                break
        if shown < self.examples:
            _said(self.local.name, self.local.context, self.examples, shown)
        return shown


@cache
def _said(name: str, context: int, wanted: int, shown: int) -> None:
    """Once per model and number."""
    _log.warning("%s takes %d tokens: %d of %d examples are left out before some excerpts", name, context, wanted - shown, wanted)

