"""Each wrapper by itself, on virtual time where there is waiting."""

from __future__ import annotations

import datetime
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from autolabel.errors import (
    AuthError,
    AutolabelError,
    BudgetError,
    EndpointError,
    LLMError,
    QuotaError,
    RateError,
    RefusedError,
    ReplyError,
    RequestError,
    SetupError,
    StoppedError,
    TruncatedError,
)
from autolabel.llms import answers
from autolabel.llms.cached import Cached, request_of
from autolabel.llms.clock import Clock
from autolabel.llms.limited import Limited
from autolabel.llms.metered import Meter, Metered
from autolabel.llms.prices import Price
from autolabel.llms.retrying import Retrying
from autolabel.llms.scripted import Scripted
from autolabel.llms.stack import stack
from autolabel.protocols import Message
from autolabel.types import Ask, Call, Completion, Usage
from tests.llms.virtual import Virtual

ASK = Ask("explain", max_tokens=100)


def said(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def scripted(function: Callable[[Sequence[Message], Ask], str | Completion]) -> Scripted:
    return Scripted("scripted/test", function)


class Kept(dict[str, Call]):
    """A store in memory; counts what it is asked."""

    def put(self, call: Call) -> None:
        if call.state in ("done", "failed:truncated", "failed:refused"):
            self[call.digest] = call


class Failing:
    """Raises what it is given, in turn, then answers; notes when it was asked and for how many tokens."""

    def __init__(self, errors: Sequence[LLMError], clock: Clock) -> None:
        self.errors, self.clock = list(errors), clock
        self.times: list[float] = []
        self.asks: list[Ask] = []

    def __call__(self, messages: Sequence[Message], ask: Ask) -> str:
        self.times.append(self.clock.now())
        self.asks.append(ask)
        if self.errors:
            raise self.errors.pop(0)
        return "ok"


# --- Retrying


def retried(errors: Sequence[LLMError]) -> tuple[Failing, Any]:
    clock = Virtual()
    inner = Failing(errors, clock)
    return inner, clock.run(lambda m: Retrying(scripted(inner), clock).complete(m, ASK), [said("x")], 1)[0]


@pytest.mark.parametrize(("error", "attempts"), [
    (EndpointError("500"), 6), (RateError("429"), 6), (ReplyError("empty"), 2), (QuotaError("gone"), 1), (AuthError("no"), 1), (RequestError("bad"), 1),
    (RefusedError("no"), 1), (TruncatedError("cut"), 2)])
def test_each_kind_is_tried_as_often_as_it_can_help(error: LLMError, attempts: int) -> None:
    inner, end = retried([error] * 20)
    assert end is error and len(inner.times) == attempts
    inner, end = retried([error] * (attempts - 1))
    assert end.text == "ok"


def test_backoff_doubles_with_jitter() -> None:
    waits = []
    for i in range(50):
        clock = Virtual()
        inner = Failing([EndpointError("500")] * 5, clock)
        clock.run(lambda m, inner=inner, clock=clock: Retrying(scripted(inner), clock).complete(m, ASK), [said(str(i))], 1)
        waits.append([b - a for a, b in pairwise(inner.times)])
    for k in range(5):
        column = [w[k] for w in waits]
        assert all(.25 * 2 ** k <= w <= .75 * 2 ** k for w in column) and max(column) > 1.5 * min(column)


def test_retry_after_is_a_floor_and_the_deadline_an_end() -> None:
    inner, end = retried([RateError("429", retry_after=30.0)] * 3)
    assert end.text == "ok" and all(30 <= b - a <= 30 + 15 + 60 for a, b in pairwise(inner.times))
    inner, end = retried([RateError("429", retry_after=5000.0)] * 3)
    assert isinstance(end, RateError) and len(inner.times) == 1


def test_a_cut_reply_is_asked_again_once_with_twice_the_limit_and_the_same_prompt() -> None:
    prompts = []

    def cut(messages: Sequence[Message], ask: Ask) -> str:
        prompts.append((messages, ask.max_tokens))
        raise TruncatedError("cut")
    with pytest.raises(TruncatedError):
        Retrying(scripted(cut)).complete(said("x"), ASK)
    assert prompts == [(said("x"), 100), (said("x"), 200)]
    prompts.clear()
    with pytest.raises(TruncatedError):
        Retrying(scripted(cut), ceiling=100).complete(said("x"), ASK)
    assert len(prompts) == 1


# --- Limited


class RateLimited:
    """A server that takes `limit` requests in any 60 seconds, each of `latency` seconds, and says when to come again."""

    def __init__(self, clock: Virtual, limit: int, retry_after: float | None, latency: float = .5) -> None:
        self.clock, self.limit, self.retry_after, self.latency = clock, limit, retry_after, latency
        self.taken: list[float] = []
        self.log: list[tuple[float, bool]] = []  # (arrival, refused)
        self.inside = 0  # requests inside a cool-down
        self.cool_until = -1.0
        self.lock = threading.Lock()

    def __call__(self, messages: Sequence[Message], ask: Ask) -> str:
        now = self.clock.now()
        with self.lock:
            self.inside += now < self.cool_until
            self.taken = [t for t in self.taken if t > now - 60]
            refused = len(self.taken) >= self.limit
            self.log.append((now, refused))
            if not refused:
                self.taken.append(now)
        self.clock.sleep(self.latency if not refused else .05)
        if refused:
            with self.lock:
                self.cool_until = max(self.cool_until, self.clock.now() + (self.retry_after or 0))
            raise RateError("429", retry_after=self.retry_after)
        return "ok"


@pytest.mark.parametrize("retry_after", [5.0, None])
def test_a_storm_of_429s(retry_after: float | None) -> None:
    clock = Virtual()
    server = RateLimited(clock, 50, retry_after)
    told: list[str] = []
    llm = Retrying(Limited(scripted(server), clock, say=told.append, wall=lambda: 1_700_000_000 + clock.now()), clock, attempts=50, deadline=1e9)
    results = clock.run(lambda i: llm.complete(said(str(i)), ASK).text, range(500), 64)
    assert results == ["ok"] * 500
    # in flight together when the first 429 came: those had been sent before the cool-down was known
    first = min(t for t, refused in server.log if refused) + .05
    late = [t for t, refused in server.log if t > first + .5]
    assert late and server.inside == 0
    after_a_minute = [(t, r) for t, r in server.log if t > 60]
    assert sum(r for _, r in after_a_minute) <= .05 * len(after_a_minute), f"{sum(r for _, r in after_a_minute)} of {len(after_a_minute)}"
    assert clock.now() < 500 / 50 * 60 * 1.35, clock.now()  # and it is not slow: ten minutes are the least
    assert told and all("waiting until" in line and line.endswith("(429)") for line in told)


def test_waits_are_spread() -> None:
    """64 calls that are refused at once do not come back at once."""
    clock = Virtual()
    came: list[float] = []

    def refuse(messages: Sequence[Message], ask: Ask) -> str:
        came.append(clock.now())
        if len(came) <= 64:
            clock.sleep(.1)
            raise RateError("429", retry_after=5.0)
        return "ok"
    llm = Retrying(scripted(refuse), clock)
    clock.run(lambda i: llm.complete(said(str(i)), ASK), range(64), 64)
    back = sorted(t - came[0] - .1 for t in came[64:])
    assert len(back) == 64 and back[0] >= 5
    assert max(sum(t <= u < t + .05 for u in back) for t in back) <= .1 * 64, back


def test_concurrency_halves_on_429_and_grows_again() -> None:
    clock = Virtual()
    refuse = False

    def answer(messages: Sequence[Message], ask: Ask) -> str:
        clock.sleep(1.0)
        if refuse:
            raise RateError("429", retry_after=1.0)
        return "ok"
    limited = Limited(scripted(answer), clock, most=32, first=4, say=lambda text: None)
    clock.run(lambda i: limited.complete(said(str(i)), ASK), range(100), 40)
    assert limited.limit == 32  # doubled per round until the most that is allowed
    refuse = True
    clock.run(lambda i: limited.complete(said(str(i)), ASK), range(32), 32)
    assert limited.limit == 16  # one cut for one round
    refuse = False
    limited.pace = 1e6
    clock.run(lambda i: limited.complete(said(str(i)), ASK), range(16), 16)
    assert 16.5 < limited.limit <= 17.1


@pytest.mark.parametrize("given", [{"requests_per_minute": 30}, {"tokens_per_minute": 30 * 120}])
def test_limits_per_minute_hold(given: dict[str, float]) -> None:
    clock = Virtual()
    times: list[float] = []

    def answer(messages: Sequence[Message], ask: Ask) -> Completion:
        times.append(clock.now())
        clock.sleep(.2)
        return Completion("ok", usage=Usage(20, 100))
    limited = Limited(scripted(answer), clock, **given)  # type: ignore[arg-type]
    clock.run(lambda i: limited.complete(said("x" * 80), ASK), range(100), 16)
    assert max(sum(t <= u < t + 60 for u in times) for t in times) == 30
    assert clock.now() < 200


def test_a_busy_server_is_left_alone_by_all() -> None:
    clock = Virtual()
    times: list[float] = []
    told: list[str] = []

    def answer(messages: Sequence[Message], ask: Ask) -> str:
        times.append(clock.now())
        if len(times) == 1:
            raise EndpointError("503", retry_after=20.0)
        clock.sleep(.1)
        return "ok"
    limited = Limited(scripted(answer), clock, say=told.append)
    clock.run(lambda i: limited.complete(said(str(i)), ASK), range(20), 1)
    assert len(times) == 20 and times[1] >= 20 and told[0].endswith("(the server is busy)")


def test_a_limit_per_day_stops_the_run() -> None:
    clock = Virtual()
    inner = Failing([RateError("429", retry_after=40_000.0)], clock)
    made = stack(scripted(inner), clock=clock)
    ends = clock.run(lambda i: made.llm.complete(said(str(i)), ASK), range(5), 1)
    assert len(inner.times) == 1 and all(isinstance(e, StoppedError) and "no more requests until 20" in str(e) for e in ends[1:]) and clock.now() < 1


def test_stopping_wakes_all_who_wait() -> None:
    clock = Clock()
    limited = Limited(scripted(lambda m, a: "ok"), clock, say=lambda text: None)
    limited._cool_until = clock.now() + 1000
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            limited.complete(said("x"), ASK)
        except AutolabelError as error:
            ended.append(error)
    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    clock.stop()
    for thread in threads:
        thread.join(5)
    assert [type(e) for e in ended] == [StoppedError] * 8


# --- Metered

PRICE = Price("m", "*", datetime.date(2020, 1, 1), Decimal(1), Decimal(2), Decimal("0.5"), Decimal(1))


def capped(seed: int, threads: int) -> None:
    """Random costs and latencies, random ends: settled + reserved + doubt never pass the cap; what stops stops with StoppedError."""
    rng = random.Random(seed)
    clock = Virtual()
    lock = threading.Lock()
    true = Decimal(0)

    def answer(messages: Sequence[Message], ask: Ask) -> Completion:
        nonlocal true
        with lock:
            latency, share, end = rng.uniform(.1, 3), rng.random(), rng.random()
        clock.sleep(latency)
        usage = Usage(max(int(len(messages[0]["content"]) * share), 1), int(ask.max_tokens * share))
        if end < .1:
            raise EndpointError("503", sent=False)
        with lock:
            true += PRICE.cost(usage)  # the bill goes on whatever we are told
        if end < .2:
            raise EndpointError("reset")
        if end < .3:
            return Completion("ok")  # no usage
        if end < .4:
            raise TruncatedError("cut", usage=usage)
        return Completion("ok", usage=usage)
    meter = Meter(Decimal("1.00"), clock)
    watched: list[Decimal] = []
    settle = meter.settle

    def watch(*arguments: Any) -> None:
        watched.append(meter.spent.settled + meter.spent.reserved + meter.spent.doubt)
        settle(*arguments)
        watched.append(meter.spent.settled + meter.spent.reserved + meter.spent.doubt)
    meter.settle = watch  # type: ignore[method-assign]
    llm = Metered(scripted(answer), meter, PRICE)
    results = clock.run(lambda i: llm.complete(said("x" * (20_000 + 100 * i)), replace(ASK, max_tokens=5000)), range(150), threads)
    spent = meter.spent
    assert max(watched) <= 1 and true <= spent.settled + spent.doubt <= 1 and spent.reserved == 0
    stopped = [r for r in results if isinstance(r, StoppedError)]
    assert stopped and stopped[0].exit_code == 3 and "ends here" in str(stopped[0])
    assert {type(r) for r in results} <= {BudgetError, EndpointError, TruncatedError, Completion}


def test_the_cap_is_never_passed_in_100_runs() -> None:
    for seed in range(100):
        capped(seed, 64)


@pytest.mark.soak
def test_the_cap_is_never_passed_in_1000_runs() -> None:
    for seed in range(1000):
        capped(seed, 64)


def test_a_budget_needs_a_price() -> None:
    llm = Scripted("openai/unheard-of", lambda m, a: "ok")
    with pytest.raises(SetupError, match="no price is known for openai/unheard-of"):
        stack(llm, budget=Decimal(1))
    assert stack(llm).llm.complete(said("x"), ASK).cost_usd is None
    assert stack(Scripted("scripted/f", lambda m, a: "ok"), budget=Decimal(1)).llm.complete(said("x"), ASK).cost_usd == 0


def test_two_models_share_a_purse() -> None:
    meter = Meter(Decimal("0.001"))
    llms = [Metered(scripted(lambda m, a: Completion("ok", usage=Usage(500, 0))), meter, PRICE) for _ in range(2)]
    llms[0].complete(said("x" * 600), replace(ASK, max_tokens=1))
    with pytest.raises(StoppedError):
        llms[1].complete(said("x" * 600), replace(ASK, max_tokens=1))


# --- Cached


def test_the_digest_knows_all_that_matters() -> None:
    base = {"name": "openai/m", "address": "http://a/v1", "messages": said("x")}
    asks = [ASK, replace(ASK, temperature=.5), replace(ASK, seed=1), replace(ASK, max_tokens=101), replace(ASK, logprobs=1),
            replace(ASK, schema={"type": "object", "a": 1}), replace(ASK, sample=1), replace(ASK, stop=("x",)), replace(ASK, role="detect")]
    digests = {request_of(ask=ask, **base)[0] for ask in asks}  # type: ignore[arg-type]
    digests |= {request_of(ask=ASK, **{**base, key: value})[0] for key, value in  # type: ignore[arg-type]
                {"name": "openai/n", "address": "http://b/v1", "messages": said("y")}.items()}
    assert len(digests) == 12
    assert request_of(ask=replace(ASK, schema={"a": 1, "type": "object"}), **base) == request_of(ask=asks[5], **base)  # type: ignore[arg-type]
    turned: list[Message] = [{"content": "x", "role": "user"}]
    assert request_of("openai/m", "http://a/v1", turned, ASK)[0] == request_of(ask=ASK, **base)[0]  # type: ignore[arg-type]
    assert request_of(ask=replace(ASK, excerpts=(1, 2)), **base) == request_of(ask=ASK, **base)  # type: ignore[arg-type]


def test_equal_calls_at_the_same_time_are_one() -> None:
    asked: Counter[str] = Counter()

    def answer(messages: Sequence[Message], ask: Ask) -> str:
        asked[messages[0]["content"]] += 1
        time.sleep(.2)
        return "answer to " + messages[0]["content"]
    real = Cached(scripted(answer), Kept())
    pool = [threading.Thread(target=lambda i=i: real.complete(said(str(i % 3)), ASK)) for i in range(24)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert asked == {"0": 1, "1": 1, "2": 1} and not real._flying
    assert real.complete(said("1"), ASK).text == "answer to 1" and asked["1"] == 1


def test_failures_reach_all_who_wait_and_are_not_kept() -> None:
    fail = [EndpointError("503")]

    def answer(messages: Sequence[Message], ask: Ask) -> str:
        if fail:
            raise fail[0]
        return "ok"
    llm = Cached(scripted(answer), Kept())
    with pytest.raises(EndpointError):
        llm.complete(said("x"), ASK)
    fail.clear()
    assert llm.complete(said("x"), ASK).text == "ok"


@pytest.mark.parametrize("kind", [TruncatedError, RefusedError])
def test_what_was_paid_for_and_failed_is_not_paid_for_again(kind: type[LLMError]) -> None:
    asked = []

    def answer(messages: Sequence[Message], ask: Ask) -> str:
        asked.append(ask.max_tokens)
        if ask.max_tokens == 100 or kind is RefusedError:
            raise kind("it ends", '{"choices": []}', usage=Usage(10, 100))
        return "whole"
    store = Kept()
    for _ in range(3):
        llm = Retrying(Cached(scripted(answer), store))
        if kind is TruncatedError:
            assert llm.complete(said("x"), ASK).text == "whole"
        else:
            with pytest.raises(RefusedError, match="stored") if _ else pytest.raises(RefusedError):
                llm.complete(said("x"), ASK)
    assert asked == ([100, 200] if kind is TruncatedError else [100])


def test_a_reader_that_was_wrong_reads_the_same_replies_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = Kept(), Counter[str]()

    def answer(messages: Sequence[Message], ask: Ask) -> Completion:
        asked[messages[0]["content"]] += 1
        raw = answers.body_of(Completion("number " + messages[0]["content"], usage=Usage(1, 1)))
        return answers.completion(raw)
    good = answers._text
    monkeypatch.setattr(answers, "_text", lambda content: str(good(content)).upper())  # a bug
    for i in range(1000):
        assert Cached(scripted(answer), store).complete(said(str(i)), ASK).text == f"NUMBER {i}"
    monkeypatch.setattr(answers, "_text", good)
    for i in range(1000):
        assert Cached(scripted(answer), store).complete(said(str(i)), ASK).text == f"number {i}"
    assert sum(asked.values()) == 1000


# --- Breaker


def test_a_refused_key_stops_the_run_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    sent = []

    def refuse(messages: Sequence[Message], ask: Ask) -> str:
        sent.append(1)
        raise AuthError("the key is refused (401)", sent=False)
    made = stack(scripted(refuse))
    for _ in range(20):
        with pytest.raises(AuthError, match="401"):
            made.llm.complete(said("x"), ASK)
    assert len(sent) == 1 and not caplog.records  # the exception says it


def test_no_quota_pauses_the_run_with_exit_3() -> None:
    sent = []

    def refuse(messages: Sequence[Message], ask: Ask) -> str:
        sent.append(1)
        raise QuotaError("insufficient_quota", sent=False)
    made = stack(scripted(refuse))
    for _ in range(5):
        with pytest.raises(QuotaError) as caught:
            made.llm.complete(said("x"), ASK)
        assert caught.value.exit_code == 3
    assert len(sent) == 1


def test_a_server_that_was_never_reached_is_a_mistake_and_one_that_went_away_a_pause() -> None:
    clock = Virtual()
    gone = EndpointError("http://localhost:9/v1 cannot be reached: refused", sent=False)
    inner = Failing([gone] * 100, clock)
    made = stack(scripted(inner), clock=clock)
    ends = clock.run(lambda i: made.llm.complete(said(str(i)), ASK), range(10), 1)
    assert all(isinstance(e, SetupError) and "base URL" in str(e) for e in ends) and len(inner.times) == 3 and clock.now() < 5
    clock = Virtual()
    inner = Failing([], clock)
    made = stack(scripted(inner), clock=clock)
    clock.run(lambda i: made.llm.complete(said(str(i)), ASK), range(3), 1)
    inner.errors = [gone] * 1000
    ends = clock.run(lambda i: made.llm.complete(said(str(i + 10)), ASK), range(10), 2)
    assert len(inner.times) <= 3 + 13 and sum(isinstance(e, StoppedError) for e in ends) >= 7
    assert next(e for e in ends if isinstance(e, StoppedError)).exit_code == 3


def test_one_body_that_always_fails_is_that_calls_failure() -> None:
    clock = Virtual()
    sent: Counter[str] = Counter()

    def answer(messages: Sequence[Message], ask: Ask) -> str:
        sent[messages[0]["content"]] += 1
        clock.sleep(.1)
        if messages[0]["content"] == "bad":
            raise EndpointError("500", '{"error": 1}')
        return "ok"
    made = stack(scripted(answer), Kept(), clock=clock)
    texts = ["bad", *map(str, range(30))]
    ends = clock.run(lambda t: made.llm.complete(said(t), ASK), texts, 1)
    assert isinstance(ends[0], EndpointError) and sent["bad"] == 6
    assert all(e.text == "ok" for e in ends[1:]) and all(sent[t] == 1 for t in texts[1:])

