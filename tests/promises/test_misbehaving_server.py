"""A server that misbehaves in every way that is known: what can be mended is, what cannot is a failure with the raw reply, counted once."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autolabel as al
from autolabel.catalogue import Catalogue
from autolabel.catalogue.calls import CallStore
from autolabel.catalogue.checks import check_all
from autolabel.errors import LLMError, TruncatedError
from autolabel.llms import clock, open_llm
from autolabel.llms.retrying import Retrying
from autolabel.llms.stack import stack
from autolabel.pipeline.asked import Access, asking
from autolabel.scorers.simulation import SimulationScorer
from autolabel.simulators.digits import DigitsSimulator
from autolabel.types import Ask, Explanation, Maker, Unit
from tests.llms.server import Answer, Fault, Server, digest
from tests.scorers.oracle import TRUE, Oracle, PlantedToy
from tests.scorers.scorer_world import World, world

PATTERN = {"any": [{"on": {"word": ["the", "of"]}}]}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")


@pytest.fixture
def catalogue(small: Path, tmp_path: Path) -> Catalogue:
    """A copy that may be written to."""
    shutil.copy(small, tmp_path / "copy.duckdb")
    return al.open_catalogue(tmp_path / "copy.duckdb")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoffs take no time."""
    monkeypatch.setattr(clock.Clock, "sleep", lambda self, seconds: self.check())


def label(body: dict[str, Any]) -> str:
    return f"LABEL: words of kind {sum(map(ord, body['messages'][-1]['content'])) % 997}"


def labels(catalogue: Catalogue) -> list[tuple[Any, ...]]:
    return catalogue.read("SELECT model, layer, neuron, text FROM explanations WHERE explainer = 'summary' ORDER BY ALL")


PASSING = [Fault(429, retry_after="0"), Fault(429), Fault(500), Fault(503), Fault(503, retry_after="0.1"), Fault("reset"), Fault("drop"), Fault("stall", seconds=3),
           Fault("cut"), Fault("empty"), Fault(408), Fault("length")]


def test_what_passes_is_asked_again_and_changes_nothing(catalogue: Catalogue, small: Path, tmp_path: Path) -> None:
    """Each unit's first request meets another fault."""
    first: dict[str, Fault] = {}

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        name = digest({"messages": body["messages"]})  # a reply that was cut is asked for again with another limit
        if name in first:
            return None
        first[name] = PASSING[len(first) % len(PASSING)]
        return first[name]
    with Server(label, fault=fault, reports="another-name-2026") as server, asking(catalogue, Access("openai/test-model", base_url=server.url, timeout=.6)) as made:
        count = al.explain(catalogue, "summary", units="4/0-11", llm=made.llm)
        assert (count.done, count.failed) == (12, 0) and len(first) == 12
    shutil.copy(small, tmp_path / "quiet.duckdb")
    quiet = al.open_catalogue(tmp_path / "quiet.duckdb")
    with Server(label) as server, asking(quiet, Access("openai/test-model", base_url=server.url)) as made:
        al.explain(quiet, "summary", units="4/0-11", llm=made.llm)
    assert labels(catalogue) == labels(quiet) and len(labels(catalogue)) == 12
    ends = Counter(state for (state,) in catalogue.read("SELECT state FROM calls"))
    # 500, 503 twice, reset, drop, stall, cut, 408; a 429 was not taken and is no call
    assert ends == {"done": 12, "failed:server": 8, "failed:reply": 1, "failed:truncated": 1}
    assert catalogue.read("SELECT count(*) FROM failures WHERE explainer = 'summary'") == [(0,)]


# how every call of one unit ends -> (kind, what the raw reply holds, requests)
LASTING: list[tuple[Fault | str, str, str, int]] = [
    (Fault(500, "disk on fire"), "server", "disk on fire", 6), (Fault(429, "slow down", retry_after="0"), "rate", "slow down", 6),
    (Fault("cut"), "server", '"choices"', 6), (Fault(400, "what is this"), "request", "what is this", 1), (Fault("refusal"), "refused", "I cannot help", 1),
    (Fault("filter"), "refused", "content_filter", 1), (Fault("length"), "truncated", '"length"', 2), (Fault("empty"), "reply", '"choices": []', 2),
    ("I would rather not say.", "reply", "I would rather not say.", 2),  # asked about once more, with the parser's message
    ('{"label": "a", "pattern": {"any": [{"on": {"regex": "(["}}]}}', "reply", '"(["', 2)]


@pytest.mark.slow
def test_every_way_in_which_a_call_can_end_is_a_failure_with_the_raw_reply(catalogue: Catalogue, hasty: None) -> None:
    turn: dict[str, int] = {}

    def at(body: dict[str, Any]) -> Fault | str | None:
        """By the question, whatever was said since and however long the answer may be."""
        question = digest({"q": [m for m in body["messages"] if m["role"] != "assistant"][:4]})
        number = turn.setdefault(question, len(turn))
        return LASTING[number][0] if number < len(LASTING) else None

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        return found if isinstance(found := at(body), Fault) else None

    def answer(body: dict[str, Any]) -> str:
        return found if isinstance(found := at(body), str) else json.dumps({"label": "small words", "pattern": PATTERN})
    n = len(LASTING) + 4
    with catalogue.writer() as writer:  # nothing else to choose from for these
        writer.delete("explanations", f"model = 'minilm' AND neuron < {n}")
    with Server(answer, fault=fault) as server, asking(catalogue, Access("openai/test-model", base_url=server.url, concurrency=1)) as made:
        count = al.label(catalogue, explainers=["structured"], units=f"4/0-{n - 1}", llm=made.llm, concurrency=1)
        assert len(server.chats) == sum(requests for *_, requests in LASTING) + 4
    assert count.failed == len(LASTING)
    found = catalogue.read("SELECT neuron, kind, reply FROM failures WHERE explainer = 'structured' AND stage = 'explain' ORDER BY neuron")
    assert [(neuron, kind) for neuron, kind, _ in found] == [(i, kind) for i, (_, kind, _, _) in enumerate(LASTING)]
    assert all(words in reply for (*_, reply), (_, _, words, _) in zip(found, LASTING, strict=True)), found
    assert {c.__name__ for c in LLMError.__subclasses__()} == {"EndpointError", "RateError", "AuthError", "QuotaError", "RequestError", "RefusedError",
                                                                "TruncatedError", "ReplyError"}  # a key and a quota end the run: see the bad inputs
    # they are attempted units without a score, in no mean, and each counted once
    rows = catalogue.read(f"SELECT verdict, score IS NULL, count(*) FROM labels WHERE neuron < {n} GROUP BY ALL")
    assert sum(c for v, none, c in rows if v == "failed" and none) == len(LASTING) and sum(c for _, _, c in rows) == n
    board = catalogue.read("SELECT units_attempted, coverage, mean_score FROM leaderboard WHERE explainer = 'structured' AND simulator = 'pattern'")
    [(scored, mean)] = catalogue.read("SELECT count(test_score), avg(test_score) FROM candidates WHERE explainer = 'structured'")
    assert board == [(n, pytest.approx(scored / n), pytest.approx(mean))] and scored <= 4
    assert [f.check.name for f in check_all(catalogue) if not f.holds] == []


SHAPES: list[dict[str, Any]] = [  # OpenAI, a reasoning model of vLLM's, Mistral or Anthropic behind a proxy, Gemini
    {"finish_reason": "length", "message": {"role": "assistant", "content": '{"label": "nu'}},
    {"finish_reason": "length", "stop_reason": None, "message": {"role": "assistant", "content": None, "reasoning": "Let me"}},
    {"finish_reason": "max_tokens", "message": {"role": "assistant", "content": [{"type": "text", "text": "LABEL: a"}]}},
    {"finish_reason": "MAX_TOKENS", "message": {"role": "assistant"}}]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("limit", "limits"), [(100, [100, 200]), (12_000, [12_000, 16_384]), (20_000, [20_000])])
def test_a_cut_reply_is_asked_for_once_more_with_twice_the_limit(tmp_path: Path, shape: dict[str, Any], limit: int, limits: list[int]) -> None:
    with Server(lambda body: Answer("x", extra={"choices": [{"index": 0, **shape}]})) as server, CallStore(Catalogue.open(tmp_path / "x.duckdb", create=True)) as store:
        made = stack(open_llm("openai/test-model", server.url), store)
        assert isinstance(made.llm, Retrying) and made.llm.ceiling == 16_384
        for _ in range(2):  # the second time it is known how it ends
            with pytest.raises(TruncatedError) as caught:
                made.llm.complete([{"role": "user", "content": "what?"}], Ask("explain", max_tokens=limit))
            assert caught.value.kind == "truncated"
        made.close()
        sent = list(server.by_digest.values())
        assert [b["max_tokens"] for b in sent] == limits and len(server.chats) == len(limits) and len({json.dumps(b["messages"]) for b in sent}) == 1
        rows = store.catalogue.read("SELECT state, reply FROM calls")
    assert [state for state, _ in rows] == ["failed:truncated"] * len(limits) and all(json.loads(r)["choices"][0]["finish_reason"] == shape["finish_reason"] for _, r in rows)


# --- numbers for tokens


@pytest.fixture(scope="module")
def toy() -> World:
    return world(PlantedToy(), documents=(80, 60, 60))


def simulated(toy: World, spoil: Callable[[list[Any]], Any], around: str = "{}", **how: Any) -> Any:
    def answer(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]  # the system's text may stand in front of it
        said = json.loads(Oracle().complete([{"role": "user", "content": text[text.rindex("Explanation: "):]}], Ask("simulate")).text)["activations"]
        return around.replace("{}", json.dumps({"activations": spoil(said)}))
    with Server(answer, **how) as server:
        made = stack(open_llm("openai/test-model", server.url))
        [score] = SimulationScorer(simulator=DigitsSimulator(llm=made.llm, threads=8), start=40, cap=40).score(
            [Explanation(Unit("toy", "0", "mlp", 0), TRUE, None, Maker("test"))], toy.test)
        made.close()
        return score, server


def test_wrong_counts_and_values_are_missing_and_never_zero(toy: World) -> None:
    whole, server = simulated(toy, lambda said: said)
    tokens = sum(len(json.loads(b["messages"][-1]["content"].split("Tokens: ")[-1])) for b in server.by_digest.values())
    assert whole.value > .9 and whole.extra["missing_tokens"] == 0 and whole.n == len(server.by_digest) >= 20
    short, _ = simulated(toy, lambda said: said[:-2])
    assert short.extra["missing_tokens"] == 2 * whole.n and short.value > .9 and short.extra["failed"] == 0
    more, _ = simulated(toy, lambda said: [*said, [len(said), "more", 3], [0, "another token", 9]])
    assert more.extra["missing_tokens"] == 0 and more.value == whole.value
    wild, _ = simulated(toy, lambda said: [[i, t, [42, -1, "nine", None, 1e400, True][i]] if i < 6 else [i, t, v] for i, t, v in said])
    assert wild.extra["missing_tokens"] == 6 * whole.n
    shifted, _ = simulated(toy, lambda said: [[i, said[(i + 1) % len(said)][1], v] for i, _, v in said])  # aligned by number and checked token by token
    assert shifted.value is None or shifted.extra["missing_tokens"] > .8 * tokens
    nothing, _ = simulated(toy, lambda said: [])
    assert nothing.value is None and "could be simulated: reply: " in nothing.reason and nothing.extra["failed"] >= 20


def test_labels_that_no_judge_could_score_are_failures(catalogue: Catalogue, hasty: None) -> None:
    with Server(lambda body: "yes, all of them", fault=lambda n, body: Fault(400, "what is this") if n % 8 == 7 else None) as server:
        with asking(catalogue, Access("openai/test-model", base_url=server.url)) as made:
            count = al.score(catalogue, scorer="detection", llm=made.llm, units="4/1")
        assert count.done == 0 and count.failed == count.asked > 2
        found = catalogue.read("SELECT unit, explainer, kind, reply FROM failures WHERE stage = 'score: detection'")
        assert len(found) == count.failed and {kind for _, _, kind, _ in found} <= {"reply", "request"}
        assert all("yes, all of them" in reply or "what is this" in reply for *_, reply in found)
        server.fault, server.answer = None, lambda body: json.dumps({"answers": [[k, k % 2] for k in range(1, 6)]})
        with asking(catalogue, Access("openai/test-model", base_url=server.url.replace("127.0.0.1", "localhost"))) as made:  # another address, another answer
            mended = al.score(catalogue, scorer="detection", llm=made.llm, units="4/1")
    assert (mended.done, mended.failed) == (count.asked, 0) and catalogue.read("SELECT count(*) FROM failures") == [(0,)]


def test_words_around_the_numbers_another_name_and_no_logprobs_change_nothing(toy: World) -> None:
    whole, _ = simulated(toy, lambda said: said)
    for how in ({"around": "Let me think: [[0, 1]] {x}.\n```json\n{}\n```\nThese are the levels."}, {"reports": "another-model"}, {"ignores": {"logprobs", "response_format"}},
                {"refuses": {"logprobs", "response_format", "temperature", "max_tokens", "seed", "stop", "system"}}):
        score, _ = simulated(toy, lambda said: said, **how)
        assert (score.value, score.low, score.high, score.n, score.extra["missing_tokens"]) == (whole.value, whole.low, whole.high, whole.n, 0), how
