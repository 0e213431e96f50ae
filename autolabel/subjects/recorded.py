"""A subject that runs each batch once: its neurons go to a file, and are replayed from there.

For small or narrow subjects (a control of 256 neurons a layer: 0.5 kB a token and layer) that are walked over several
times. Values are float16, in the first pass too, so that every pass sees the same numbers; where a tensor does not fit
float16's range it is stored divided by a power of two.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.errors import CatalogueError
from autolabel.types import Site

if TYPE_CHECKING:
    from autolabel.protocols import Subject, Visit

LARGEST = 60_000.0  # float16 ends at 65,504


class Recorded:
    """`inner`, with the activations of all its sites kept in `folder` (records.f16, index.jsonl) by content of the batch.

    Other attributes (tokenizer, vocabulary, ...) are those of `inner`. One process at a time may use a folder.
    """

    def __init__(self, inner: Subject, folder: Path | str) -> None:
        self.inner = inner
        self.name, self.hash, self.sites, self.context = inner.name, inner.hash, inner.sites, inner.context
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.passes = 0  # batches that the inner subject has run
        self._data, self._log = self.folder / "records.f16", self.folder / "index.jsonl"
        self._index: dict[str, list[tuple[int, float]]] = {}  # batch -> per site: byte offset, scale
        self._end = 0  # bytes of records that are in the index
        self._open()

    def __getattr__(self, name: str) -> object:
        if name.startswith("_") or name == "inner":  # not there yet while an instance is made or copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def run(self, tokens: NDArray[np.int64], sites: Sequence[Site], visit: Visit) -> None:
        """As `Subject.run`, x float32 [B, T, U] without special positions, span the whole of it, sites in layer order."""
        key, (batch, length) = _key(tokens), tokens.shape
        if key not in self._index:
            self._record(key, tokens)
        wanted = {(site.layer, site.name) for site in sites}
        whole = slice(0, length)
        with self._data.open("rb") as file, torch.inference_mode():  # as in a pass of the inner subject
            for site, (offset, scale) in zip(self.sites, self._index[key], strict=True):
                if (site.layer, site.name) in wanted:
                    file.seek(offset)
                    values = np.fromfile(file, np.float16, batch * length * site.width)
                    x = torch.from_numpy(values).view(batch, length, site.width).float()
                    visit(site, x if scale == 1 else x.mul_(scale), whole)

    def activations(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """As `Subject.activations`, float16's precision."""
        kept: list[torch.Tensor] = []
        self.run(tokens, [site], lambda _site, x, _span: kept.append(x))
        return kept[0]

    def _record(self, key: str, tokens: NDArray[np.int64]) -> None:
        places: dict[tuple[str, str], tuple[int, float]] = {}
        end = self._end
        with self._data.open("r+b") as file:
            file.seek(end)

            def keep(site: Site, x: torch.Tensor, span: slice) -> None:
                nonlocal end
                content = x[:, span]
                largest = max(float(content.amax()), -float(content.amin()))
                scale = 1.0
                while largest / scale > LARGEST and np.isfinite(largest):
                    scale *= 2
                half = (content if scale == 1 else content / scale).to("cpu", torch.float16).contiguous().numpy()
                half.tofile(file)
                places[site.layer, site.name] = (end, scale)
                end += half.nbytes

            self.inner.run(tokens, self.sites, keep)
            file.flush()
        entry = [places[site.layer, site.name] for site in self.sites]
        with self._log.open("a", encoding="utf-8") as log:  # after the data: what is in the index can be read
            log.write(json.dumps([key, end, entry]) + "\n")
        self._index[key], self._end = entry, end
        self.passes += 1

    def _open(self) -> None:
        """Read the index, check that it is of this subject; what a killed run left without an entry is overwritten."""
        head = {"hash": self.hash, "sites": [[s.layer, s.name, s.width] for s in self.sites]}
        lines = self._log.read_text("utf-8").split("\n") if self._log.exists() else []
        if len(lines) > 1:
            if json.loads(lines[0]) != head:
                raise CatalogueError(f"{self.folder} holds the activations of another subject: name another folder, or remove it")
            size = self._data.stat().st_size if self._data.exists() else 0
            whole = [json.loads(line) for line in lines[1:-1]]  # the last piece is empty, or half a line
            for key, end, entry in whole:
                if end <= size:
                    self._index[key], self._end = [(int(a), float(b)) for a, b in entry], max(self._end, int(end))
            if lines[-1] or len(self._index) != len(whole):
                self._rewrite(head)
        else:
            self._rewrite(head)
        self._data.touch()

    def _rewrite(self, head: object) -> None:
        partial = self._log.with_suffix(".partial")
        ends = [(key, self._end, entry) for key, entry in self._index.items()]
        partial.write_text("".join(json.dumps(line) + "\n" for line in [head, *ends]), "utf-8")
        os.replace(partial, self._log)


def _key(tokens: NDArray[np.int64]) -> str:
    content = np.ascontiguousarray(tokens, np.int64)
    return hashlib.sha256(f"{content.shape}".encode() + content.tobytes()).hexdigest()[:32]
