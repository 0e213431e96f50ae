"""`transformers serve`, a server that nobody here wrote, with a small local model: what a user meets who points `--base-url` at one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import autolabel as al
from autolabel.cli.main import main
from autolabel.errors import ModelError, TruncatedError
from autolabel.llms import open_llm
from autolabel.types import Ask
from tests.conftest import MATERIAL
from tests.local_model import make_local

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}"  # of a model that was trained on plain stories
SMALL_PROMPT = ("-E", "top=2", "-E", "strata=0", "-E", "examples=0", "-E", "max_tokens=60")


@dataclass(frozen=True)
class Served:
    """A running server: its model's name (a folder), its base URL, the file that it writes its log to."""

    model: str
    url: str
    log: Path

    @property
    def answered(self) -> int:
        """Chat requests that ended with a 200."""
        return self.log.read_text("utf-8").count('"POST /v1/chat/completions HTTP/1.1" 200')


def model(folder: Path) -> Path:
    """A copy of the trained model where there is one, with a chat template; else one of random weights."""
    real = MATERIAL / "models" / "stories260K"
    if not real.is_dir():
        return make_local(folder / "made", chat=True)
    made = folder / "stories"
    made.mkdir()
    for file in real.iterdir():
        shutil.copyfile(file, made / file.name)
    settings = json.loads((made / "tokenizer_config.json").read_text("utf-8"))
    (made / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}), "utf-8")
    return made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    for package in ("fastapi", "uvicorn", "accelerate"):
        pytest.importorskip(package, reason="`transformers serve` needs it: install the extra `serving`")
    folder = tmp_path_factory.mktemp("serve")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name, log = str(model(folder)), folder / "log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "no-cache"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", name, "--host", "127.0.0.1", "--port", str(port),
               "--device", "cpu"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    try:
        limit = time.monotonic() + 120
        while not alive(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < limit, log.read_text("utf-8")
            time.sleep(0.2)
        yield Served(name, f"http://127.0.0.1:{port}/v1", log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
def test_doctor_tells_what_it_takes_and_what_it_passes_over(served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--llm", f"openai/{served.model}", "--base-url", served.url, "--json"])
    assert ended.value.code == 0
    found = {row["what"]: row["detail"] for row in json.loads(capsys.readouterr().out)}
    assert found["key"].startswith("none") and found["models"].startswith("not listed")  # it answers with a 500 where no hub cache is
    assert found["usage"] == "taken" and found["limit of the answer"] == "max_tokens" and found["system messages"] == "taken"
    if not found["answer"].startswith("the reply was cut"):  # its 200 says nothing of what it passed over; its reply does
        assert found["response_format"].startswith("ignored") and found["logprobs"].startswith("ignored")


@pytest.mark.slow
def test_answers_are_read_and_another_model_is_one_line(served: Served) -> None:
    llm = open_llm(f"openai/{served.model}", served.url)
    hello, ask = [{"role": "user", "content": "Once upon a time"}], Ask("probe", max_tokens=12)
    try:
        raw = llm.complete(hello, ask).raw
    except TruncatedError as error:
        raw = error.reply
        assert error.usage is not None and error.usage.tokens_out == 12 and error.usage.tokens_in > 3
    assert json.loads(raw)["model"] == f"{served.model}@main" and "logprobs" not in json.loads(raw)["choices"][0]
    with pytest.raises(ModelError, match="requested 'another'") as caught:
        open_llm("openai/another", served.url).complete(hello, ask)
    assert caught.value.fatal and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_counts_every_outcome_and_is_not_done_twice(served: Served, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "c.duckdb"
    shutil.copy(small, db)
    command = ["explain", "--explainer", "summary", *SMALL_PROMPT, "--llm", f"openai/{served.model}", "--base-url", served.url, "--units", "4/0-5",
               "--db", str(db), "--concurrency", "2", "--max-failures", "6"]
    before = served.answered
    for turn in (1, 2):
        with pytest.raises(SystemExit) as ended:
            main(command)
        said = capsys.readouterr().err
        assert ended.value.code == 0, said
        catalogue = al.open_catalogue(db)
        made = catalogue.read("SELECT count(DISTINCT neuron) FROM explanations WHERE explainer = 'summary'")[0][0]
        failed = catalogue.read("SELECT kind, reply FROM failures WHERE stage = 'explain'")
        calls = catalogue.read("SELECT digest, state, tokens_in, reply FROM calls")
        assert made + len(failed) == 6 and all(kind in ("reply", "truncated") and reply for kind, reply in failed)
        assert len(calls) == len({digest for digest, *_ in calls}) == served.answered - before >= 6
        assert all(state in ("done", "failed:truncated") and tokens > 0 and json.loads(reply)["choices"] for _, state, tokens, reply in calls)
        assert (": 0 calls," in said) == (turn == 2)  # a tiny model may fail six times; it is not asked again
