"""Corpora of the Hugging Face hub, `hf:dataset[:split[:column]]`, streamed through the extra `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autolabel.corpus.files import Row, _plain
from autolabel.errors import CorpusError, ExtraError


@dataclass(frozen=True, slots=True)
class HubSpec:
    """What to read from the hub."""

    dataset: str  # hub id or local folder
    split: str  # `train` unless given
    column: str  # the text column

    @classmethod
    def parse(cls, spec: str, text_column: str) -> HubSpec:
        """Read `hf:dataset[:split[:column]]`. Raises CorpusError."""
        parts = spec.removeprefix("hf:").split(":")
        if not parts[0] or len(parts) > 3:
            raise CorpusError(f"cannot read {spec!r}: write hf:DATASET, hf:DATASET:SPLIT or hf:DATASET:SPLIT:COLUMN")
        _, split, column = [*parts, "", ""][:3]
        return cls(parts[0], split or "train", column or text_column)

    def revision(self) -> str | None:
        """The commit of the dataset now, so that the corpus has a name; None for a local folder. Raises CorpusError."""
        from pathlib import Path

        if Path(self.dataset).is_dir():
            return None
        from huggingface_hub import HfApi

        try:
            return HfApi().dataset_info(self.dataset).sha
        except Exception as error:  # the hub client raises errors of four libraries
            raise CorpusError(f"cannot reach the dataset {self.dataset} on the hub: {_first_line(error)}") from error

    def rows(self, revision: str | None) -> Iterator[Row]:
        """Rows in the hub's order, streamed. Raises ExtraError, CorpusError."""
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise ExtraError("datasets", "datasets") from error
        found: Any  # Any: an untyped library
        try:
            found = load_dataset(self.dataset, split=self.split, revision=revision, streaming=True)
            for number, row in enumerate(found):
                if self.column not in row:
                    raise CorpusError(f"{self.dataset} has no text column {self.column!r}; it has {', '.join(sorted(row))}: "
                                      f"write hf:{self.dataset}:{self.split}:COLUMN")
                yield row[self.column], {k: _plain(v) for k, v in row.items() if k != self.column}, f"{self.dataset}: row {number}"
        except CorpusError:
            raise
        except Exception as error:
            raise CorpusError(f"cannot read {self.dataset}, split {self.split}: {_first_line(error)}") from error


def require() -> None:
    """Raises ExtraError where `datasets` is not installed."""
    from importlib.util import find_spec

    if find_spec("datasets") is None:
        raise ExtraError("datasets", "datasets")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
