"""The client against a real server on loopback: every way a call can end, and what is learned of a server."""

from __future__ import annotations

import email.utils
import json
import logging
import pickle
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAIError

from autolabel.errors import (
    AuthError,
    EndpointError,
    LLMError,
    ModelError,
    QuotaError,
    RateError,
    RefusedError,
    ReplyError,
    RequestError,
    SettingsError,
    SetupError,
    TruncatedError,
)
from autolabel.llms import answers, features, open_llm
from autolabel.llms.features import Features
from autolabel.llms.keys import hide, redact
from autolabel.llms.openai import OpenAI, split_url
from autolabel.types import Ask
from tests.llms.server import Answer, Fault, Server

KEY = "sk-canary-0123456789abcdef"
HELLO: tuple[dict[Any, str], ...] = ({"role": "system", "content": "You label neurons."}, {"role": "user", "content": "Say ok."})
SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"], "additionalProperties": False}
ALL = Ask("explain", max_tokens=64, temperature=0.0, seed=7, schema=SCHEMA, logprobs=20, stop=("END",))


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def client(server: Server, **named: Any) -> OpenAI:
    llm = open_llm("openai/test-model", server.url, **named)
    assert isinstance(llm, OpenAI)
    return llm


def test_a_good_reply() -> None:
    usage = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 1}}
    with Server(lambda body: Answer("caf\u00e9 \U0001f600", usage=usage), reports="test-model-2026-01-01", key=KEY) as server:
        llm = client(server)
        said = llm.complete(HELLO, Ask("explain", logprobs=2))
        assert said.text == "caf\u00e9 \U0001f600" and said.model == "test-model-2026-01-01"
        assert (said.usage.tokens_cached, said.usage.tokens_reasoning) == (3, 1) and said.usage.tokens_in > 5
        assert "".join(token for token, _ in said.tokens) == said.text and said.tokens[0][1] == {"caf\u00e9": -0.01}
        sent = next(iter(server.by_digest.values()))
        assert sent["messages"] == list(HELLO) and sent["temperature"] == 0 and sent["max_tokens"] == 512 and "stream" not in sent
        llm.close()


FAULTS: list[tuple[Fault, type[LLMError], str]] = [
    (Fault(401), AuthError, "refuses the key from OPENAI_API_KEY"),
    (Fault(403), AuthError, "403"),
    (Fault(402), QuotaError, "402"),
    (Fault(429, code="insufficient_quota"), QuotaError, "insufficient_quota"),
    (Fault(429), RateError, "429"),
    (Fault(404), RequestError, "404"),
    (Fault(400, "bad things"), RequestError, "bad things"),
    (Fault(400, code="content_filter"), RefusedError, "content filter"),
    (Fault(500), EndpointError, "500"),
    (Fault(503), EndpointError, "503"),
    (Fault(408), EndpointError, "408"),
    (Fault("reset"), EndpointError, "broke off"),
    (Fault("drop"), EndpointError, "broke off"),
    (Fault("stall", seconds=3), EndpointError, "within 0.3 s"),
    (Fault("cut"), EndpointError, "no whole JSON"),
    (Fault("empty"), ReplyError, "no choice"),
    (Fault("refusal"), RefusedError, "cannot help"),
    (Fault("filter"), RefusedError, "content filter"),
    (Fault("length"), TruncatedError, "token limit"),
]


@pytest.mark.parametrize(("fault", "kind", "words"), FAULTS, ids=[f"{f.kind}-{f.code or ''}" for f, _, _ in FAULTS])
def test_every_failure_is_one_of_the_tree(fault: Fault, kind: type[LLMError], words: str) -> None:
    with Server() as server:
        llm = client(server, timeout=0.3)
        server.faults.append(fault)
        with pytest.raises(LLMError, match=words) as caught:
            llm.complete(HELLO, Ask("explain"))
        assert type(caught.value) is kind
        shown = "".join(traceback.format_exception(caught.value))
        assert KEY not in shown and caught.value.__cause__ is None and not isinstance(caught.value.__context__, OpenAIError)
        if fault.kind in ("cut", "empty", "refusal", "filter", "length"):
            assert "chat.completion" in caught.value.reply
        if fault.kind in ("refusal", "filter", "length"):
            assert caught.value.usage is not None and caught.value.usage.tokens_in > 0
        assert llm.complete(HELLO, Ask("explain")).text == "ok"  # the client is not the worse for it
        llm.close()


@pytest.mark.parametrize("shape", [
    {"choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": '{"label": "nu'}}]},
    {"choices": [{"index": 0, "finish_reason": "length", "stop_reason": None, "message": {"role": "assistant", "content": None, "reasoning": "Let me"}}]},
    {"choices": [{"index": 0, "finish_reason": "max_tokens", "message": {"role": "assistant", "content": [{"type": "text", "text": "a"}]}}]},
    {"choices": [{"index": 0, "finish_reason": "MAX_TOKENS", "message": {"role": "assistant"}}]},
])
def test_a_cut_reply_is_never_read(shape: dict[str, Any]) -> None:
    with Server(lambda body: Answer("x", extra=shape)) as server:
        llm = client(server)
        with pytest.raises(TruncatedError):
            llm.complete(HELLO, Ask("explain"))
        llm.close()


def test_retry_after_as_seconds_and_as_a_date() -> None:
    with Server() as server:
        llm = client(server)
        date = email.utils.formatdate(time.time() + 30, usegmt=True)
        for header, low, high in (("7", 7, 7), ("0.5", .5, .5), (date, 27, 31), ("-3", 0, 0), ("soon", None, None), ("nan", None, None), (None, None, None)):
            server.faults.append(Fault(429, retry_after=header))
            with pytest.raises(RateError) as caught:
                llm.complete(HELLO, Ask("explain"))
            wait = caught.value.retry_after
            assert wait is None if low is None else wait is not None and high is not None and low <= wait <= high
        llm.close()


def test_an_error_that_comes_with_a_200() -> None:
    with Server(lambda body: Answer("", extra={"choices": None, "error": {"code": 429, "message": "slow down"}})) as server:
        llm = client(server)
        with pytest.raises(RateError, match="slow down"):
            llm.complete(HELLO, Ask("explain"))
        llm.close()


class Kept(dict[str, str]):
    """A memory of features."""

    def put(self, key: str, value: str) -> None:
        self[key] = value


@pytest.mark.parametrize("refuses", [
    {"max_tokens", "temperature", "logprobs", "stop"},  # a reasoning model
    {"response_format"}, {"seed"}, {"system"}, {"logprobs"},
    {"max_tokens", "temperature", "logprobs", "stop", "response_format", "seed", "system"}, set(),
])
def test_what_a_server_refuses_is_learned_once(refuses: set[str]) -> None:
    kept = Kept()
    with Server(lambda body: '{"label": "x"}END of it', refuses=refuses) as server:
        llm = client(server, memory=kept)
        assert llm.complete(HELLO, ALL).text == '{"label": "x"}'
        first = len(server.chats)
        assert first == 1 + len(refuses)
        llm.complete(HELLO, ALL)
        assert len(server.chats) == first + 1
        again = client(server, memory=kept)
        assert again.features == llm.features
        again.complete(HELLO, ALL)
        assert len(server.chats) == first + 2
        f = llm.features
        assert f.limit == ("max_completion_tokens" if "max_tokens" in refuses else "max_tokens")
        for name in ("temperature", "seed", "stop", "system", "logprobs"):
            assert getattr(f, name) == ("refused" if name in refuses else "taken"), name
        assert f.schema == ("refused" if "response_format" in refuses else "taken")
        llm.close()
        again.close()


def test_what_a_server_ignores_is_noticed() -> None:
    with Server(lambda body: "no JSON", ignores={"logprobs", "response_format"}) as server:
        llm = client(server)
        assert {"logprobs", "json"} <= llm.capabilities
        assert llm.complete(HELLO, ALL).tokens == ()
        assert llm.features.logprobs == llm.features.schema == "ignored" and not {"logprobs", "json"} & llm.capabilities
        llm.complete(HELLO, ALL)
        last = list(server.by_digest.values())[-1]
        assert "logprobs" not in last and "response_format" not in last
        llm.close()


def test_a_prompt_that_is_too_long_is_no_lack_of_a_feature() -> None:
    said = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, 1000 in the completion)."
    with Server() as server:
        llm = client(server)
        server.faults.append(Fault(400, said, code="context_length_exceeded"))
        with pytest.raises(RequestError, match="4096"):
            llm.complete(HELLO, ALL)
        assert llm.features == Features()
        llm.close()


@pytest.mark.parametrize(("status", "body", "changed"), [
    (400, {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                     "param": "max_tokens"}}, {"limit": "max_completion_tokens"}),
    (400, {"error": {"message": "property 'logprobs' is unsupported", "type": "invalid_request_error"}}, {"logprobs": "refused"}),  # Groq
    (422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}},
     {"seed": "refused"}),  # Mistral
    (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stop"], "msg": "Extra inputs are not permitted"}]}, {"stop": "refused"}),
    (400, {"object": "error", "message": "System role not supported", "type": "BadRequestError"}, {"system": "refused"}),  # vLLM with Gemma
    (500, {"error": {"code": 500, "message": "Jinja Exception: System role not supported", "type": "server_error"}}, {"system": "refused"}),  # llama.cpp
    (400, {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}, {"system": "refused"}),
    (400, {"error": {"message": "This response_format type is unavailable now"}}, {"schema": "refused"}),  # DeepSeek
    (400, {"error": {"message": "Requested sample logprobs of 20, which is greater than max allowed: 5"}}, {"top": 5}),  # vLLM
    (400, {"error": {"message": "temperature: Only the default (1) value is supported"}}, {"temperature": "refused"}),
    (400, {"error": {"message": "prompt is empty"}}, None),
    (400, {"error": {"message": "'max_tokens' is too large: 9999. This model's maximum context length is 4096 tokens", "param": "max_tokens"}}, None),
])
def test_refusals_of_real_servers_are_understood(status: int, body: dict[str, Any], changed: dict[str, Any] | None) -> None:
    failed = answers.failure(status, {}, json.dumps(body))
    assert isinstance(failed, RequestError)
    sent = features.body("m", HELLO, ALL, Features())  # type: ignore[arg-type]
    assert features.refused(Features(), sent, failed) == (None if changed is None else replace(Features(), **changed))


def test_bad_set_ups_are_one_clear_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("localhost:11434", "ftp://host/v1", "http://", "http://host:port"):
        with pytest.raises(SetupError, match="base URL"):
            open_llm("openai/x", url)
    for spec in ("gpt-4o", "openai/", "azure/x"):
        with pytest.raises(SettingsError, match="openai/MODEL"):
            open_llm(spec)
    for spec, words in (("scripted/x", "module:function"), ("scripted/no.such:f", "no.such"), ("scripted/json:__doc__", "no function")):
        with pytest.raises(SettingsError, match=words):
            open_llm(spec)
    with pytest.raises(SettingsError, match="--base-url goes with"):
        open_llm("scripted/json:dumps", "http://localhost:1/v1")
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        open_llm("openai/x", key_file=tmp_path / "none")
    (tmp_path / "key").write_text("two words " + KEY)
    with pytest.raises(SetupError, match="is no key") as caught:
        open_llm("openai/x", key_file=tmp_path / "key")
    assert KEY not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(AuthError, match="set OPENAI_API_KEY"):
        open_llm("openai/gpt-4o")
    gone = open_llm("openai/x", "http://127.0.0.1:9/v1", timeout=2)
    with pytest.raises(EndpointError, match=r"http://127.0.0.1:9/v1 cannot be reached: .*refused") as down:
        gone.complete(HELLO, Ask("explain"))
    assert not down.value.sent
    with Server(key="sk-other-key-of-the-server", models=("a", "b")) as server:
        with pytest.raises(AuthError, match="wants a key: set OPENAI_API_KEY"):
            open_llm("openai/a", server.url).complete(HELLO, Ask("explain"))
        (tmp_path / "key").write_text(KEY + "\n")
        with pytest.raises(AuthError, match=rf"refuses the key from {tmp_path}/key: .*\[key\]") as refused:
            open_llm("openai/a", server.url, key_file=tmp_path / "key").complete(HELLO, Ask("explain"))
        assert KEY not in str(refused.value) + refused.value.reply
        server.key = None
        with pytest.raises(RequestError, match=r"has no model 'c'; it has a, b"):
            open_llm("openai/c", server.url).complete(HELLO, Ask("explain"))
        server.lists_models = False
        with pytest.raises(RequestError, match="does not exist"):
            open_llm("openai/c", server.url).complete(HELLO, Ask("explain"))
        with pytest.raises(RequestError, match="does the base URL end in /v1"):
            server.faults.append(Fault(404, "404 page not found"))
            open_llm("openai/a", server.url.removesuffix("/v1") + "/").complete(HELLO, Ask("explain"))


def test_what_a_reply_without_an_answer_shows_is_learned() -> None:
    with Server() as server:
        llm = client(server)
        server.faults.append(Fault("length"))
        with pytest.raises(TruncatedError):
            llm.complete(HELLO, ALL)
        found = llm.features
        assert (found.usage, found.temperature, found.system) == ("taken",) * 3 and (found.schema, found.logprobs) == ("unknown",) * 2
        llm.close()


def test_a_server_that_cannot_list_or_serves_one_model() -> None:
    with Server() as server:
        llm = client(server)
        server.http.RequestHandlerClass.do_GET = lambda self: self._error(500, "no cache to list")  # type: ignore[method-assign, assignment]
        assert llm.models() is None  # listing is optional
        server.faults.append(Fault(400, "Server is pinned to 'one'; requested 'test-model'."))
        with pytest.raises(ModelError, match="pinned to 'one'") as caught:
            llm.complete(HELLO, Ask("explain"))
        assert caught.value.fatal  # every further call would end the same way
        llm.close()


def test_addresses_hold_neither_user_nor_query() -> None:
    address, url, query = split_url("https://me:pass-word-1@host.example:8443/openai/v1/?api-version=2026-01&code=abcdefghijk")
    assert address == "https://host.example:8443/openai/v1" and url == "https://me:pass-word-1@host.example:8443/openai/v1"
    assert query == {"api-version": "2026-01", "code": "abcdefghijk"}
    llm = OpenAI("m", "https://me:pass-word-1@host.example/v1?code=abcdefghijk")
    assert "pass-word-1" not in repr(llm) and b"pass-word-1" not in pickle.dumps(llm) and b"abcdefghijk" not in pickle.dumps(llm)
    assert split_url("http://[::1]:8000/v1")[0] == "http://[::1]:8000/v1"


def test_a_key_that_begins_as_another_is_taken_out_whole() -> None:
    keys = ["sk-nested-" + "x" * n for n in range(16)]
    for key in keys:
        hide(key)
    assert [redact(f"<{key}>") for key in keys] == ["<[key]>"] * len(keys)


def test_the_key_is_in_nothing_that_is_shown_logged_or_pickled(caplog: pytest.LogCaptureFixture) -> None:
    with Server(lambda body: f"your key is {KEY}", key=KEY) as server, caplog.at_level(logging.DEBUG):
        llm = client(server)
        said = llm.complete(HELLO, Ask("explain"))
        assert said.text == "your key is [key]" and KEY not in said.raw
        assert KEY not in repr(llm) + repr(llm.key) + str(llm.__getstate__())
        assert KEY.encode() not in pickle.dumps(llm)
        assert isinstance(llm.key, type(pickle.loads(pickle.dumps(llm)).key)) and pickle.loads(pickle.dumps(llm)).complete(HELLO, Ask("explain"))
        log = logging.getLogger("some.library")
        log.warning("sending %s", {"Authorization": f"Bearer {KEY}"})
        log.error(f"with {KEY} inside")
        try:
            raise ValueError(f"bad header Bearer {KEY}")
        except ValueError:
            log.exception("it failed")
        llm.close()
    assert "[key]" in caplog.text and KEY not in caplog.text and len(caplog.records) >= 4
