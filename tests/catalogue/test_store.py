from __future__ import annotations

import math
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolabel.catalogue import Catalogue, access, columns, migrations, schema
from autolabel.errors import CatalogueError, LockedError, UnitError
from tests.catalogue.making import python, small


@pytest.fixture
def empty(tmp_path: Path) -> Catalogue:
    return Catalogue.open(tmp_path / "x.duckdb", create=True)


def test_a_new_catalogue_is_one_file_that_old_duckdb_reads(empty: Catalogue) -> None:
    assert [p.name for p in empty.path.parent.iterdir()] == ["x.duckdb"]
    assert empty.read("SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'x'") == [("v1.4.0+",)]


def test_schema_names_are_those_of_the_file(empty: Catalogue) -> None:
    tables = {name for (name,) in empty.read("SELECT table_name FROM duckdb_tables()")}
    assert tables == {*schema.TABLES, "meta", "ledger"}
    views = {name for (name,) in empty.read("SELECT view_name FROM duckdb_views() WHERE NOT internal")}
    assert views == set(schema.VIEWS)
    with empty.reading() as connection:
        for table, keys in schema.KEYS.items():
            assert set(keys) <= set(columns.types_of(connection, table)), table
    with pytest.raises(KeyError, match="nosuch"):
        schema.table_name("nosuch")


def test_every_column_type_comes_back(empty: Catalogue) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
    with empty.writer() as w:
        w.insert("calls", {"digest": ["a", "b"], "request": ['{"k": [1]}', None], "tokens_in": [2**40, None], "cost_usd": [float("nan"), .5],
                           "reply": ["é\x00😀", ""], "created": [now, None]})
        w.insert("type_means", {"model": "m", "type": np.array([3]), "mean": [b"\x00\xff"]})
        w.insert("units", {"model": "m", "neuron": np.arange(3, dtype=np.int64), "quantiles": [[1.5], None, []], "top_tokens": [None, ["x", "=y"], [""]]})
        w.insert("choices", {"model": "m", "contextual": [True, None]})
    assert empty.read("SELECT digest, request, tokens_in, cost_usd, reply, created FROM calls ORDER BY digest") == [
        ("a", '{"k": [1]}', 2**40, None, "é\x00😀", datetime(2026, 1, 2, 3, 4, 5, 678)), ("b", None, None, .5, "", None)]
    assert empty.read("SELECT mean FROM type_means") == [(b"\x00\xff",)]
    assert empty.read("SELECT quantiles, top_tokens FROM units ORDER BY neuron") == [([1.5], None), (None, ["x", "=y"]), ([], [""])]
    assert empty.read("SELECT contextual FROM choices ORDER BY 1 NULLS LAST") == [(True,), (None,)]
    got = empty.columns("SELECT tokens_in, cost_usd, request FROM calls ORDER BY digest")
    assert np.ma.is_masked(got["tokens_in"]) and got["tokens_in"][0] == 2**40
    assert math.isnan(got["cost_usd"][0]) and got["cost_usd"][1] == .5 and got["request"][1] is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.none(), st.lists(st.integers(-2**31, 2**31 - 1), max_size=9)), min_size=1, max_size=8))
def test_ragged_lists_come_back(rows: list[list[int] | None]) -> None:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t (i BIGINT, v INTEGER[])")
    columns.insert(connection, "t", {"i": np.arange(len(rows)), "v": rows})
    got = [v for (v,) in connection.execute("SELECT v FROM t ORDER BY i").fetchall()]
    connection.close()
    assert got == rows


def test_matrices_are_lists(empty: Catalogue) -> None:
    matrix = np.random.default_rng(0).random((50, 64), dtype=np.float32)
    with empty.writer() as w:
        w.insert("activations", {"rank": np.arange(50), "activations": matrix})
    got = empty.columns("SELECT activations FROM activations ORDER BY rank")["activations"]
    assert np.array_equal(np.stack(got), matrix)


def test_numbers_that_do_not_fit_are_refused(empty: Catalogue) -> None:
    with empty.writer() as w:
        for column, values in (("rank", [2**40]), ("rank", [1.5]), ("excerpt", np.array([2**63], np.uint64)), ("excerpt", ["x"])):
            with pytest.raises((OverflowError, ValueError)):
                w.insert("activations", {column: values})
        with pytest.raises(ValueError, match="no column 'nosuch'"):
            w.insert("runs", {"nosuch": ["1"]})
        with pytest.raises(ValueError, match="unequal"):
            w.insert("runs", {"id": ["1"], "model": ["a", "b"]})
    assert empty.read("SELECT count(*) FROM activations") == [(0,)]


def test_rows_that_are_there_are_left_out(empty: Catalogue) -> None:
    with empty.writer() as w:
        for _ in range(2):
            w.insert("scores", {"explanation": ["a", "a", "b"], "split": "test", "scorer": "correlation", "simulator": [None, None, "p"],
                                "value": [.1, .1, .2]}, ignore_existing=True)
    assert empty.read("SELECT explanation, value FROM scores ORDER BY 1") == [("a", .1), ("b", .2)]


def test_work_that_fails_takes_nothing_with_it(empty: Catalogue) -> None:
    with empty.writer() as w:
        gate = threading.Event()
        first = w.submit(lambda c: gate.wait(5))
        good = [w.submit(lambda c, i=i: c.execute("INSERT INTO runs (id) VALUES (?)", [str(i)]).fetchone()) for i in range(5)]
        bad = w.submit(lambda c: c.execute("INSERT INTO runs (id) VALUES ('bad'); SELECT error('no')"))
        more = w.submit(lambda c: c.execute("INSERT INTO runs (id) VALUES ('more')"))
        gate.set()
        for future in (first, *good, more):
            future.result(timeout=10)
        with pytest.raises(duckdb.Error, match="no"):
            bad.result(timeout=10)
        assert w.write(lambda c: c.execute("SELECT count(*) FROM runs").fetchone()) == (6,)
    assert {i for (i,) in empty.read("SELECT id FROM runs")} == {"0", "1", "2", "3", "4", "more"}
    Catalogue.open(empty.path)  # the ledger agrees


def test_commits_are_gathered(empty: Catalogue) -> None:
    before = int(empty.read("SELECT value FROM meta WHERE key = 'commit'")[0][0])
    with empty.writer() as w:
        for future in [w.submit(lambda c, i=i: c.execute("INSERT INTO runs (id) VALUES (?)", [str(i)])) for i in range(300)]:
            future.result()
    after = int(empty.read("SELECT value FROM meta WHERE key = 'commit'")[0][0])
    assert empty.read("SELECT count(*) FROM runs") == [(300,)] and after - before <= 20


def test_many_threads_write_the_same_keys_once(empty: Catalogue) -> None:
    with empty.writer() as w:
        def work() -> None:
            for i in range(5):
                w.insert("calls", {"digest": [f"{i}"], "role": "explain"}, ignore_existing=True)
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert empty.read("SELECT count(*), count(DISTINCT digest) FROM calls") == [(5, 5)]


def test_readings_nest(empty: Catalogue) -> None:
    with empty.reading() as outer:
        with empty.reading() as inner:
            assert inner is outer
        assert empty.read("SELECT count(*) FROM units") == outer.execute("SELECT count(*) FROM units").fetchall() == [(0,)]
    with pytest.raises(duckdb.ConnectionException):
        outer.execute("SELECT 1")
    with empty.writer() as writer:
        writer.insert("runs", {"id": "1"})
    assert empty.read("SELECT id FROM runs") == [("1",)]


def test_writers_nest_and_work_may_read(empty: Catalogue) -> None:
    with empty.writer() as a, empty.writer() as b:
        assert a is b
        assert a.write(lambda c: (b.insert("runs", {"id": "1"}), empty.read("SELECT count(*) FROM runs"))[1]) == [(1,)]
        assert b.delete("runs", "id = ?", ["1"]) == 1
    assert empty.read("SELECT count(*) FROM runs") == [(0,)]
    with pytest.raises(RuntimeError, match="closed"):
        a.insert("runs", {"id": "1"})


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_excerpts_come_in_hash_order_whatever_the_chunk(empty: Catalogue, chunk: int) -> None:
    rng = np.random.default_rng(1)
    n = 64 if chunk == 1 else 200
    ids, lengths = rng.permutation(10**6)[:n], rng.integers(1, 9, n)
    tokens = [rng.integers(0, 100, k).tolist() for k in lengths]
    with empty.writer() as w:
        w.insert("excerpts", {"corpus_id": "c", "id": ids, "document": ids * 2, "block": ids * 3, "split": ["test", "explain"] * (n // 2),
                              "start": 0, "n_tokens": lengths, "token_ids": tokens, "char_start": tokens, "char_end": tokens,
                              "text": [str(i) for i in ids]})
    seen = []
    for part in empty.excerpts("c", "test", chunk):
        assert len(part) <= chunk
        rows = [part.excerpt(i) for i in range(len(part))]
        assert not seen or min(r.id for r in rows) > max(r.id for r in seen)
        seen += rows
    want = {int(ids[i]): tokens[i] for i in range(0, n, 2)}
    assert {r.id: list(r.tokens) for r in seen} == want
    assert all(r.text == str(r.id) and r.document == 2 * r.id for r in seen)
    assert list(empty.excerpts("c", "select")) == [] and list(empty.excerpts("nosuch", "test")) == []


def test_neuron_and_labels(tmp_path: Path) -> None:
    catalogue = small(tmp_path / "x.duckdb")
    found = catalogue.neuron("3/0")
    assert found["unit"] == "org/m/3-mlp/0" and found["label"]["label"] == "words for a" and found["exemplars"][0]["token"] == " c😀"
    assert catalogue.neuron("org/m/3-mlp/-1")["label"]["verdict"] == "abstained"
    with pytest.raises(UnitError, match="no unit"):
        catalogue.neuron("3/77")
    with pytest.raises(UnitError, match="no model"):
        catalogue.neuron("other/3-mlp/0")
    labels = catalogue.labels("score > .1")
    assert [row["score"] for row in labels.dicts()] == [.4, .2]


def test_what_is_no_catalogue_is_said_so(tmp_path: Path) -> None:
    def message(name: str, content: bytes | None = None) -> str:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CatalogueError) as caught:
            Catalogue.open(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)
    assert "there is no catalogue" in message("missing.duckdb")
    assert "it is empty" in message("empty.duckdb", b"")
    assert "not a DuckDB file" in message("text.duckdb", b"hello world, this is text" * 100)
    assert "not a DuckDB file" in message("sqlite.duckdb", b"SQLite format 3\x00" + bytes(5000))
    message("short.duckdb", bytes(8) + b"DUCK")
    (tmp_path / "folder.duckdb").mkdir()
    assert "directory" in message("folder.duckdb").lower()
    duckdb.connect(str(tmp_path / "other.duckdb")).close()
    assert "autolabel did not make" in message("other.duckdb")
    with duckdb.connect(str(tmp_path / "meta.duckdb")) as c:
        c.execute("CREATE TABLE meta (key VARCHAR, value VARCHAR)")
    assert "autolabel did not make" in message("meta.duckdb")
    with pytest.raises(CatalogueError, match="no folder"):
        Catalogue.open(tmp_path / "no" / "x.duckdb", create=True)
    with pytest.raises(CatalogueError, match="not a DuckDB file"):
        Catalogue.open(tmp_path / "text.duckdb", create=True)


def test_a_newer_file_is_refused(empty: Catalogue) -> None:
    with duckdb.connect(str(empty.path)) as c:
        c.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        c.execute("UPDATE meta SET value = '7.2.0' WHERE key = 'needs'")
    with pytest.raises(CatalogueError, match=r"needs autolabel >= 7\.2\.0"):
        Catalogue.open(empty.path)


def test_missing_table_and_changed_rows_are_refused(empty: Catalogue) -> None:
    with duckdb.connect(str(empty.path)) as c:
        c.execute("INSERT INTO runs (id) VALUES ('1')")
    with pytest.raises(CatalogueError, match=r"the ledger says 0 rows, the file has 1 \(runs 0 against 1\)"):
        Catalogue.open(empty.path)
    with duckdb.connect(str(empty.path)) as c:
        c.execute("DROP TABLE bands")
    with pytest.raises(CatalogueError, match="table bands is missing"):
        Catalogue.open(empty.path)


@pytest.mark.parametrize("change", ["ALTER TABLE runs ADD COLUMN x INT", "CREATE OR REPLACE VIEW labels AS SELECT 1 AS unit", "CREATE MACRO len(x) AS 7"])
def test_a_changed_shape_is_refused(empty: Catalogue, change: str) -> None:
    with duckdb.connect(str(empty.path)) as c:
        c.execute(change)
    with pytest.raises(CatalogueError, match="not as autolabel makes it"):
        Catalogue.open(empty.path)


def test_changed_views_are_written_anew(empty: Catalogue) -> None:
    with duckdb.connect(str(empty.path)) as c:
        c.execute("DROP VIEW labels")
        c.execute("UPDATE meta SET value = 'older' WHERE key = 'views'")
    again = Catalogue.open(empty.path)
    assert again.read("SELECT * FROM labels") == []
    assert again.read("SELECT value FROM meta WHERE key = 'views'") == [(migrations.views_digest(),)]


def test_an_older_file_is_brought_forward_with_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "sql"
    old.mkdir()
    (old / "001_tables.sql").write_text((migrations.SQL / "001_tables.sql").read_text("utf-8"), "utf-8")
    (old / "views.sql").write_text("SELECT 1", "utf-8")  # views of today may need tables of today
    with monkeypatch.context() as m, duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        m.setattr(migrations, "STEPS", migrations.STEPS[:1])
        m.setattr(migrations, "SQL", old)
        migrations.create(connection)
        connection.execute("INSERT INTO type_means VALUES ('m', '0', '+', 1, 3, 'ab'::BLOB), ('m', '0', '+', 2, 4, 'cd'::BLOB)")
        connection.execute("INSERT INTO models (name, is_control) VALUES ('m', false), ('c', true)")
        connection.execute("INSERT INTO explanations (id, model, text, pattern, explainer) VALUES ('e', 'm', 'words', '{}', 'x'), ('f', 'm', '', NULL, 'x')")
        connection.execute("INSERT INTO choices (model, layer, neuron, explanation) VALUES ('m', '0', 1, 'e'), ('m', '0', 2, 'f'), ('m', '0', 3, NULL), ('c', '0', 4, 'e')")
    again = Catalogue.open(tmp_path / "x.duckdb")
    assert again.read("SELECT type, n, mean FROM type_means ORDER BY type") == [(1, 3, b"ab"), (2, 4, b"cd")]
    assert again.read("SELECT value FROM meta WHERE key = 'schema'") == [(str(migrations.SCHEMA),)]
    assert again.read("SELECT count(*) FROM audits") == [(0,)]
    assert again.read("SELECT neuron, label, pattern, explainer FROM labels ORDER BY neuron") == [(1, "words", "{}", "x"), (2, None, None, "x"), (3, None, None, None)]


def test_labels_that_ran_beyond_their_corpus_say_so_after_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "sql"
    shutil.copytree(migrations.SQL, old)
    (old / "views.sql").write_text("SELECT 1", "utf-8")
    with monkeypatch.context() as m, duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        m.setattr(migrations, "STEPS", migrations.STEPS[:9])
        m.setattr(migrations, "SQL", old)
        migrations.create(connection)
        connection.execute("INSERT INTO explanations (id, pattern) VALUES ('a', '{}'), ('b', NULL)")
        connection.execute("INSERT INTO t_validity (explanation, n) VALUES ('a', 1), ('b', 2)")
        connection.execute("INSERT INTO t_stale (explanation, n) VALUES ('a', 1), ('b', 2)")
    again = Catalogue.open(tmp_path / "x.duckdb")
    for table in ("t_validity", "t_stale"):
        assert again.read(f"SELECT explanation, n, simulator FROM {table} ORDER BY n") == [("a", 1, "pattern"), ("b", 2, None)]


def test_a_file_held_by_another_program_is_an_error_that_names_it(empty: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, subprocess, duckdb; c = duckdb.connect(sys.argv[1]); c.execute('BEGIN'); c.execute(\"INSERT INTO runs (id) VALUES ('1')\")\n" \
           "from autolabel.catalogue import Catalogue\n" \
           "p = subprocess.run([sys.executable, '-c', sys.argv[2], sys.argv[1]], capture_output=True, text=True); print(p.stderr)"
    inner = "import sys; from autolabel.catalogue import access; from pathlib import Path\nwith access.reading(Path(sys.argv[1]), patience=.2): pass"
    done = python(code, empty.path, inner)
    assert "LockedError" in done.stdout and "PID" in done.stdout


def test_threads_read_while_one_writes(empty: Catalogue) -> None:
    errors: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(10):
                empty.read("SELECT count(*) FROM runs")
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=read) for _ in range(3)]
    with empty.writer() as w:
        for thread in threads:
            thread.start()
        for i in range(10):
            w.insert("runs", {"id": str(i)})
        for thread in threads:
            thread.join()
    assert not errors


def test_a_leftover_of_a_removed_file_is_kept_aside(empty: Catalogue) -> None:
    access.beside(empty.path, ".ledger").write_text("{}")
    empty.path.unlink()
    access.beside(empty.path, ".wal").write_bytes(b"old log")
    Catalogue.open(empty.path, create=True)
    kept = {p.name.partition(".corrupt-")[0] for p in empty.path.parent.iterdir()}
    assert kept == {"x.duckdb", "x.duckdb.wal", "x.duckdb.ledger"} and not access.beside(empty.path, ".wal").exists()


def test_second_writer_of_this_process_is_refused(empty: Catalogue) -> None:
    with empty.writer(), pytest.raises(LockedError, match="process"), Catalogue.open(empty.path).writer():
        pass
