"""The process that runs one statement of a user, and may be killed at any time. Imports nothing of autolabel.

stdin: one JSON object (path, query, memory, seconds, config, patience, max_rows, export). stdout: JSON lines: {"columns", "types"}, then
{"rows"} again and again, then {"end", "more"}; or {"error", "kind"}. Values that JSON lacks are {"$": kind, "v": text}.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

ALLOWED = ("select", "with", "from", "describe", "summarize", "show", "explain")
SAID = "only one SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN statement is allowed"
BATCH = 1000  # rows of one line
RISKY = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins so
SAFE = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT", "UHUGEINT", "DOUBLE",
        "FLOAT", "DECIMAL", "BOOLEAN", "TIMESTAMP", "DATE", "TIME", "INTERVAL", "UUID")


class Refused(Exception):
    """The statement is not of the allowed kind."""


def gate(query: str) -> str:
    """The statement, if it is exactly one and of an allowed kind; Refused otherwise. DuckDB's own parser and tokenizer decide."""
    import duckdb
    statements = duckdb.extract_statements(query)
    if not statements:
        raise Refused("there is no statement")
    if len(statements) > 1:
        raise Refused(f"{SAID}; these are {len(statements)}")
    statement = statements[0]
    word, rest = _first_word(query)
    if word not in ALLOWED or statement.type.name not in ("SELECT", "EXPLAIN"):
        raise Refused(f"{SAID}; this is {(word if word not in ALLOWED else statement.type.name).upper()[:30] or 'something else'}")
    if word == "explain":
        gate(_explained(rest))
    return str(statement.query)


def _first_word(query: str) -> tuple[str, str]:
    """The first word in lower case, and what follows it. Brackets around a whole statement are looked through."""
    import duckdb
    data = query.encode("utf-8", "surrogatepass")
    starts = [start for start, kind in duckdb.tokenize(query) if kind != duckdb.token_type.comment]
    for i, start in enumerate(starts):
        end = starts[i + 1] if i + 1 < len(starts) else len(data)
        token = data[start:end].decode("utf-8", "replace")
        if token.strip() == "(":
            continue
        first = (token.split(maxsplit=1) or [""])[0]
        word = "".join(character for character in first if character.isalpha() or character == "_")
        return word.lower(), data[start + len(word):].decode("utf-8", "replace")
    return "", ""


def _explained(rest: str) -> str:
    """What an EXPLAIN is about: without ANALYZE and without options in brackets."""
    word, after = _first_word(rest)
    if word == "analyze" or word == "analyse":
        bracketed = rest.lstrip().startswith("(")
        return after.partition(")")[2] if bracketed else after
    if word == "format" and rest.lstrip().startswith("("):
        return after.partition(")")[2]
    return rest


def limits(memory: int, seconds: int, write: bool = False) -> None:
    """Address space, processor time, no core, and no file of any size unless the answer goes into one."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if not write:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def main() -> None:
    """Read the request, answer it."""
    ask = json.loads(sys.stdin.readline())
    import duckdb
    limits(ask["memory"], ask["seconds"], write=ask["export"] is not None)
    stage = "wrong"
    try:
        query = gate(ask["query"])
        stage = "open"
        connection = _open(duckdb, ask)
        stage = "wrong"
        if ask["export"] is not None:
            return _export(connection, query, ask["export"])
        cursor = connection.execute(query)
        description = cursor.description or []
        _say({"columns": [column[0] for column in description], "types": [str(column[1]) for column in description]})
        left = ask["max_rows"]
        while rows := cursor.fetchmany(BATCH if left is None else min(BATCH, left + 1)):
            if left is not None and len(rows) > left:
                _say({"rows": _plain(rows[:left])})
                return _say({"end": True, "more": True})
            if left is not None:
                left -= len(rows)
            _say({"rows": _plain(rows)})
        _say({"end": True, "more": False})
    except Refused as error:
        _say({"error": str(error), "kind": "refused"})
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        _say({"error": str(error), "kind": "memory"})
    except duckdb.Error as error:
        _say({"error": str(error), "kind": stage})


def _export(connection: Any, query: str, wanted: dict[str, str]) -> None:  # a DuckDB connection; untyped, as the module is loaded late
    """COPY the answer to the one file that this connection may touch."""
    query = _unended(query)
    described = connection.execute(f"SELECT * FROM ({query}\n) AS q LIMIT 0").description
    select = "*"
    if wanted["format"] == "csv":
        select = ", ".join(_cell(i, str(column[0]), str(column[1])) for i, column in enumerate(described))
        names = ", ".join(f"c{i}" for i in range(len(described)))
        query = f"SELECT {select} FROM ({query}\n) AS q({names})"
    options = {"csv": "FORMAT csv, HEADER true", "jsonl": "FORMAT json", "parquet": "FORMAT parquet, COMPRESSION zstd"}[wanted["format"]]
    target = wanted["target"].replace("'", "''")
    row = connection.execute(f"COPY ({query}\n) TO '{target}' ({options}, USE_TMP_FILE false)").fetchone()
    _say({"columns": ["rows"], "types": ["BIGINT"]})
    _say({"rows": [[row[0]]]})
    _say({"end": True, "more": False})


def _unended(query: str) -> str:
    """The one statement without its semicolon and what follows it."""
    import duckdb
    data = query.encode("utf-8", "surrogatepass")
    for start, kind in duckdb.tokenize(query):
        if kind == duckdb.token_type.operator and data[start:start + 1] == b";":
            return data[:start].decode("utf-8", "surrogatepass")
    return query


def _cell(i: int, name: str, kind: str) -> str:
    """A CSV column: what a spreadsheet would take for a formula gets a ' in front. Numbers, truth values and times do not."""
    quoted = '"' + ("'" + name if name[:1] in RISKY else name).replace('"', '""') + '"'
    if kind.startswith(SAFE) and "[" not in kind:
        return f"c{i} AS {quoted}"
    text = f"CAST(c{i} AS VARCHAR)"
    return f"CASE WHEN {text}[1] IN ('=', '+', '-', '@', chr(9), chr(13)) THEN chr(39) || {text} ELSE {text} END AS {quoted}"


def _open(duckdb: Any, ask: dict[str, Any]) -> Any:  # the module is handed in: it is imported before the limits are set
    fence = {"enable_external_access": "false", "lock_configuration": "true"}
    config = {name: value for name, value in ask["config"].items() if ask["export"] is None or name not in fence}
    until = time.monotonic() + ask["patience"]
    while True:
        try:
            connection = duckdb.connect(ask["path"], read_only=True, config=config)
            break
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.004)
    if ask["export"] is not None:  # the paths can be named only once the file is open; nothing of it has run by then
        connection.execute("SET allowed_paths = [?]".replace("?", "'" + ask["export"]["target"].replace("'", "''") + "'"))
        for name, value in fence.items():
            connection.execute(f"SET {name} = {value}")
    return connection


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, ensure_ascii=True, default=_tagged) + "\n")
    sys.stdout.flush()


def _plain(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [[_value(value) for value in row] for row in rows]


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return {"$": "map", "v": [[_value(k), _value(v)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_value(v) for v in value]
    return value


def _tagged(value: object) -> dict[str, str]:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$": "bytes", "v": bytes(value).hex()}
    if hasattr(value, "isoformat"):
        return {"$": type(value).__name__, "v": value.isoformat()}
    if hasattr(value, "total_seconds"):
        return {"$": "timedelta", "v": repr(value.total_seconds())}
    return {"$": type(value).__name__, "v": str(value)}


if __name__ == "__main__":
    main()
