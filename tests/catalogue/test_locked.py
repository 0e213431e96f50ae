"""SQL of a user: one reading statement, fenced in, ended in time; and files that others made, which are code."""

from __future__ import annotations

import os
import random
import resource
import time
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from autolabel.catalogue import Catalogue, locked
from autolabel.errors import AutolabelError, CatalogueError, QueryError
from tests.catalogue.making import small

SECRET = "canary-7f3a"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("locked")
    for name in ("secret.txt", "secret.csv", "secret.json"):
        (folder / name).write_text(SECRET)
    return small(folder / "x.duckdb")


ALLOWED = [
    "SELECT 1", "select 1;", "  -- note\n SELECT 1 /* more */ ;", "(SELECT 1)", "((SELECT 1))", "WITH x AS (SELECT 1) SELECT * FROM x", "FROM labels",
    "FROM labels SELECT unit", "DESCRIBE labels", "DESCRIBE SELECT 1", "SUMMARIZE labels", "SHOW TABLES", "SHOW ALL TABLES", "SHOW DATABASES",
    "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "EXPLAIN (FORMAT json) SELECT 1", "EXPLAIN (ANALYZE, FORMAT json) SELECT 1", "EXPLAIN DESCRIBE labels",
    "SELECT ';'", "SELECT 'copy x to y; drop table z'", "SELECT * FROM duckdb_settings()", "SELECT unit FROM labels UNION ALL SELECT unit FROM neurons",
]
REFUSED = [  # (statement, a word of the answer)
    ("", "no statement"), (";;", "no statement"), ("-- nothing", "no statement"), ("SELECT 1; SELECT 2", "these are 2"), ("SELECT 1; DROP TABLE runs", "these are 2"),
    ("COPY runs TO '{dir}/out.csv'", "COPY"), ("COPY runs FROM '{dir}/secret.csv'", "COPY"), ("ATTACH '{dir}/other.duckdb'", "ATTACH"), ("DETACH x", "DETACH"),
    ("EXPORT DATABASE '{dir}/out'", "EXPORT"), ("IMPORT DATABASE '{dir}'", ""), ("INSTALL httpfs", "INSTALL"), ("LOAD json", "LOAD"),
    ("PRAGMA database_list", "PRAGMA"), ("PRAGMA disable_checkpoint_on_shutdown", "PRAGMA"), ("SET threads = 64", "SET"), ("SET memory_limit = '99GB'", "SET"),
    ("RESET lock_configuration", "RESET"), ("CALL pragma_version()", "CALL"), ("CHECKPOINT", "CHECKPOINT"), ("VACUUM", "VACUUM"), ("ANALYZE", "ANALYZE"), ("USE temp", "USE"),
    ("INSERT INTO runs (id) VALUES ('1')", "INSERT"), ("WITH x AS (SELECT 1) INSERT INTO runs (id) SELECT 1 FROM x", "INSERT"), ("UPDATE runs SET id = '1'", "UPDATE"),
    ("DELETE FROM runs", "DELETE"), ("WITH x AS (DELETE FROM runs RETURNING *) SELECT * FROM x", "read-only"), ("TRUNCATE runs", ""), ("DROP TABLE runs", "DROP"),
    ("DROP VIEW labels", "DROP"), ("ALTER TABLE runs ADD COLUMN x INT", "ALTER"), ("CREATE TABLE x (i INT)", "CREATE"), ("CREATE TEMP TABLE x (i INT)", "CREATE"),
    ("CREATE MACRO f() AS 1", "CREATE"), ("CREATE VIEW v AS SELECT 1", "CREATE"), ("CREATE SECRET (TYPE s3)", ""), ("PREPARE p AS SELECT 1", "PREPARE"), ("EXECUTE p", "EXECUTE"),
    ("BEGIN", "BEGIN"), ("COMMIT", "COMMIT"), ("VALUES (1)", "VALUES"), ("TABLE runs", "TABLE"), ("PIVOT runs ON id USING count(*)", "PIVOT"),
    ("EXPLAIN DELETE FROM runs", "DELETE"), ("EXPLAIN ANALYZE DELETE FROM runs", "DELETE"), ("EXPLAIN (FORMAT json) DROP TABLE runs", ""),
    ("EXPLAIN /* x */ ANALYZE COPY runs TO '{dir}/out.csv'", "COPY"), ("EXPLAIN (ANALYZE) INSERT INTO runs (id) VALUES ('1')", "INSERT"),
    ("SELECT * FROM read_csv('{dir}/secret.csv')", "not allowed"), ("SELECT * FROM read_text('{dir}/secret.txt')", "not allowed"),
    ("SELECT * FROM read_blob('{dir}/secret.txt')", "not allowed"), ("SELECT * FROM read_json('{dir}/secret.json')", "not allowed"),
    ("SELECT * FROM read_parquet('{dir}/secret.txt')", "not allowed"), ("SELECT * FROM glob('{dir}/*')", "not allowed"), ("FROM '{dir}/secret.csv'", ""),
    ("SELECT * FROM read_csv('https://example.org/x.csv')", ""), ("SELECT * FROM sniff_csv('{dir}/secret.csv')", "not allowed"),
    ("SELECT * FROM read_duckdb('{dir}/x.duckdb')", ""), ("SELECT getenv('HOME')", ""), ("SELECT * FROM parquet_metadata('{dir}/secret.txt')", "not allowed"),
    ("DESCRIBE SELECT * FROM read_csv('{dir}/secret.csv')", "not allowed"), ("SUMMARIZE '{dir}/secret.csv'", ""), ("SELECT nosuch FROM labels", "nosuch"), ("SELEC 1", "SELEC"),
    ("SELECT * FROM query('DROP TABLE runs')", ""), ("SELECT * FROM query('COPY runs TO ''{dir}/out.csv''')", ""), ("SELECT now()", "zone"), ("SELECT '\0'", "NUL"),
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_statements_that_read_are_answered(catalogue: Catalogue, statement: str) -> None:
    assert catalogue.sql(statement, timeout=30).columns


@pytest.mark.parametrize(("statement", "word"), REFUSED)
def test_all_others_are_refused(catalogue: Catalogue, statement: str, word: str) -> None:
    folder = catalogue.path.parent
    before = sorted(folder.iterdir()), catalogue.path.read_bytes()
    with pytest.raises(QueryError) as caught:
        catalogue.sql(statement.replace("{dir}", str(folder)), timeout=30)
    assert word in str(caught.value) and SECRET not in str(caught.value) and "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    assert (sorted(folder.iterdir()), catalogue.path.read_bytes()) == before


def test_values_come_back_as_they_are(catalogue: Catalogue) -> None:
    result = catalogue.sql("""SELECT 1 a, 2.50::DECIMAL(5,2) b, TIMESTAMP '2026-01-02 03:04:05.000006' c, DATE '2026-01-02' d, INTERVAL 90 MINUTES e,
        {'k': [1, NULL]} f, MAP {'x': 1.5} g, 'é😀' || chr(0) h, 'nan'::DOUBLE i, '-inf'::DOUBLE j, 170141183460469231731687303715884105727 k,
        '\\xFF'::BLOB l, NULL m, true n, ['a', NULL] o, TIME '01:02:03' p, {'$': 'bytes', 'v': 'zz'} q""")
    (row,) = result.rows
    assert row[:8] == (1, Decimal("2.50"), datetime(2026, 1, 2, 3, 4, 5, 6), date(2026, 1, 2), timedelta(minutes=90), {"k": [1, None]}, {"x": 1.5}, "é😀\x00")
    assert row[8] != row[8] and row[9:16] == (float("-inf"), 2**127 - 1, b"\xff", None, True, ["a", None], datetime(2026, 1, 1, 1, 2, 3).time())
    assert row[16] == {"$": "bytes", "v": "zz"}  # data cannot pass for a tag
    assert result.columns[:3] == ["a", "b", "c"] and result.types[0] == "INTEGER"


def test_rows_are_counted(catalogue: Catalogue) -> None:
    result = catalogue.sql("FROM range(5000)", max_rows=1500)
    assert len(result) == 1500 and result.more and result.rows[-1] == (1499,)
    assert not catalogue.sql("FROM range(1500)", max_rows=1500).more
    assert len(catalogue.sql("FROM range(5000)")) == 5000
    assert catalogue.sql("FROM range(0)").rows == []


def test_keys_of_the_environment_do_not_reach_the_child(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    seen: dict[str, str] = {}
    popen = locked.subprocess.Popen
    monkeypatch.setattr(locked.subprocess, "Popen", lambda *a, **k: (seen.update(k["env"]), popen(*a, **k))[1])
    catalogue.sql("SELECT 1")
    assert seen and SECRET not in seen.values()


BOMBS = [
    "SELECT count(*) FROM range(100000000000)", "SELECT count(*) FROM range(1000000) a, range(1000000) b", "SELECT sum(a.range * b.range) FROM range(10000000) a, range(100000) b",
    "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r", "WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r) SELECT max(len(s)) FROM r",
    "SELECT repeat('x', 4000000000)", "SELECT list(i) FROM range(10000000000) t(i)", "SELECT string_agg(i::VARCHAR, ',') FROM range(10000000000) t(i)",
    "SELECT count(DISTINCT hash(i)) FROM range(10000000000) t(i)", "FROM range(100000000000)", "SELECT range(10000000000)", "SELECT list_sort(range(1000000000))",
    "SELECT * FROM range(1000000) a, range(1000000) b ORDER BY a.range * b.range", "SELECT regexp_matches(repeat('a', 100000000), '(a*)*b')",
    "SELECT [x * y FOR x IN range(100000) IF x > 5] FROM range(10000000) t(y)", "SELECT array_agg(s) FROM (SELECT repeat('x', 1000000) s FROM range(100000))",
    "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))", "SELECT count(*) FROM range(300000) a JOIN range(300000) b ON a.range <> b.range JOIN range(3000) c ON true",
    "SELECT repeat(repeat(repeat('x', 1000), 1000), 1000)", "SELECT histogram(i) FROM range(10000000000) t(i)", "SELECT lpad('x', 2000000000, 'y')",
    "SELECT " + "(" * 20000 + "1" + ")" * 20000, "SELECT " + "+".join(["1"] * 100000), "SELECT " + "NOT " * 50000 + "true",
    "SELECT json('" + "[" * 200000 + "]" * 200000 + "')", "SELECT max(a.range) OVER (ORDER BY b.range) FROM range(100000) a, range(100000) b",
    "SUMMARIZE SELECT * FROM range(100000000000)", "EXPLAIN ANALYZE SELECT count(*) FROM range(100000000000)", "SELECT quantile(i, .5) FROM range(10000000000) t(i)",
]


def ends_in_time(catalogue: Catalogue, bomb: str) -> None:
    before = time.monotonic()
    try:
        catalogue.sql(bomb, max_rows=10)
    except QueryError as error:
        assert len(str(error)) < 1000
    assert time.monotonic() - before < 5.5  # 5 s, and what a busy machine adds
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 * 2**20  # KiB: no child was larger than 2 GiB


@pytest.mark.parametrize("i", random.Random(7).sample(range(len(BOMBS)), 5))
def test_bombs_end_in_time(catalogue: Catalogue, i: int) -> None:
    ends_in_time(catalogue, BOMBS[i])


@pytest.mark.soak
@pytest.mark.parametrize("i", range(len(BOMBS)))
def test_all_bombs_end_in_time(catalogue: Catalogue, i: int) -> None:
    ends_in_time(catalogue, BOMBS[i])


def test_time_and_memory_are_said(catalogue: Catalogue) -> None:
    with pytest.raises(QueryError, match=r"longer than 1 s"):
        catalogue.sql("SELECT count(*) FROM range(100000000000)", timeout=1)
    with pytest.raises(QueryError, match="memory"):
        catalogue.sql("SELECT list(i) FROM range(10000000000) t(i)", memory="1GiB", timeout=30)
    with pytest.raises(QueryError, match="cannot read 'much'"):
        catalogue.sql("SELECT 1", memory="much")


def test_an_endless_answer_is_cut_off(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked, "ANSWER", 2**20)
    with pytest.raises(QueryError, match="longer than 1 MiB"):
        catalogue.sql("SELECT repeat('x', 1000) FROM range(1000000000)", timeout=30)


# Each is run on a copy of a good catalogue; {dir} holds secret.* files. What is planted runs when someone reads.
READS = ["SELECT content FROM read_text('{dir}/secret.txt')", "SELECT column0 FROM read_csv('{dir}/secret.csv', header = false)", "SELECT file FROM glob('{dir}/*')",
         "SELECT content::VARCHAR FROM read_blob('{dir}/secret.txt')", "SELECT * FROM read_json_objects('{dir}/secret.json')", "SELECT * FROM '{dir}/secret.csv'",
         "SELECT size::VARCHAR FROM read_blob('{dir}/*')"]
FINE = ("huge string", "control characters", "view of itself by two", "meta of many keys")  # odd data, the right shape
VICTIMS = ("labels", "neurons", "candidates", "exemplars")
HOSTILE: list[tuple[str, list[str]]] = [
    *((f"view {VICTIMS[i % 4]} {i}", [f"DROP VIEW {VICTIMS[i % 4]}", f"CREATE VIEW {VICTIMS[i % 4]} AS {read}"]) for i, read in enumerate(READS)),
    *((f"view labels {i} of tables", ["DROP VIEW labels", f"CREATE VIEW labels AS SELECT c.*, (SELECT max(x::VARCHAR) FROM ({read}) x) AS unit FROM choices c"])
      for i, read in enumerate(READS)),
    *((f"macro {i}", ["CREATE MACRO peek() AS TABLE " + read, "CREATE VIEW mine AS FROM peek()"]) for i, read in enumerate(READS)),
    ("macro", ["CREATE MACRO peek() AS TABLE SELECT content FROM read_text('{dir}/secret.txt')", "DROP VIEW labels", "CREATE VIEW labels AS FROM peek()"]),
    ("macro over a builtin", ["CREATE MACRO coalesce2(a) AS (SELECT content FROM read_text('{dir}/secret.txt'))", "DROP VIEW labels",
                              "CREATE VIEW labels AS SELECT coalesce2(1) AS unit, 1 AS score"]),
    ("view of a table's name", ["DROP TABLE models", "CREATE VIEW models AS SELECT content AS name, false AS is_control FROM read_text('{dir}/secret.txt')"]),
    ("meta is a view", ["ALTER TABLE meta RENAME TO meta2", "CREATE VIEW meta AS SELECT content AS key, '' AS value FROM read_text('{dir}/secret.txt')"]),
    ("ledger is a view", ["DROP TABLE ledger", "CREATE VIEW ledger AS SELECT content AS \"table\", 1 AS rows FROM read_text('{dir}/secret.txt')"]),
    ("view that never ends", ["DROP VIEW labels", "CREATE VIEW labels AS SELECT count(*) AS unit, 1 AS score FROM range(100000000000)"]),
    ("view that eats memory", ["DROP VIEW labels", "CREATE VIEW labels AS SELECT list(i) AS unit, 1 AS score FROM range(10000000000) t(i)"]),
    ("view of itself by two", ["CREATE VIEW a1 AS SELECT 1 AS unit, 1 AS score", "CREATE VIEW a2 AS SELECT * FROM a1", "CREATE OR REPLACE VIEW a1 AS SELECT * FROM a2",
                               "DROP VIEW labels", "CREATE VIEW labels AS FROM a1"]),
    ("views doubled 40 times", ["CREATE VIEW b0 AS SELECT 1 AS unit, 1 AS score", *(f"CREATE VIEW b{i} AS FROM b{i - 1} UNION ALL FROM b{i - 1}" for i in range(1, 12)),
                                "DROP VIEW labels", "CREATE VIEW labels AS SELECT a.* FROM b11 a, b11 b, b11 c"]),
    ("wrong types", ["DROP TABLE choices", "CREATE TABLE choices (model STRUCT(a INT), layer INT[], site BLOB, neuron VARCHAR, side DOUBLE, explanation MAP(INT, INT))"]),
    ("missing column", ["ALTER TABLE models DROP COLUMN name"]),
    ("missing table", ["DROP TABLE units"]),
    ("missing view", ["DROP VIEW labels"]),
    ("huge string", ["INSERT INTO models (name) SELECT repeat('x', 5000000)"]),
    ("control characters", ["UPDATE models SET name = chr(27) || '[2J' || chr(0) || chr(8238)"]),
    ("generated column", ["CREATE TABLE g (a INT, b VARCHAR GENERATED ALWAYS AS (repeat('x', a)) VIRTUAL)", "INSERT INTO g (a) VALUES (20000000)", "DROP VIEW labels",
                          "CREATE VIEW labels AS SELECT b AS unit, 1 AS score FROM g"]),
    ("default that reads", ["CREATE SEQUENCE s", "ALTER TABLE runs ALTER COLUMN id SET DEFAULT nextval('s')::VARCHAR"]),
    ("schema that hides", ["CREATE SCHEMA other", "CREATE VIEW other.labels AS SELECT content FROM read_text('{dir}/secret.txt')", "DROP VIEW labels",
                           "CREATE VIEW labels AS FROM other.labels"]),
    ("meta not numbers", ["UPDATE meta SET value = 'x' WHERE key = 'commit'"]),
    ("meta of many keys", ["INSERT INTO meta SELECT 'k' || i, repeat('v', 100) FROM range(100000) t(i)"]),
    ("schema negative", ["UPDATE meta SET value = '-1' WHERE key = 'schema'"]),
    ("schema in strange digits", ["UPDATE meta SET value = '²' WHERE key = 'schema'"]),
]


@pytest.mark.parametrize(("name", "statements"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_a_hostile_file_reads_nothing_outside_and_breaks_nothing(catalogue: Catalogue, tmp_path: Path, name: str, statements: list[str]) -> None:
    folder = catalogue.path.parent
    path = tmp_path / "hostile.duckdb"
    path.write_bytes(catalogue.path.read_bytes())
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            try:
                connection.execute(statement.replace("{dir}", str(folder)))
            except (duckdb.IOException, duckdb.HTTPException, duckdb.CatalogException, duckdb.BinderException):
                return  # DuckDB itself does not let it be made
    said: list[str] = []

    def attempt(action: object) -> None:
        try:
            said.append(str(action()))  # type: ignore[operator]
        except AutolabelError as error:
            said.append(str(error))
            assert "\n" not in str(error)
    opened: list[Catalogue] = []
    attempt(lambda: opened.append(Catalogue.open(path)))
    assert not opened or name in FINE, "it opened"
    if opened:
        attempt(lambda: opened[0].neuron("3/0"))
    for view in ("labels", "neurons", "models"):  # and where nobody looked at the file first
        attempt(lambda view=view: locked.run(path, f"SELECT * FROM {view} LIMIT 3", timeout=1.5).rows)
    assert not any(SECRET in text for text in said)
    assert not any(str(folder / "secret.csv") + "'," in text for text in said)  # a listing


def test_there_are_forty_of_them() -> None:
    assert len(HOSTILE) >= 40 and len(ALLOWED) + len(REFUSED) >= 30 and len(BOMBS) >= 25


def test_bytes_changed_at_random_never_crash(catalogue: Catalogue, tmp_path: Path) -> None:
    rng = random.Random(5)
    good = catalogue.path.read_bytes()
    for i in range(8):
        path = tmp_path / f"{i}.duckdb"
        broken = bytearray(good)
        for _ in range(20):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(broken)
        try:
            Catalogue.open(path)
        except CatalogueError as error:
            assert "\n" not in str(error)


assert os.name == "posix"
