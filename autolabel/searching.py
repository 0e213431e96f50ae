"""Find labels: by meaning with the embedding model, or by keyword in SQL.

By meaning: every distinct text of a label is embedded once; its vector is kept in the catalogue, in 8 bits, and a search compares the
query with all of them, exactly (no index).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from autolabel.audited import failed_anywhere, veil_rows
from autolabel.catalogue import Catalogue, vectors
from autolabel.errors import CatalogueError, SettingsError, SetupError, UnitError
from autolabel.patterns.embedded import Embedder
from autolabel.pipeline.progress import Progress, silent
from autolabel.pipeline.session import model_row
from autolabel.quantised import Quantised, best
from autolabel.types import Verdict

COLUMNS = ("similarity", "unit", "label", "score", "verdict")
ORDER = "score DESC NULLS LAST, model, layer, site, neuron, side"
BATCH = 1024  # texts that are embedded and stored at once: a killed search loses one batch
LONGEST = 4_000  # characters of a text that are embedded: more than the embedding model reads


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of `columns`, best first."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    note: str = ""  # what the person should know of how they were found


@dataclass(frozen=True, slots=True)
class Only:
    """Which labels are searched: empty where any."""

    model: str = ""
    layer: str = ""
    verdict: str = ""

    def sql(self) -> tuple[str, list[str]]:
        """Further conditions of a WHERE, and their parameters."""
        given = [(name, value) for name, value in (("model", self.model), ("layer", self.layer), ("verdict", self.verdict)) if value]
        return "".join(f" AND {name} = ?" for name, _ in given), [value for _, value in given]

    def check(self, catalogue: Catalogue) -> None:
        """Raise the error that says why nothing was found, where the filter is to blame."""
        if self.verdict and self.verdict not in get_args(Verdict):
            raise SettingsError(f"no verdict {self.verdict!r}; there are {', '.join(get_args(Verdict))}")
        if self.model:
            model_row(catalogue, self.model)
        if self.layer:
            where, params = ("WHERE model = ?", [self.model]) if self.model else ("", [])
            layers = [x for (x,) in catalogue.read(f"SELECT layer FROM units {where} GROUP BY layer ORDER BY min(layer_order)", params)]
            if self.layer not in layers:
                raise UnitError(f"no layer {self.layer!r} in {self.model or catalogue.path}; it has the layers {', '.join(layers)}")


class Searcher:
    """Searches one catalogue by meaning again and again: its vectors are loaded once, and labels that come later are seen.

    Holds 1 byte per dimension (384) and distinct text, and the texts. `embedder`: all-MiniLM-L6-v2 where None. For one thread at a time.
    Raises ExtraError where there is no embedding model.
    """

    def __init__(self, catalogue: Catalogue, *, embedder: Embedder | None = None, progress: Progress = silent) -> None:
        self.catalogue, self.progress = catalogue, progress
        self.unstored = ""  # why some vectors are in memory alone; empty where all are stored
        self._embedder = embedder or _default()
        self._name = name_of(self._embedder)
        self._texts: list[str] = []
        self._at: dict[str, int] = {}  # text -> where it stands
        self._parts: list[Quantised] = []  # their vectors, in order
        self._commit = ""

    def search(self, text: str, *, limit: int = 10, model: str = "", layer: str = "", verdict: str = "") -> Found:
        """The labels most like `text`: COLUMNS, by cosine, equals by score. A cosine of 8-bit vectors is within about .002 of the exact one.

        model, layer, verdict: only labels of these. Raises SetupError for an empty text, a limit below 1, a filter of what there is not.
        """
        only = Only(model, layer, verdict)
        _check(text, limit)
        self.refresh()
        query = self._embed([text])[0]
        similarity = np.concatenate([np.zeros(0, np.float32), *(part.cosines(query) for part in self._parts)])
        with self.catalogue.reading():  # opened once for what follows
            rows = self._rows(similarity, best(similarity, 4 * limit), only, limit)
            if len(rows) < min(limit, len(similarity)):  # others are filtered out, or nobody's label any longer
                at = self._allowed(only)
                rows = self._rows(similarity, at[best(similarity[at], limit)], only, limit)
            if not rows:
                only.check(self.catalogue)
            return Found(COLUMNS, list(veil_rows(COLUMNS, rows, failed_anywhere(self.catalogue))), self.unstored)

    def refresh(self) -> None:
        """Load the vectors of labels that are not held yet; make and store those that the catalogue lacks. `search` does it."""
        (commit,), = self.catalogue.read("SELECT value FROM meta WHERE key = 'commit'")
        if commit == self._commit:
            return
        wanted = self.catalogue.columns("SELECT DISTINCT label FROM labels WHERE label <> ''")["label"].tolist()
        if missing := {text for text in wanted if text not in self._at}:
            self._add(missing)
        self._commit = commit

    def _add(self, missing: set[str]) -> None:
        n, d = len(missing), self._embed(["a"]).shape[1]
        part, texts = Quantised.room(n, d), list[str]()

        def put(some: Sequence[str], values: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
            part.values[len(texts):len(texts) + len(some)], part.scale[len(texts):len(texts) + len(some)] = values, scale
            texts.extend(some)
        for held, values, scale in vectors.read(self.catalogue, self._name, d, list(missing)):
            rows = list({text: i for i, text in enumerate(held) if text in missing}.values())
            some = [held[i] for i in rows]
            put(some, values[rows], scale[rows])
            missing.difference_update(some)
            self.progress("loading vectors", len(texts), n)
        rest, storing = sorted(missing, key=lambda text: (len(text), text)), True
        for first in range(0, len(rest), BATCH):
            self.progress("embedding labels", first, len(rest))
            batch = rest[first:first + BATCH]
            made = Quantised.of(self._embed(batch))
            put(batch, made.values, made.scale)
            if storing:
                try:
                    vectors.write(self.catalogue, self._name, batch, made.values, made.scale)
                except CatalogueError as error:
                    storing, self.unstored = False, f"vectors of {len(rest) - first:,} texts are kept in memory alone, for now: {error}"
        if rest:
            self.progress("embedding labels", len(rest), len(rest))
        self._at.update(zip(texts, range(len(self._texts), len(self._texts) + n), strict=True))
        self._texts += texts
        self._parts.append(part)

    def _rows(self, similarity: NDArray[np.float32], at: NDArray[np.int64], only: Only, limit: int) -> list[tuple[Any, ...]]:
        """The labels with the texts `at`, best first."""
        where, params = only.sql()
        return self.catalogue.read(
            "SELECT similarity, unit, label, score, verdict FROM labels "
            "JOIN (SELECT unnest(?::VARCHAR[]) AS label, unnest(?::DOUBLE[]) AS similarity) "
            f"USING (label) WHERE true {where} ORDER BY similarity DESC, {ORDER} LIMIT ?",
            [[self._texts[i] for i in at.tolist()], similarity[at].tolist(), *params, limit])

    def _allowed(self, only: Only) -> NDArray[np.int64]:
        """Where the texts stand that the filter leaves."""
        where, params = only.sql()
        texts = self.catalogue.columns(f"SELECT DISTINCT label FROM labels WHERE label <> '' {where}", params)["label"].tolist()
        return np.array(sorted(self._at[text] for text in texts if text in self._at), np.int64)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[n, d] of unit length."""
        made = np.asarray(self._embedder.embed([text.encode("utf-8", "replace").decode()[:LONGEST] for text in texts]), np.float32)
        unit: NDArray[np.float32] = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
        return unit


def search(catalogue: Catalogue, text: str, *, method: Literal["meaning", "keyword"] = "meaning", limit: int = 10, model: str = "", layer: str = "",
           verdict: str = "", progress: Progress = silent) -> Found:
    """The best labels. `meaning`: cosine between text and label; `keyword`: labels that contain it, by score.

    model, layer, verdict: only labels of these. Raises SetupError for an empty text, a limit below 1, a filter of what there is not.
    A process that searches again and again keeps a `Searcher`.
    """
    if method == "meaning":
        return Searcher(catalogue, progress=progress).search(text, limit=limit, model=model, layer=layer, verdict=verdict)
    _check(text, limit)
    only = Only(model, layer, verdict)
    where, params = only.sql()
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = catalogue.read(f"SELECT unit, label, score, verdict FROM labels WHERE label ILIKE ? ESCAPE '\\' {where} ORDER BY {ORDER} LIMIT ?",
                          [pattern.encode("utf-8", "replace").decode(), *params, limit])
    if not rows:
        only.check(catalogue)
    return Found(COLUMNS[1:], list(veil_rows(COLUMNS[1:], rows, failed_anywhere(catalogue))))


def name_of(embedder: Embedder) -> str:
    """What an embedding model is called in the table `vectors`: its name, where it has one, and its hash."""
    return " ".join(filter(None, (getattr(embedder, "name", ""), embedder.hash)))


def _check(text: str, limit: int) -> None:
    if not text.strip():
        raise SetupError("there is nothing to search for: give some words")
    if limit < 1:
        raise SettingsError(f"limit must be 1 or more, not {limit}")


def _default() -> Embedder:
    from autolabel.embeddings import default_embedder
    return default_embedder()


__all__ = ["Found", "Searcher", "search"]
