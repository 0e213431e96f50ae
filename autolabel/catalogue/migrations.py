"""The numbered steps from an empty file to today's schema. Applied once, in order, and recorded in `meta`.

All DDL of the project is here, and each step ends with a CHECKPOINT, so that no schema change is ever replayed from a log.
`meta` holds: format, id (random, names this file), schema (number of the last step), needs (the oldest autolabel that can
read it), views (digest of the text of the views), commit (number of the last commit), created (UTC), and `llm:ADDRESS MODEL`
(what a server is known to take).
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import duckdb

from autolabel.catalogue.schema import FORMAT, SQL, TABLES
from autolabel.errors import CatalogueError
from autolabel.types import digest

STEPS: tuple[tuple[str, str], ...] = (  # (file, the oldest autolabel that reads the result)
    ("001_tables.sql", "0.1.0"), ("002_plain_means.sql", "0.1.0"), ("003_audits.sql", "0.1.0"), ("004_batches.sql", "0.1.0"),
    ("005_accounting.sql", "0.1.0"), ("006_kinds.sql", "0.1.0"), ("007_validity.sql", "0.1.0"), ("008_nulls.sql", "0.1.0"),
    ("009_senses.sql", "0.1.0"), ("010_read_beyond.sql", "0.1.0"), ("011_search.sql", "0.1.0"))
SCHEMA = len(STEPS)


def views_digest() -> str:
    """Names the text of the views: they are written anew when it changes."""
    return digest((SQL / "views.sql").read_text("utf-8"))


def state(path: Path, connection: duckdb.DuckDBPyConnection) -> tuple[int, bool]:
    """(number of the last step, are the views today's). Raises CatalogueError for what is no catalogue, or too new."""
    foreign = CatalogueError(f"{path} is not a catalogue: it is a DuckDB file that autolabel did not make")
    tables = {name for (name,) in connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' AND database_name = current_database()").fetchall()}
    columns = connection.execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'meta' AND schema_name = 'main' "
                                 "AND database_name = current_database() ORDER BY column_index").fetchall()
    if "meta" not in tables or columns != [("key", "VARCHAR"), ("value", "VARCHAR")]:
        raise foreign
    meta = dict(connection.execute("SELECT key, value[:100] FROM meta WHERE key NOT LIKE 'llm:%' LIMIT 100").fetchall())
    if meta.get("format") != FORMAT or not all(str(meta.get(key)).isdecimal() for key in ("schema", "commit")):
        raise foreign
    number = int(meta["schema"])
    if number > SCHEMA:
        raise CatalogueError(f"{path} needs autolabel >= {str(meta.get('needs'))[:20]}: it has schema {number}, this one knows {SCHEMA}")
    if number == SCHEMA and (missing := sorted({*TABLES, "ledger"} - tables)):
        raise CatalogueError(f"{path} is damaged: table {missing[0]} is missing")
    current = meta.get("views") == views_digest()
    if number == SCHEMA:
        mine, (tables_here, views_here, macros) = expected(), shape(connection)
        wrong = [name for name, text in mine[0].items() if tables_here.get(name) != text]
        if current:
            wrong += [name for name, text in mine[1].items() if views_here.get(name) != text]
        if wrong or macros:
            what = f"macro {macros[0][:50]!r} was added" if not wrong else f"{wrong[0]!r} was changed"
            raise CatalogueError(f"{path} is not as autolabel makes it: {what}")
    return number, current


Shape = tuple[dict[str, str], dict[str, str], list[str]]  # tables and views with their SQL, names of macros


def shape(connection: duckdb.DuckDBPyConnection) -> Shape:
    """What a file is made of. Reads DuckDB's own lists only: nothing that the file defines is run."""
    where = "database_name = current_database() AND schema_name = 'main' AND NOT internal"
    tables = dict(connection.execute(f"SELECT table_name, sql FROM duckdb_tables() WHERE {where}").fetchall())
    views = dict(connection.execute(f"SELECT view_name, sql FROM duckdb_views() WHERE {where}").fetchall())
    macros = connection.execute("SELECT function_name FROM duckdb_functions() WHERE database_name = current_database() "
                                "AND NOT internal").fetchall()
    return tables, views, [name for (name,) in macros]


@lru_cache(maxsize=1)
def expected() -> Shape:
    """The shape of a new catalogue, as this DuckDB writes it: a changed view is code of someone else's."""
    with duckdb.connect(":memory:") as connection:
        for file, _ in STEPS:
            connection.execute((SQL / file).read_text("utf-8"))
        connection.execute((SQL / "views.sql").read_text("utf-8"))
        return shape(connection)


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill an empty file."""
    connection.execute("BEGIN")
    connection.execute((SQL / STEPS[0][0]).read_text("utf-8"))
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    meta = {"format": FORMAT, "id": uuid.uuid4().hex, "schema": "1", "needs": STEPS[0][1], "commit": "0", "created": now}
    for key, value in meta.items():
        connection.execute("INSERT INTO meta VALUES (?, ?)", [key, value])
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")
    migrate(connection, 1)


def migrate(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """From step `number` to today's, then the views."""
    for i, (file, needs) in enumerate(STEPS[number:], start=number + 1):
        connection.execute("BEGIN")
        connection.execute((SQL / file).read_text("utf-8"))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", [str(i)])
        connection.execute("UPDATE meta SET value = ? WHERE key = 'needs'", [needs])
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")
    connection.execute("BEGIN")
    connection.execute((SQL / "views.sql").read_text("utf-8"))
    connection.execute("DELETE FROM meta WHERE key = 'views'")
    connection.execute("INSERT INTO meta VALUES ('views', ?)", [views_digest()])
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")
