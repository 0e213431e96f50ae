"""What is known of LLM servers, kept in `meta` under `llm:ADDRESS MODEL`, so that it is found out once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from autolabel.catalogue.store import Catalogue


class Memory:
    """get and put of texts by key."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def get(self, key: str) -> str | None:
        """What was put last, None where nothing was."""
        rows = self.catalogue.read("SELECT value FROM meta WHERE key = ?", [f"llm:{key}"])
        return str(rows[0][0]) if rows else None

    def put(self, key: str, value: str) -> None:
        """Keep it; returns after the commit."""
        def work(connection: duckdb.DuckDBPyConnection) -> None:
            connection.execute("DELETE FROM meta WHERE key = ?", [f"llm:{key}"])
            connection.execute("INSERT INTO meta VALUES (?, ?)", [f"llm:{key}", value])
        with self.catalogue.writer() as writer:
            writer.write(work)
