"""A key that travels through every command, told again by the server in every reply and error: it is in no byte that is written."""

from __future__ import annotations

import base64
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from autolabel.catalogue import Catalogue
from tests.cli.test_commands import run
from tests.llms.server import Fault, Server
from tests.promises.test_misbehaving_server import label

KEY = "sk-canary-9876543210fedcba"
PASSWORD = "canary-password"


def everywhere(catalogue: Catalogue, text: str) -> list[tuple[str, str]]:
    """The columns whose values hold a text; the file itself is compressed."""
    with catalogue.reading() as connection:
        columns = connection.execute("SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables USING (table_name) "
                                     "WHERE data_type IN ('VARCHAR', 'JSON', 'VARCHAR[]') AND table_type = 'BASE TABLE'").fetchall()
        return [(table, column) for table, column in columns
                if connection.execute(f'SELECT 1 FROM {table} WHERE contains(CAST("{column}" AS VARCHAR), ?) LIMIT 1', [text]).fetchall()]


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["environment", pytest.param("file", marks=pytest.mark.soak)])
def test_the_key_is_in_nothing_that_any_command_writes(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
                                                       monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AUTOLABEL_LLM_TIMEOUT", "1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "key").write_text(KEY + "\n")
    if origin == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    shutil.copy(small, "c.duckdb")
    faults = [Fault(500, f"the header was Bearer {KEY}", retry_after="0"), Fault("stall", seconds=1.5), Fault("cut"), Fault(400, f"what is {KEY}?"), Fault("length"), Fault("refusal", f"not for {KEY}"),
              Fault(429, f"{KEY} is too fast", retry_after="0")]

    def answer(body: dict[str, Any]) -> str:
        return f"I saw {KEY}.\n{label(body)} and {KEY}"
    with caplog.at_level(logging.DEBUG), Server(answer, key=KEY, fault=lambda n, body: faults.pop(0) if faults else None) as server:
        url = server.url.replace("http://", f"http://me:{PASSWORD}@") if origin == "file" else server.url
        server.key = None if origin == "file" else KEY  # what is in the URL goes out in place of the key
        llm = ["--llm", "openai/test-model", "--base-url", url, *(["--key-file", str(tmp_path / "key")] if origin == "file" else [])]
        ran = [run(capsys, *command, "--db", "c.duckdb") for command in (
            ["explain", "--explainer", "summary", "--units", "4/0-5", "-v", "-v", *llm],
            ["plan", "label", "--explainer", "summary", "--units", "4/6", *llm[:4]], ["prompt", "show", "summary", "--unit", "4/1"],
            ["batch", "write", "out.jsonl", "--explainer", "summary", "--units", "4/6-7", *llm[:4]], ["batch", "submit", *llm], ["batch", "read", *llm], ["batch", "status"],
            ["export", "csv", "calls.csv", "--view", "SELECT * FROM calls"], ["export", "jsonl", "failures.jsonl", "--view", "failures"], ["snapshot", "copy.duckdb"],
            ["sql", "SELECT reply FROM calls"], ["sql", "SELECT * FROM failures"], ["show", "4/1"], ["stats"], ["check"], ["status"])]
        ran += [run(capsys, "doctor", *llm), run(capsys, "config")]
        server.key = "sk-another-key-than-ours"
        ran.append(run(capsys, "explain", "--explainer", "highlight", "--units", "4/0-1", "-v", *llm, "--db", "c.duckdb"))  # refused, with the key in the reason
    codes = [code for code, _, _ in ran]
    assert codes[0] in (0, 1) and set(codes[1:-1]) == {0} and codes[-1] == 2 and "refuses the key" in ran[-1][2], [(code, err[-300:]) for code, _, err in ran]
    catalogue = al.open_catalogue("c.duckdb")
    assert catalogue.read("SELECT count(*) > 0 FROM calls WHERE reply LIKE '%[key]%'") == [(True,)]  # it was told, and taken out
    written = [caplog.text.encode(), *(part.encode() for _, out, err in ran for part in (out, err)), *(p.read_bytes() for p in folder.rglob("*") if p.is_file())]
    assert len([p for p in folder.rglob("*")]) >= 5 and any(b"[key]" in data for data in written)
    for secret in (KEY, PASSWORD, base64.b64encode(f"me:{PASSWORD}".encode()).decode()):
        assert [data[max(data.find(secret.encode()) - 200, 0):][:400] for data in written if secret.encode() in data] == []
        assert everywhere(catalogue, secret) == []
