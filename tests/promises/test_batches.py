"""Batches: whatever comes back, each call ends in one state; whatever dies, no batch is handed in twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolabel.catalogue import Catalogue
from autolabel.errors import PendingError, SettingsError
from autolabel.llms.asking import ask_all
from autolabel.pipeline import batching, submitting
from autolabel.pipeline.asked import Access
from autolabel.types import Ask
from tests.catalogue.making import small
from tests.llms.server import Server
from tests.promises.killing import forking

Line = dict[str, Any]
N = 6  # calls in a file


def good(name: str, text: str = "fine", finish: str = "stop") -> Line:
    body = {"model": "m", "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    return {"id": "batch_req_1", "custom_id": name, "response": {"status_code": 200, "request_id": "r", "body": body}, "error": None}


def bad(name: str, status: int, message: str = "no") -> Line:
    return {"id": "batch_req_1", "custom_id": name, "response": {"status_code": status, "body": {"error": {"message": message}}}, "error": None}


def none(name: str, code: str) -> Line:
    return {"id": "batch_req_1", "custom_id": name, "response": None, "error": {"code": code, "message": "This request could not be executed."}}


def body(**changes: Any) -> Callable[[str], Line]:
    """A reply whose body is laid over."""
    def made(name: str) -> Line:
        line = good(name)
        line["response"]["body"] |= changes
        return line
    return made


def message(**changes: Any) -> Callable[[str], Line]:
    return lambda name: body(choices=[{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **changes}}])(name)


def files(one: Callable[[str], Any], *, others: bool = True) -> Callable[[list[str]], tuple[list[Any], list[Any]]]:
    """The output file: good lines, but what `one` makes of the first call."""
    return lambda ids: ([one(ids[0]), *([good(i) for i in ids[1:]] if others else [])], [])


# (output file, error file) of the ids; the state of the first call; the states of the others
FIXTURES: dict[str, tuple[Callable[[list[str]], tuple[list[Any], list[Any]]], str, str]] = {
    "in another order": (lambda ids: ([good(i) for i in reversed(ids)], []), "done", "done"),
    "twice, the same": (lambda ids: ([good(i) for i in [*ids, *ids]], []), "done", "done"),
    "twice, different": (lambda ids: ([good(ids[0], "one"), *map(good, ids[1:]), good(ids[0], "two")], []), "done", "done"),
    "missing": (lambda ids: ([good(i) for i in ids[1:]], []), "waiting", "done"),
    "all missing but one": (files(good, others=False), "done", "waiting"),
    "an error before the answer": (lambda ids: ([none(ids[0], "server_error"), *map(good, ids)], []), "done", "done"),
    "an answer and an error file that says otherwise": (lambda ids: ([good(i) for i in ids], [bad(ids[0], 500)]), "done", "done"),
    "expired": (lambda ids: ([good(i) for i in ids[1:]], [none(ids[0], "batch_expired")]), "waiting", "done"),
    "cancelled, all of them": (lambda ids: ([], [none(i, "batch_cancelled") for i in ids]), "waiting", "waiting"),
    "refused as it is": (lambda ids: ([good(i) for i in ids[1:]], [bad(ids[0], 400)]), "failed:request", "done"),
    "too many requests": (lambda ids: ([good(i) for i in ids[1:]], [bad(ids[0], 429)]), "waiting", "done"),
    "a server that failed": (lambda ids: ([good(i) for i in ids[1:]], [bad(ids[0], 503)]), "waiting", "done"),
    "cut at its limit": (files(lambda i: good(i, "fi", "length")), "failed:truncated", "done"),
    "filtered": (files(lambda i: good(i, "", "content_filter")), "failed:refused", "done"),
    "a refusal": (files(message(content=None, refusal="I cannot.")), "failed:refused", "done"),
    "no choice": (files(body(choices=[])), "failed:reply", "done"),
    "no text": (files(message(content=None)), "failed:reply", "done"),
    "an empty id": (lambda ids: ([good(""), *map(good, ids[1:])], []), "waiting", "done"),
    "an id of another catalogue": (lambda ids: ([good("0123456789abcdef"), *map(good, ids[1:])], []), "waiting", "done"),
    "an id that is a number, no JSON, a list, an answer that is cut off": (
        lambda ids: ([{**good(ids[0]), "custom_id": 7}, "{broken", [], json.dumps(good(ids[0]))[:-30], *map(good, ids[1:])], []), "waiting", "done"),
    "a person's own words": (files(lambda i: {"custom_id": i, "text": "fine"}), "done", "done"),
    "neither answer nor error": (files(lambda i: {"custom_id": i, "response": None, "error": None}), "waiting", "done"),
}


def asked(catalogue: Catalogue, address: str = "http://here/v1", n: int = N) -> list[str]:
    """Open calls; their digests in the order of asking."""
    with batching.batched(catalogue, "openai/test-model", address) as llm, pytest.raises(PendingError):
        ask_all(llm, [([{"role": "user", "content": f"call {i}"}], Ask("explain", max_tokens=20)) for i in range(n)], lambda i, said: None, 16)
    return [d for (d,) in catalogue.read("SELECT digest FROM calls WHERE state = 'waiting' ORDER BY rowid")]


def states(catalogue: Catalogue) -> dict[str, set[str]]:
    """The states that end a call, of each call; `waiting` where there is none."""
    found = catalogue.read(f"SELECT digest, list(DISTINCT state) FILTER (state IN {batching.ANSWERED}) FROM calls GROUP BY digest")
    return {digest: set(ended or ["waiting"]) for digest, ended in found}


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_each_call_ends_in_exactly_one_state_whatever_comes_back(tmp_path: Path) -> None:
    """All fixtures on one catalogue, each about its own calls."""
    assert len(FIXTURES) >= 20
    catalogue = small(tmp_path / "x.duckdb")
    ids = asked(catalogue, n=N * len(FIXTURES))
    expected: dict[str, set[str]] = {}
    everything = []
    for number, (name, (make, first, others)) in enumerate(FIXTURES.items()):
        mine = ids[number * N:(number + 1) * N]
        expected |= {i: {first if i == mine[0] else others} for i in mine}
        for lines in make(mine):
            if lines:
                taken = batching.read(catalogue, written(tmp_path / "in.jsonl", lines))
                assert taken.answered + taken.failed + taken.open + taken.before + taken.unknown + taken.repeated + taken.broken == len(lines) == taken.lines, name
                everything += lines
        found = states(catalogue)
        assert {i: found[i] for i in mine} == {i: expected[i] for i in mine}, name
    random.Random(0).shuffle(everything)
    taken = batching.read(catalogue, written(tmp_path / "in.jsonl", everything))  # nothing changes
    assert taken.answered == taken.failed == 0 and states(catalogue) == expected
    [line] = batching.status(catalogue)
    ends = Counter(next(iter(state)) for state in expected.values())
    assert (line.asked, line.answered, line.failed, line.open) == (len(ids), ends["done"], len(ids) - ends["done"] - ends["waiting"], ends["waiting"])
    again = batching.write(catalogue, tmp_path / "next.jsonl")
    left = [json.loads(text)["custom_id"] for text in (tmp_path / "next.jsonl").read_text().splitlines()]
    assert again.requests == ends["waiting"] and set(left) == {i for i, state in expected.items() if state == {"waiting"}}
    batching.read(catalogue, written(tmp_path / "in.jsonl", [good(i) for i in left]))
    assert all(len(ended) == 1 and "waiting" not in ended for ended in states(catalogue).values())
    with pytest.raises(SettingsError, match="line 1: no custom_id"):
        batching.read(catalogue, written(tmp_path / "in.jsonl", [good(""), "{"]))


# --- handing in


def hand_in(path: str, url: str, pid: str) -> None:
    """In the child: hand everything in; the server is told whom to kill."""
    Path(pid).write_text(str(os.getpid()))
    submitting.submit(Catalogue.open(path), Access("openai/test-model", base_url=url))


def handed_in_once(folder: Path, kills: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Kill after the POST, before it, and around it. How often the batch was there when the process died."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    rng, there = random.Random(seed), 0
    with Server(lambda body: "fine") as server:
        asked(small(folder / "asked.duckdb"), server.url, 3)

        def die(point: str) -> None:  # the batch is made, its reply has not been sent
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        for number in range(kills):
            shutil.copy(folder / "asked.duckdb", folder / f"{number}.duckdb")
            catalogue = Catalogue.open(folder / f"{number}.duckdb")
            before = set(server.batches)
            kind = ("after", "after", "some time")[number % 3]
            server.batch_fault = die if kind == "after" else None
            child = forking().Process(target=hand_in, args=(str(catalogue.path), server.url, str(folder / "pid")))
            child.start()
            if kind == "some time":
                child.join(rng.uniform(.02, .25))
                child.kill()
            child.join(60)
            server.batch_fault = None
            assert child.exitcode == -signal.SIGKILL or kind == "some time"
            made = set(server.batches) - before
            assert len(made) <= 1 and (made or kind != "after")
            there += child.exitcode == -signal.SIGKILL and bool(made)
            rows = catalogue.read("SELECT key, state FROM batches")
            assert len(rows) == 1 or not made  # the row was there before the provider knew
            assert not made or server.batches[next(iter(made))]["metadata"] == {"autolabel": rows[0][0]}
            access = Access("openai/test-model", base_url=server.url)
            submitting.submit(catalogue, access)
            assert len(set(server.batches) - before) == 1, kind
            assert submitting.submit(catalogue, access) == [] and catalogue.read("SELECT state FROM batches") == [("submitted",)]
            found, came = submitting.fetch(catalogue, access)
            assert [b.state for b in found] == ["completed"] and sum(t.answered for t in came) == 3
            assert all(ended == {"done"} for ended in states(catalogue).values())
    return there


@pytest.mark.slow
def test_a_kill_around_the_post_hands_nothing_in_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert handed_in_once(tmp_path, 5, 0, monkeypatch) >= 4


@pytest.mark.soak
def test_75_kills_of_which_50_after_the_post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = handed_in_once(tmp_path, 75, 1, monkeypatch)
    print(f"{there} of 75 kills came after the batch was made; second submissions: 0")
    assert there >= 50


def test_a_batch_that_failed_as_a_whole_is_handed_in_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    catalogue = small(tmp_path / "x.duckdb")
    with Server(lambda body: "fine") as server:
        ids = asked(catalogue, server.url)
        access = Access("openai/test-model", base_url=server.url)
        server.batch_lines = lambda lines, rng: ([], [none(line["custom_id"], "batch_expired") for line in lines])
        submitting.submit(catalogue, access)
        submitting.fetch(catalogue, access)
        assert set.union(*states(catalogue).values()) == {"waiting"}

        def half(lines: list[Line], rng: random.Random) -> tuple[list[Line], list[Line]]:
            rng.shuffle(lines)
            return [*lines[:3], *lines[:1]], [none(line["custom_id"], "batch_expired") for line in lines[3:5]]  # one is in neither
        server.batch_lines = half
        submitting.submit(catalogue, access)
        submitting.fetch(catalogue, access)
        assert Counter(next(iter(s)) for s in states(catalogue).values()) == {"done": 3, "waiting": 3}
        server.batch_lines = None
        submitting.submit(catalogue, access)
        submitting.fetch(catalogue, access)
        assert states(catalogue) == {i: {"done"} for i in ids} and len(server.batches) == 3
