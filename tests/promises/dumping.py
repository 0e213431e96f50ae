"""A catalogue as digests: every table's rows, in whatever order, without the times at which they were written."""

from __future__ import annotations

from collections.abc import Collection

from autolabel.catalogue import Catalogue

TIMES = ("created", "started", "finished")  # columns that say when
OWN = ("meta", "ledger")  # the file's own id and its count of commits


def dump_digests(catalogue: Catalogue, tables: Collection[str] = ()) -> dict[str, tuple[int, int]]:
    """Table (of `tables`, all where none is named) -> its rows and the sum of their hashes, every float to its last bit."""
    found = {}
    for (table,) in catalogue.read("SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' ORDER BY 1"):
        if table in OWN or (tables and table not in tables):
            continue
        columns = [c for (c,) in catalogue.read("SELECT column_name FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position", [table])]
        kept = ", ".join(f'"{c}"' for c in columns if c not in TIMES)
        [found[table]] = catalogue.read(f"SELECT count(*), sum(CAST(hash({kept}) AS HUGEINT)) FROM {table}")
    return found
