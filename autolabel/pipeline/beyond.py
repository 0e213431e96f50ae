"""Chosen labels beyond their corpus or checkpoint: which of them run, and what reads those that are only sentences.

A sentence is read by the simulator that read it on test, so that the two figures compare; by likeness, which asks nobody, where none did.
Where that one asks an LLM and none is named, the label is not read: its reason is stored, and says what to pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import ExtraError, SettingsError
from autolabel.pipeline.reader import Reader, check, needs_llm
from autolabel.pipeline.session import ModelRow
from autolabel.registry import build, load
from autolabel.types import Explanation

PATTERN = "pattern"
By = tuple[str | None, str | None]  # what read a label (None: nothing did), and the LLM that it asked


@dataclass(frozen=True)
class Readers:
    """How each label is read."""

    by: dict[str, By] = field(default_factory=dict)  # Explanation.id -> the same as is stored beside its score
    readers: dict[str, Reader] = field(default_factory=dict)  # of the simulators among them
    unread: dict[str, str] = field(default_factory=dict)  # Explanation.id -> why it is not read
    on_test: dict[str, By] = field(default_factory=dict)  # Explanation.id -> what read it on test, where it was no pattern

    def settled(self, e: Explanation, stored: By) -> bool:
        """Whether what is stored of a label is what this reading would give. What cannot be read now keeps what was found before."""
        return e.id in self.unread or stored == self.by[e.id]

    def patterns(self, labels: Sequence[Explanation]) -> list[Explanation]:
        """Those that run."""
        return [e for e in labels if self.by.get(e.id, (None,))[0] == PATTERN]

    def sentences(self, labels: Sequence[Explanation]) -> list[tuple[Reader, list[Explanation]]]:
        """Those that each simulator reads."""
        groups = [(reader, [e for e in labels if self.by.get(e.id, (None,))[0] == name]) for name, reader in self.readers.items()]
        return [(reader, mine) for reader, mine in groups if mine]

    def left(self, labels: Sequence[Explanation]) -> list[Explanation]:
        """Those that are not read."""
        return [e for e in labels if e.id in self.unread]

    def notes(self) -> list[str]:
        """One line for each reason why labels are not read, or were read by others on test."""
        said = [("not read", why) for why in self.unread.values()]
        said += [(f"read by {_named(self.on_test[id])} on test and by {_named(by)} here", "the two figures do not compare")
                 for id, by in self.by.items() if self.on_test.get(id, by) != by]
        return [f"labels {what} ({said.count((what, why)):,}): {why}" for what, why in sorted(set(said))]


def readers_of(catalogue: Catalogue, row: ModelRow, labels: Sequence[Explanation], asked: Reader) -> Readers:
    """asked: the scorer `simulation`, with the simulator that was named (empty: each label's own), the LLM and the settings.

    Raises SettingsError before anything is read: a named simulator without its LLM, an unknown name or setting.
    """
    if asked.simulator == PATTERN:
        raise SettingsError("patterns are run as they are: --simulator names what reads sentences, as in --simulator embedding")
    if asked.simulator:
        load("simulators", asked.simulator)
        check(asked)
    build("scorers", asked.scorer, asked.settings)
    on_test: dict[str, By] = {id: (by, judge) for id, by, judge in catalogue.read(
        "SELECT c.explanation, c.simulator, any_value(s.extra ->> 'judge') FROM choices c LEFT JOIN scores s ON s.explanation = c.explanation AND "
        "s.simulator = c.simulator AND s.scorer = 'simulation' AND s.split = 'test' WHERE c.model = ? AND c.simulator <> ? GROUP BY ALL", [row.name, PATTERN])}
    found, missing = Readers(on_test=on_test), dict[str, str | None]()
    for e in labels:
        if e.pattern is not None:
            found.by[e.id] = PATTERN, None
            continue
        name = asked.simulator or on_test.get(e.id, ("embedding", None))[0] or "embedding"
        if name not in found.readers:
            found.readers[name] = replace(asked, simulator=name)
            missing[name] = _missing(found.readers[name])
        if why := missing[name]:
            found.unread[e.id] = why
        else:
            found.by[e.id] = name, asked.llm.name if asked.llm is not None and needs_llm(asked.scorer, name) else None
    return found


def reader_built(reader: Reader, catalogue: Catalogue, row: ModelRow, subject: Any, hierarchy: Any) -> Any:
    """The scorer `simulation`, without what only a score on test has (any scorer: it is a plug-in)."""
    return replace(reader.build(catalogue, row, subject, hierarchy, {}), rivals=None)


def _missing(reader: Reader) -> str | None:
    """Why this simulator cannot read now."""
    if reader.llm is None and needs_llm(reader.scorer, reader.simulator):
        return (f"a sentence without a pattern, which the simulator {reader.simulator} read on test: name the LLM that it asks with --llm, "
                "or read it by likeness with --simulator embedding")
    if reader.simulator == "embedding":
        from autolabel.subjects.loading import demo_folder

        try:
            demo_folder()  # where the embedding model is; nothing is loaded
        except ExtraError as error:
            return f"a sentence without a pattern, and {error}"
    return None


def _named(by: By) -> str:
    return f"{by[0]} ({by[1]})" if by[1] else str(by[0])
