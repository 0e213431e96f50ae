"""What went wrong while a corpus was read: counted by reason, with a few examples, so that nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EXAMPLES = 5  # kept of each reason: enough to find the fault, few enough to print


@dataclass(slots=True)
class Report:
    """Problems of one reading. The one thing here that changes while a corpus is read; nothing is computed from it."""

    counts: dict[str, int] = field(default_factory=dict)  # reason -> how often
    examples: dict[str, list[str]] = field(default_factory=dict)  # reason -> the first few places, `file:line: what`

    def add(self, reason: str, where: str = "", count: int = 1) -> None:
        """Count a problem and keep the place where it was met."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        kept = self.examples.setdefault(reason, [])
        if where and len(kept) < EXAMPLES:
            kept.append(where)

    def lines(self) -> list[str]:
        """One line per reason for a person: `3 x broken line: a.jsonl:7: ...`."""
        return [f"{n} x {reason}" + (f": {self.examples[reason][0]}" if self.examples.get(reason) else "")
                for reason, n in sorted(self.counts.items())]

    def as_json(self) -> Mapping[str, Mapping[str, object]]:
        """What the catalogue keeps: reason -> count and examples."""
        return {reason: {"count": n, "examples": list(self.examples.get(reason, ()))} for reason, n in sorted(self.counts.items())}
