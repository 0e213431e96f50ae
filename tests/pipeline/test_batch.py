"""Calls through files: rounds end with the labels that a server would have given, and every call ends in one state."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from autolabel.errors import EndpointError, SettingsError
from autolabel.llms import open_llm
from autolabel.llms.batchfile import read_replies
from autolabel.llms.stack import stack
from autolabel.pipeline import batching, submitting
from autolabel.pipeline.asked import Access
from autolabel.pipeline.rounds import one_round
from autolabel.types import Ask
from tests.llms.server import Server
from tests.pipeline.test_reading import knows

UNITS = "4/0-3"
HOW: dict[str, Any] = {"explainers": ["summary"], "units": UNITS, "scorer_settings": {"start": "40", "cap": "40"}}
ACCESS = Access("openai/test-model")


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> al.Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


def answer(body: dict[str, Any]) -> str:
    """What the oracle says to a request as it goes over a wire or into a file."""
    text = body["messages"][-1]["content"]
    role = "simulate" if "[[0," in text else "explain"
    return knows(body["messages"], Ask(role))


def reply_line(request: dict[str, Any]) -> str:
    body = {"model": "m", "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": answer(request["body"])}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    return json.dumps({"id": "x", "custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None})


def rounds(catalogue: al.Catalogue, folder: Path, most: int = 8) -> int:
    """Write, have it answered in another order with every line twice, read; until nothing is open. How many rounds had questions."""
    for number in range(most):
        done = one_round(catalogue, folder / f"round-{number}.jsonl", ACCESS, **HOW)
        if not done.written.requests:
            return number
        requests = [json.loads(line) for line in (folder / f"round-{number}.jsonl").read_text().splitlines()]
        assert len(requests) == done.written.requests == len({r["custom_id"] for r in requests})
        lines = [reply_line(r) for r in requests] * 2
        random.Random(number).shuffle(lines)
        (folder / "replies.jsonl").write_text("\n".join([*lines[:3], "{broken", "", *lines[3:]]))
        taken = batching.read(catalogue, folder / "replies.jsonl")
        assert (taken.answered, taken.failed, taken.broken, taken.repeated) == (len(requests), 0, 1, len(requests))
        assert taken.first_broken == ("line 4: no JSON",)
    raise AssertionError("the rounds do not end")


def labels(catalogue: al.Catalogue) -> list[tuple[Any, ...]]:
    return catalogue.read("SELECT unit, label, simulator, select_score, test_score FROM candidates WHERE explainer = 'summary' ORDER BY unit, label")


def test_rounds_end_with_the_labels_of_a_server(catalogue: al.Catalogue, small: Path, tmp_path: Path) -> None:
    assert rounds(catalogue, tmp_path) == 3  # explain, simulate on select, simulate on test
    assert {line.open for line in batching.status(catalogue)} == {0} and sum(line.asked for line in batching.status(catalogue)) > 4
    shutil.copy(small, tmp_path / "online.duckdb")
    online = al.open_catalogue(tmp_path / "online.duckdb")
    with Server(answer) as server:
        made = stack(open_llm("openai/test-model", server.url))
        al.label(online, llm=made.llm, **HOW)
        made.close()
    assert labels(catalogue) == labels(online) and len(labels(catalogue)) == 4
    assert catalogue.read("SELECT count(*) FROM (SELECT digest FROM calls WHERE state = 'done' GROUP BY digest HAVING count(*) > 1)") == [(0,)]


def test_a_file_of_another_catalogue_and_bad_files_are_one_line(catalogue: al.Catalogue, tmp_path: Path) -> None:
    one_round(catalogue, tmp_path / "out.jsonl", ACCESS, **HOW)
    for text, message in (('{"custom_id": "0123", "text": "hello"}', "answers calls of another catalogue"), ("", "holds no reply"), ("nonsense", "no JSON")):
        (tmp_path / "in.jsonl").write_text(text)
        with pytest.raises(SettingsError, match=message):
            batching.read(catalogue, tmp_path / "in.jsonl")
    with pytest.raises(SettingsError, match="cannot read"):
        batching.read(catalogue, tmp_path / "missing.jsonl")


def test_every_call_ends_in_one_state(catalogue: al.Catalogue, tmp_path: Path) -> None:
    one_round(catalogue, tmp_path / "out.jsonl", ACCESS, **HOW)
    ids = [json.loads(line)["custom_id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(ids) == 4
    cut = {"choices": [{"finish_reason": "length", "message": {"content": "LABEL: wo"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    lines = [json.dumps({"custom_id": ids[0], "text": "LABEL: small words"}),
             json.dumps({"custom_id": ids[1], "response": {"status_code": 400, "body": {"error": {"message": "no"}}}, "error": None}),
             json.dumps({"custom_id": ids[2], "response": None, "error": {"code": "batch_expired", "message": "late"}}),
             json.dumps({"custom_id": ids[3], "response": {"status_code": 200, "body": cut}})]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    taken = batching.read(catalogue, tmp_path / "in.jsonl")
    assert (taken.answered, taken.failed, taken.open) == (1, 2, 1)
    again = batching.read(catalogue, tmp_path / "in.jsonl")
    assert (again.answered, again.failed, again.open, again.before) == (0, 0, 1, 3)
    done = one_round(catalogue, tmp_path / "next.jsonl", ACCESS, **HOW)
    asked = {json.loads(line)["custom_id"]: json.loads(line) for line in (tmp_path / "next.jsonl").read_text().splitlines()}
    assert ids[2] in asked and ids[0] not in asked and ids[1] not in asked and ids[3] not in asked
    longer = [a for a in asked.values() if a["body"]["max_tokens"] == 2 * 1024]
    assert len(longer) == 1  # what was cut is asked again with twice the limit
    assert done.count.failed == 1 and catalogue.read("SELECT kind FROM failures WHERE stage = 'explain'") == [("request",)]


def test_a_batch_is_handed_in_once_whatever_dies(catalogue: al.Catalogue, tmp_path: Path) -> None:
    one_round(catalogue, tmp_path / "out.jsonl", ACCESS, **HOW)
    with Server(answer) as server:
        access = Access("openai/test-model", base_url=server.url)
        one_round(catalogue, tmp_path / "out.jsonl", access, **HOW)

        def die(point: str) -> None:
            raise ConnectionResetError
        server.batch_fault = die  # the batch is made, and its reply never comes
        with pytest.raises(EndpointError):
            submitting.submit(catalogue, access)
        server.batch_fault = None
        assert len(server.batches) == 1 and catalogue.read("SELECT state FROM batches") == [("submitting",)]
        handed = submitting.submit(catalogue, access)
        assert len(server.batches) == 1 and [h.state for h in handed] == ["submitted"]
        assert submitting.submit(catalogue, access) == []
        found, came = submitting.fetch(catalogue, access)
        assert [b.state for b in found] == ["completed"] and sum(t.answered for t in came) == 4
        assert catalogue.read("SELECT count(*) FROM calls WHERE state = 'done'") == [(4,)]


def test_lines_that_are_no_replies_are_counted() -> None:
    read = read_replies(["[]", '{"custom_id": 3}', '{"custom_id": "a"}', '{"custom_id": "a", "text": "x"}', "x" * 10])
    assert (read.lines, read.n_broken, list(read.replies)) == (5, 4, ["a"])
