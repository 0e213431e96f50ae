"""The ledger: how many rows each table must have, so that no loss is silent.

It is kept twice. The table `ledger` is counted in the transaction that changes the rows, and `meta.commit` numbers the
commits. A log that was cut short takes both back to an earlier, consistent state, so the last confirmed commit is also
noted in FILE.ledger, beside the file. That note is removed once nothing is left in the log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from autolabel.catalogue.access import beside
from autolabel.catalogue.schema import TABLES
from autolabel.errors import CatalogueError

_COUNT = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in TABLES)


@dataclass(frozen=True)
class Note:
    """What one commit left behind."""

    catalogue: str  # meta.id of the file
    commit: int  # its number
    rows: Mapping[str, int]  # per table


def count(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows of every table, as the transaction sees them."""
    return dict(connection.execute(_COUNT).fetchall())


def record(connection: duckdb.DuckDBPyConnection) -> Note:
    """Count and number the transaction that is about to be committed."""
    rows = count(connection)
    before = dict(connection.execute('SELECT "table", rows FROM ledger').fetchall())
    for table, n in rows.items():
        if table not in before:
            connection.execute("INSERT INTO ledger VALUES (?, ?)", [table, n])
        elif before[table] != n:
            connection.execute('UPDATE ledger SET rows = ? WHERE "table" = ?', [n, table])
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('id', 'commit')").fetchall())
    commit = int(meta["commit"]) + 1
    connection.execute("UPDATE meta SET value = ? WHERE key = 'commit'", [str(commit)])
    return Note(meta["id"], commit, rows)


def write_note(path: Path, note: Note) -> None:
    """Note a confirmed commit beside the file. A note that cannot be written (full disk) stays the older one, which is true as well."""
    target, temporary = beside(path, ".ledger"), beside(path, ".ledger.tmp")
    try:
        temporary.write_text(json.dumps({"catalogue": note.catalogue, "commit": note.commit, "rows": dict(note.rows)}), "utf-8")
        os.replace(temporary, target)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_note(path: Path) -> Note | None:
    """The last note, None where there is none that can be read."""
    try:
        raw = json.loads(beside(path, ".ledger").read_text("utf-8"))
        return Note(str(raw["catalogue"]), int(raw["commit"]), {str(k): int(v) for k, v in raw["rows"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def clear_note(path: Path) -> None:
    """Nothing is left in the log: the file speaks for itself."""
    wal = beside(path, ".wal")
    if not wal.exists() or wal.stat().st_size == 0:
        beside(path, ".ledger").unlink(missing_ok=True)


def loss(connection: duckdb.DuckDBPyConnection, note: Note | None) -> str | None:
    """What the file lacks, in words; None where nothing. `note` must have been read before the connection was opened."""
    rows = count(connection)
    said: Mapping[str, int] = dict(connection.execute('SELECT "table", rows FROM ledger').fetchall())
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('id', 'commit')").fetchall())
    if note is not None and note.catalogue == meta.get("id") and note.commit > int(meta.get("commit", 0)):
        said = note.rows
        late = note.commit - int(meta.get("commit", 0))
        reason = f"; the last {late} commits are gone" if late > 1 else "; the last commit is gone"
    elif any(said.get(table, 0) != n for table, n in rows.items()):
        reason = ""
    else:
        return None
    differing = [f"{t.removeprefix('t_')} {said.get(t, 0)} against {n}" for t, n in rows.items() if said.get(t, 0) != n]
    detail = f" ({', '.join(differing[:6])})" if differing else ""
    return f"the ledger says {sum(said.values())} rows, the file has {sum(rows.values())}{detail}{reason}"


def verify(path: Path, connection: duckdb.DuckDBPyConnection, note: Note | None) -> None:
    """Raise CatalogueError where rows were lost."""
    words = loss(connection, note)
    if words is not None:
        raise CatalogueError(f"{path}: {words}. Restore a snapshot; or remove {beside(path, '.ledger').name} to go on with what is left "
                             "(what is missing is then done again)")
