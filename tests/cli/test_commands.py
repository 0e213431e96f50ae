"""Every command as a user types it: what it prints, its exit code, and one clear line for every mistake."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autolabel.cli.common import clean
from autolabel.cli.main import main
from tests.conftest import heed_interrupts
from tests.pipeline.test_verbs import LABELS


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of one command in this process."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def test_sql_gives_the_documented_columns(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "sql", "SELECT * FROM labels LIMIT 3", "--db", str(small), "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 3 and list(rows[0]) == LABELS
    code, out, _ = run(capsys, "sql", "SELECT unit, label FROM labels ORDER BY score DESC NULLS LAST LIMIT 2", "--db", str(small), "--csv")
    table = list(csv.reader(io.StringIO(out)))
    assert code == 0 and table[0] == ["unit", "label"] and len(table) == 3


@pytest.mark.parametrize("query", ["DROP TABLE units", "INSERT INTO meta VALUES ('a', 'b')", "SELECT 1; SELECT 2", "COPY units TO 'x.csv'",
                                   "SELECT * FROM read_csv('/etc/passwd')", "SET memory_limit = '1TB'", "SELECT nosuch FROM labels", ""])
def test_sql_that_is_refused_is_one_line_and_exit_2(small: Path, capsys: pytest.CaptureFixture[str], query: str) -> None:
    code, out, err = run(capsys, "sql", query, "--db", str(small))
    assert code == 2 and not out and err.startswith("autolabel: ") and err.count("\n") == 1 and "Traceback" not in err


def test_show_is_a_card(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "4/7", "--db", str(small))
    assert code == 0 and "minilm/4-mlp/7" in out and "top excerpts" in out and "«" in out and "█" in out
    code, out, _ = run(capsys, "show", "4/7", "--db", str(small), "--json")
    card = json.loads(out)
    shown = card["excerpts"][0]
    start, end = shown["spans"][max(range(len(shown["activations"])), key=shown["activations"].__getitem__)]
    assert card["unit"] == "minilm/4-mlp/7" and max(shown["activations"]) == pytest.approx(shown["max_activation"]) and shown["text"][start:end]
    assert sum(n for *_, n in card["histogram"]) > 0


def test_stats_check_status_plugins_config_doctor(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "stats", "--db", str(small))
    assert code == 0 and "minilm~shuffled" in out and "Coverage against mean rho" in out
    code, out, _ = run(capsys, "check", "--db", str(small), "--json")
    assert code == 0 and {row["state"] for row in json.loads(out)} == {"holds"}
    for command, words in ((["status", "--db", str(small)], "run extract"), (["plugins"], "induce"), (["config"], "default"), (["doctor"], "torch")):
        code, out, _ = run(capsys, *command)
        assert code == 0 and words in out


def test_a_shared_document_is_found_by_check(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    import autolabel as al

    shutil.copy(small, tmp_path / "leak.duckdb")
    catalogue = al.open_catalogue(tmp_path / "leak.duckdb")
    with catalogue.writer() as writer:
        writer.write(lambda connection: connection.execute(
            "UPDATE t_excerpts SET split = 'test' WHERE id = (SELECT min(id) FROM t_excerpts WHERE split = 'explain')"))
    code, _, err = run(capsys, "check", "--db", str(tmp_path / "leak.duckdb"))
    assert code == 4 and "one_split" in err


def test_probe_and_search(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "probe", "They opened their umbrellas on Monday.", "--db", str(small), "--json")
    rows = json.loads(out)
    assert code == 0 and rows and all(row["of max"] > 0 and row["label"] and row["verdict"] for row in rows)
    assert rows[0]["token"].startswith("(whole text)") and {row["token"] for row in rows} & {"monday", "Monday", "They", "their"}
    mine = tmp_path / "mine.duckdb"  # a search stores vectors
    shutil.copy(small, mine)
    import autolabel as al

    catalogue = al.open_catalogue(mine)
    with catalogue.writer() as writer:
        writer.delete("choices", "neuron >= 300")  # embedding a label takes 20 ms
    code, out, _ = run(capsys, "search", "pronouns", "--db", str(mine), "--json", "--limit", "5", "--verdict", "confirmed", "--layer", "4")
    found = json.loads(out)
    assert code == 0 and len(found) == 5 and found == sorted(found, key=lambda r: -r["similarity"]) and {r["verdict"] for r in found} == {"confirmed"}
    assert "pronoun" in found[0]["label"] or {"she", "he", "they"} & set(found[0]["label"].replace(",", "").split())
    code, _, err = run(capsys, "search", "pronouns", "--db", str(mine), "--layer", "9")
    assert code == 2 and "it has the layers 4" in err
    code, out, _ = run(capsys, "search", "the", "--keyword", "--db", str(small), "--json")
    assert code == 0 and all("the" in row["label"].lower() for row in json.loads(out))


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_export_and_snapshot(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    import duckdb

    target = tmp_path / f"labels.{format}"
    code, _, err = run(capsys, "export", format, str(target), "--db", str(small))
    assert code == 0 and "1,536 rows" in err
    reader = {"parquet": "read_parquet", "csv": "read_csv", "jsonl": "read_json"}[format]
    assert duckdb.sql(f"SELECT count(*) FROM {reader}('{target}')").fetchall() == [(1536,)]
    code, _, _ = run(capsys, "snapshot", str(tmp_path / "copy.duckdb"), "--db", str(small))
    assert code == 0 and (tmp_path / "copy.duckdb").stat().st_size > 1_000_000


@pytest.mark.parametrize(("arguments", "words"), [
    (["show", "9/1"], "has the layers 4"), (["show", "4/99999"], "neurons 0 to 1535"), (["show", "what"], "cannot read"),
    (["explain", "--explainer", "nosuch"], "choose from constant, contrastive"), (["explain", "--units", "8"], "no layer 8"),
    (["score", "--unit", "4/1"], "needs both --unit and --label"), (["score", "--unit", "4/1", "--label", "x", "--pattern", "{"], "column"),
    (["score", "--scorer", "nosuch"], "no scorer is called"), (["explain", "-E", "words"], "is not key=value"),
    (["score", "--unit", "4/1", "--label", "x", "--scorer", "detection"], "--scorer detection is for the candidates"),
    (["score", "--unit", "4/1", "--label", "x", "--simulator", "nosuch"], "no simulator is called 'nosuch'"),
    (["plan", "label", "--nosuch"], "No such option"), (["prompt", "show", "structured"], "Missing option '--unit' (see `autolabel prompt show --help`)"),
])
def test_mistakes_are_one_line_and_exit_2(small: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, _, err = run(capsys, *arguments, "--db", str(small))
    assert code == 2 and words in err and err.startswith("autolabel: ") and err.count("\n") == 1


def test_what_is_no_catalogue_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.duckdb").write_text("not a database")
    for name in ("text.duckdb", "missing.duckdb"):
        code, _, err = run(capsys, "stats", "--db", str(tmp_path / name))
        assert code == 2 and name in err and err.count("\n") == 1


@pytest.mark.parametrize(("make", "words"), [
    (lambda p: None, "no.txt"), (lambda p: p.write_text(""), "empty"), (lambda p: p.write_bytes(b"a\0b" * 50), "binary"),
    (lambda p: p.write_bytes("caf\xe9 ".encode("latin-1") * 50), "UTF-8"), (lambda p: p.write_text("One short document."), "document"),
])
def test_bad_corpora_are_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object, words: str) -> None:
    file = tmp_path / "no.txt"
    make(file)  # type: ignore[operator]  # one of the functions above
    code, _, err = run(capsys, "extract", "demo", "-c", str(file), "--db", str(tmp_path / "c.duckdb"), "-q")
    assert code == 2 and words in err and "Traceback" not in err and err.count("\n") == 1


def test_bad_settings_and_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    db = str(tmp_path / "c.duckdb")
    for arguments, words in ((["extract", str(tmp_path / "model"), "-c", "demo"], "config.json"), (["extract", "demo", "-c", "demo", "--layers", "17"], "no layer 17: it has 0"),
                             (["extract", "demo", "-c", "demo", "--context", "4000"], "takes at most"), (["extract", "demo", "-c", "demo", "--site", "attn"], "no site 'attn'"),
                             (["extract", "demo", "-c", "demo", "--context", "2"], "context must be between")):
        code, _, err = run(capsys, *arguments, "--db", db, "-q")
        assert code == 2 and words in err and "Traceback" not in err


def test_a_second_writer_is_told_who_writes(small: Path, tmp_path: Path) -> None:
    import shutil

    import autolabel as al

    shutil.copy(small, tmp_path / "busy.duckdb")
    catalogue = al.open_catalogue(tmp_path / "busy.duckdb")
    with catalogue.writer():
        done = subprocess.run([sys.executable, "-m", "autolabel", "explain", "--explainer", "tokens", "-E", "words=3", "--units", "4/1", "--db",
                               str(catalogue.path), "-q"], capture_output=True, text=True)
        reader = subprocess.run([sys.executable, "-m", "autolabel", "sql", "SELECT count(*) FROM labels", "--db", str(catalogue.path)],
                                capture_output=True, text=True)
    assert done.returncode == 2 and str(os.getpid()) in done.stderr and done.stderr.count("\n") == 1
    assert reader.returncode == 0 and "1536" in reader.stdout


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "autolabel", "extract", "demo", "-c", "demo", "--db", str(tmp_path / "c.duckdb"), "-q"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    began = time.monotonic()
    while not (tmp_path / "c.duckdb").exists() and time.monotonic() - began < 60:
        time.sleep(0.1)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "run the same command again" in err and "Traceback" not in err


def test_terminal_escapes_are_removed() -> None:
    assert clean("a\x1b[31mb\x1b]0;title\x07c\u202ed\x00") == "abc\ufffdd\ufffd"


def test_prompt_show_prints_what_would_be_sent(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from autolabel.prompts import prompt_digest

    code, out, err = run(capsys, "prompt", "show", "structured", "--unit", "4/7", "--db", str(small))
    assert code == 0 and out.startswith("=== system ===") and "|10>>" in out and "22 excerpts" in err
    code, text, _ = run(capsys, "prompt", "show", "structured", "--unit", "4/7", "--db", str(small), "--json", "-E", "top=2", "-E", "strata=3")
    shown = json.loads(text)
    assert code == 0 and len(shown["excerpts"]) == 5 and shown["digest"] == prompt_digest(shown["messages"]) and shown["messages"][-1]["role"] == "user"
    import autolabel as al

    splits = al.open_catalogue(small).read("SELECT DISTINCT split FROM t_excerpts WHERE list_contains(?, id)", [shown["excerpts"]])
    assert splits == [("explain",)]
    for name, calls in (("detection", 4), ("digits", 1), ("fuzzing", 4)):
        code, text, _ = run(capsys, "prompt", "show", name, "--unit", "4/7", "--label", "words of water", "--db", str(small), "--json")
        shown = json.loads(text)
        assert code == 0 and '"words of water"' in shown["messages"][-1]["content"] and shown["calls"] >= calls
        assert al.open_catalogue(small).read("SELECT DISTINCT split FROM t_excerpts WHERE list_contains(?, id)", [shown["excerpts"]]) == [("select",)]
    code, out, _ = run(capsys, "prompt", "show", "digits", "--unit", "4/7", "--db", str(small))
    assert code == 0 and "Explanation: " in out  # the unit's own label
    (tmp_path / "structured.md").write_text("## user\n$excerpts $wrong", "utf-8")
    for arguments, words in ((["induce"], "asks no LLM"), (["nosuch"], "asks an LLM is called 'nosuch': choose from contrastive, detection, digits"), (["structured", "--prompts", str(tmp_path)], "unknown variable $wrong"),
                             (["structured", "--prompts", "missing"], "does not exist"), (["structured", "-E", "llm=x"], "no setting 'llm'"),
                             (["surprisal"], "write --llm local/"), (["correlation"], "asks no LLM"), (["digits", "-E", "x=1"], "no setting 'x'")):
        code, _, err = run(capsys, "prompt", "show", *arguments, "--unit", "4/7", "--db", str(small))
        assert code == 2 and words in err and err.count("\n") == 1
