"""The table `vectors`: the texts of labels as 8-bit vectors, read in blocks, written a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import duckdb

    from autolabel.catalogue.store import Catalogue

AT_ONCE = 50_000  # rows of one query: 20 MB at 384 dimensions
FEW = 5_000  # so many texts are asked for by name; for more the whole table is read
Block = tuple[list[str], NDArray[np.int8], NDArray[np.float32]]  # texts, values [n, d], scale [n]


def read(catalogue: Catalogue, embedder: str, dimensions: int, texts: Sequence[str]) -> Iterator[Block]:
    """Blocks of the stored vectors, those of `texts` among them. Rows that cannot be vectors of this length are passed over."""
    where, names = ("AND text IN (SELECT unnest(?::VARCHAR[]))", [list(texts)]) if len(texts) <= FEW else ("", [])
    (end,), = catalogue.read("SELECT coalesce(max(rowid) + 1, 0) FROM vectors")
    for first in range(0, end, AT_ONCE):
        rows = catalogue.columns(
            "SELECT text, scale, vector FROM vectors WHERE rowid >= ? AND rowid < ? AND embedder = ? AND octet_length(vector) = ? "
            f"AND isfinite(scale) AND scale > 0 AND text IS NOT NULL {where}", [first, first + AT_ONCE, embedder, dimensions, *names])
        if len(rows["text"]):
            values = np.frombuffer(b"".join(rows["vector"].tolist()), np.int8).reshape(-1, dimensions)
            yield rows["text"].tolist(), values, rows["scale"].astype(np.float32)


def write(catalogue: Catalogue, embedder: str, texts: Sequence[str], values: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
    """Store one batch, in the place of what is stored of these texts. Raises LockedError where another process writes, CatalogueError."""
    from autolabel.catalogue import columns

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DELETE FROM vectors WHERE embedder = ? AND text IN (SELECT unnest(?::VARCHAR[]))", [embedder, list(texts)])
        columns.insert(connection, "vectors", {"embedder": embedder, "text": list(texts), "scale": scale,
                                               "vector": [row.tobytes() for row in values]})
    with catalogue.writer() as writer:
        writer.write(work)
