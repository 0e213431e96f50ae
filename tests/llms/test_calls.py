"""The whole stack on a real catalogue and a real server: nothing is paid for twice, nothing is lost, no key is written."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from autolabel.catalogue import Catalogue
from autolabel.catalogue.calls import CallStore
from autolabel.catalogue.checks import CHECKS, LEAKS, check
from autolabel.catalogue.memory import Memory
from autolabel.errors import AuthError, LLMError, RefusedError, StoppedError, TruncatedError
from autolabel.llms import answers, open_llm
from autolabel.llms.cached import Cached
from autolabel.llms.clock import Clock
from autolabel.llms.scripted import Scripted
from autolabel.llms.stack import Stack, stack
from autolabel.protocols import Message
from autolabel.types import Ask, Call, Completion, Usage
from tests.catalogue.making import small as small_catalogue
from tests.conftest import ROOT
from tests.llms.server import Fault, Server

KEY = "sk-canary-0123456789abcdef"
ASK = Ask("explain", max_tokens=20)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.open(tmp_path / "x.duckdb", create=True)


def said(text: object) -> list[Message]:
    return [{"role": "user", "content": str(text)}]


def made(server: Server, store: CallStore, **named: Any) -> Stack:
    return stack(open_llm("openai/test-model", server.url, timeout=5), store, **named)


def test_a_call_is_stored_with_all_that_it_was(catalogue: Catalogue) -> None:
    with Server(lambda body: "caf\u00e9 \x00 \U0001f600") as server:
        for _ in range(2):
            with CallStore(catalogue, "run-1", "corpus-1") as store:
                made_ = made(server, store)
                got = made_.llm.complete(said("what?"), Ask("revise", max_tokens=20, excerpts=(3, 5)))
                assert got.text == "caf\u00e9 \x00 \U0001f600" and got.call
                made_.close()
        assert sum(server.bodies.values()) == 1
        assert sorted(p.name for p in catalogue.path.parent.iterdir()) == ["x.duckdb"]
        digest, role, llm, request, n_in, n_out, reply, state, run = catalogue.read(
            "SELECT digest, role, llm, request, tokens_in, tokens_out, reply, state, run FROM calls")[0]
        assert (digest, role, llm, state, run) == (got.call, "revise", "openai/test-model", "done", "run-1")
        assert json.loads(request)["messages"] == said("what?") and json.loads(request)["address"] == server.url
        assert (n_in, n_out) == (got.usage.tokens_in, got.usage.tokens_out) and answers.completion(reply).text == got.text
        assert sorted(catalogue.read("FROM prompts_excerpts")) == [(digest, 3, "corpus-1"), (digest, 5, "corpus-1")]


@pytest.mark.parametrize(("fault", "state"), [
    (Fault("length"), "failed:truncated"), (Fault("refusal"), "failed:refused"), (Fault("filter"), "failed:refused"), (Fault("empty"), "failed:reply"),
    (Fault("cut"), "failed:server"), (Fault(500), "failed:server"), (Fault(400, "bad"), "failed:request"), (Fault(401), "failed:auth"),
    (Fault(429, code="insufficient_quota"), "failed:quota")])
def test_every_end_is_kept_with_the_raw_reply(catalogue: Catalogue, fault: Fault, state: str) -> None:
    with Server(fault=lambda n, body: fault) as server, CallStore(catalogue) as store:
        made_ = stack(open_llm("openai/test-model", server.url, timeout=5), store, clock=_Hasty())
        with pytest.raises(LLMError) as caught:
            made_.llm.complete(said("x"), ASK)
        made_.close()
        rows = catalogue.read("SELECT state, reply, tokens_in FROM calls ORDER BY rowid")
        attempts = {"failed:server": 6, "failed:truncated": 2, "failed:reply": 2}.get(state, 1)
        assert [row[0] for row in rows] == [state] * attempts and len(server.chats) == attempts
        assert all(row[1] for row in rows) and rows[-1][1] == caught.value.reply
        if state in ("failed:truncated", "failed:refused", "failed:reply"):
            assert all(row[2] for row in rows)  # what was paid for is counted
    before = len(server.chats)
    if state in ("failed:truncated", "failed:refused"):  # paid for: the next run knows how it ends
        with Server() as other, CallStore(catalogue) as store:
            again = stack(open_llm("openai/test-model", other.url, timeout=5), store)
            again.cached.address = server.url  # type: ignore[union-attr]
            with pytest.raises(TruncatedError if state == "failed:truncated" else RefusedError, match="stored"):
                again.llm.complete(said("x"), ASK)
            again.close()
            assert not other.chats and len(server.chats) == before


class _Hasty(Clock):
    """Does not sleep."""

    def sleep(self, seconds: float) -> None:
        self.check()


def test_a_run_done_again_makes_no_request_whatever_the_threads(catalogue: Catalogue) -> None:
    with Server(lambda body: body["messages"][0]["content"] + "!", latency=.01) as server:
        texts: list[list[str]] = []
        for threads in (16, 1, 7):
            with CallStore(catalogue) as store, ThreadPoolExecutor(threads) as pool:
                made_ = made(server, store)
                texts.append(list(pool.map(lambda i: made_.llm.complete(said(i), ASK).text, range(600))))  # noqa: B023
                assert made_.cached and (made_.cached.hits, made_.cached.asked) == ((0, 600) if threads == 16 else (600, 0))
                made_.close()
        assert texts[0] == texts[1] == texts[2] == [f"{i}!" for i in range(600)]
        assert sum(server.bodies.values()) == 600


def reread(catalogue: Catalogue, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()

    def answer(messages: Sequence[Message], ask: Ask) -> Completion:
        asked[messages[0]["content"]] += 1
        return answers.completion(answers.body_of(Completion(f"number {messages[0]['content']}", usage=Usage(9, 2))))

    def run() -> list[str]:
        with CallStore(catalogue) as store, ThreadPoolExecutor(64) as pool:
            llm = Cached(Scripted("scripted/f", answer), store)
            return list(pool.map(lambda i: llm.complete(said(i), ASK).text, range(n)))
    good = answers._text
    monkeypatch.setattr(answers, "_text", lambda content: str(good(content)).upper())  # a bug of ours
    assert run() == [f"NUMBER {i}" for i in range(n)]
    monkeypatch.setattr(answers, "_text", good)
    assert run() == [f"number {i}" for i in range(n)] and sum(asked.values()) == n


def test_a_mended_reader_reads_the_stored_replies(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    reread(catalogue, 1000, monkeypatch)


@pytest.mark.soak
def test_a_mended_reader_reads_10000_stored_replies(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    reread(catalogue, 10_000, monkeypatch)


# --- leaks


def test_a_planted_leak_is_found(tmp_path: Path) -> None:
    catalogue = small_catalogue(tmp_path / "x.duckdb")  # excerpts 10 (explain), 20 (select), 30 (test)

    def asked(role: Any, *excerpts: int) -> list[tuple[Any, ...]]:
        with CallStore(catalogue, corpus_id="c") as store:
            made_ = stack(Scripted("scripted/f", lambda m, a: "ok"), store)
            made_.llm.complete(said(f"{role} {excerpts}"), Ask(role, excerpts=excerpts))
        return [row[:1] + row[2:] for row in check(catalogue, LEAKS).rows]
    assert asked("explain", 10) == asked("revise", 10, 20) == asked("detect", 10, 20, 30) == asked("simulate", 30) == []
    assert asked("explain", 10, 20) == [("explain", "select", 20)]
    assert len(asked("explain", 30)) == 2 and len(asked("revise", 30)) == 3
    assert ("explain", "unknown", 99) in asked("explain", 99)
    assert LEAKS in CHECKS


# --- stopping


def test_stopping_settles_what_is_in_flight_and_sends_nothing_more(catalogue: Catalogue) -> None:
    with Server(latency=.3) as server, CallStore(catalogue) as store:
        made_ = made(server, store, most=8)
        ends: list[object] = []

        def one(i: int) -> None:
            try:
                ends.append(made_.llm.complete(said(i), ASK))
            except StoppedError as error:
                ends.append(error)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(30)]
        for thread in threads:
            thread.start()
        time.sleep(.15)
        began = time.monotonic()
        made_.stop()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 10
        answered = [e for e in ends if isinstance(e, Completion)]
        assert 1 <= len(answered) <= 8 and len(ends) == 30 and len(server.chats) == len(answered)
        made_.close()
    assert catalogue.read("SELECT count(*) FROM calls WHERE state = 'done'") == [(len(answered),)]


def test_a_budget_ends_a_run_and_a_larger_one_goes_on(catalogue: Catalogue, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nmodel = "test-*"\neffective_from = 2020-01-01\ninput = 1000.0\noutput = 1000.0\n')
    with Server(lambda body: "five words are in here") as server:
        with CallStore(catalogue) as store:
            made_ = made(server, store, budget=Decimal("0.2"), prices=prices)
            with pytest.raises(StoppedError, match=r"budget of \$0.2 ends here"):
                for i in range(25):
                    made_.llm.complete(said(i), ASK)
            first = made_.spent
            made_.close()
        assert 0 < len(server.chats) == first.calls < 25 and first.settled <= Decimal("0.2")
        assert catalogue.read("SELECT round(sum(cost_usd), 9) FROM calls")[0][0] == pytest.approx(float(first.settled))
        with CallStore(catalogue) as store:
            made_ = made(server, store, budget=Decimal(50), prices=prices)
            costs = [made_.llm.complete(said(i), ASK).cost_usd for i in range(25)]
            made_.close()
        assert len(server.chats) == 25 and all(costs) and made_.spent.calls == 25 - first.calls


def test_features_are_remembered_in_the_catalogue(catalogue: Catalogue) -> None:
    with Server(refuses={"max_tokens", "temperature"}) as server:
        for expected in (3, 4):
            llm = open_llm("openai/test-model", server.url, memory=Memory(catalogue))
            llm.complete(said("x"), ASK)
            assert len(server.chats) == expected
            llm.close()  # type: ignore[attr-defined]
    assert Catalogue.open(catalogue.path)


# --- keys

CANARY = """
import logging, pickle, sys
logging.basicConfig(level=logging.DEBUG)
from pathlib import Path
from autolabel.catalogue import Catalogue
from autolabel.catalogue.calls import CallStore
from autolabel.catalogue.export import export
from autolabel.catalogue.memory import Memory
from autolabel.errors import LLMError
from autolabel.llms import open_llm
from autolabel.llms.stack import stack
from autolabel.settings import resolve
from autolabel.types import Ask
url, bad = sys.argv[1:3]
catalogue = Catalogue.open("x.duckdb", create=True)
with CallStore(catalogue, "run") as store:
    made = stack(open_llm("openai/test-model", url, memory=Memory(catalogue), timeout=.3), store)
    for i in range(8):
        try:
            print(made.llm.complete([{"role": "user", "content": f"call {i}"}], Ask("explain", max_tokens=20)))
        except LLMError as error:
            logging.exception("a call failed")
            Path(f"error{i}.pickle").write_bytes(pickle.dumps((error, error.reply)))
    print(made, made.llm.inner.inner.inner.inner.inner.inner, made.llm.inner.inner.inner.inner.inner.inner.__dict__)
    Path("llm.pickle").write_bytes(pickle.dumps(made.llm.inner.inner.inner.inner.inner.inner))
    Path("settings.pickle").write_bytes(pickle.dumps(resolve()))
    made.close()
    refused = open_llm("openai/test-model", bad)
    export(catalogue.path, "SELECT * FROM calls", Path("calls.csv"), "csv")
    try:
        refused.complete([{"role": "user", "content": "x"}], Ask("explain"))
    except LLMError as error:
        raise RuntimeError("crash") from error
"""


def test_the_canary_key_is_in_no_byte_that_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    with Server(lambda body: f"I saw {KEY}", key=KEY) as server, Server(key="sk-another-key-than-ours") as bad:
        server.faults.extend([Fault("length"), Fault("stall", seconds=1), Fault(500, f"header was Bearer {KEY}"), Fault(400, f"what is {KEY}")])
        with_user = bad.url.replace("http://", "http://me:canary-password@")
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY}
        run = subprocess.run([sys.executable, "-c", CANARY, server.url, bad.url], cwd=folder, capture_output=True, env=environment, timeout=120)
        assert b"RuntimeError: crash" in run.stderr and b"AuthError" in run.stderr and b"I saw [key]" in run.stdout, run.stderr.decode()[-3000:]
        doctor = subprocess.run([sys.executable, "-m", "autolabel", "doctor", "--llm", "openai/test-model", "--base-url", with_user], cwd=folder,
                                capture_output=True, env=environment, timeout=120)
        assert doctor.returncode == 2 and b"Basic [key]" in doctor.stderr, doctor.stderr
        config = subprocess.run([sys.executable, "-m", "autolabel", "config"], cwd=folder, capture_output=True,
                                env=environment | {"AUTOLABEL_BASE_URL": with_user}, timeout=120)
        assert config.returncode == 0, config.stderr
    written = [run.stdout, run.stderr, doctor.stdout, doctor.stderr, config.stdout, *(p.read_bytes() for p in folder.rglob("*") if p.is_file())]
    assert len(written) > 8
    for part in (KEY, "canary-password", base64.b64encode(b"me:canary-password").decode()):
        assert sum(data.count(part.encode()) for data in written) == 0, [data[max(data.find(part.encode()) - 300, 0):][:400] for data in written if part.encode() in data]


# --- the command line


@pytest.mark.parametrize(("arguments", "environment", "words"), [
    (["openai/gpt-4o-mini"], {"OPENAI_API_KEY": ""}, "set OPENAI_API_KEY"),
    (["openai/test-model", "--base-url", "URL"], {}, "refuses the key from OPENAI_API_KEY"),
    (["openai/test-model", "--base-url", "http://127.0.0.1:9/v1"], {}, "cannot be reached"),
    (["openai/other", "--base-url", "URL"], {"OPENAI_API_KEY": "sk-the-servers-key"}, "has no model 'other'; it has test-model"),
])
def test_bad_set_ups_are_one_line_and_exit_code_2(arguments: list[str], environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    from autolabel.cli import main
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Server(key="sk-the-servers-key") as server, pytest.raises(SystemExit) as ended:
        main(["doctor", "--llm", *(server.url if a == "URL" else a for a in arguments)])
    shown = capsys.readouterr()
    assert ended.value.code == 2 and shown.out == "" and shown.err.count("\n") == 1 and words in shown.err, shown.err


def test_doctor_says_what_a_model_takes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from autolabel.cli import main
    with Server(lambda body: '{"answer": 7}', refuses={"max_tokens", "temperature", "stop"}, ignores={"logprobs"}, reports="o-something",
                lists_models=False) as server, pytest.raises(SystemExit) as ended:
        main(["doctor", "--llm", "openai/test-model", "--base-url", server.url, "--json"])
    assert ended.value.code == 0
    found = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["limit of the answer"]["detail"] == "max_completion_tokens" and found["temperature"]["detail"].startswith("refused")
    assert found["logprobs"]["detail"].startswith("ignored") and found["response_format"]["state"] == "ok" and "o-something" in found["answer"]["detail"]
    assert "not listed" in found["models"]["detail"] and "not known" in found["price"]["detail"]


assert AuthError and Call  # named in what the scripts above print
