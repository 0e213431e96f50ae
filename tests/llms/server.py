"""A real HTTP server on loopback that speaks the OpenAI wire format (chat completions, models, files, batches) and misbehaves on demand.

    with Server(answer=lambda body: "7") as server:
        llm = open_llm("openai/test-model", base_url=server.url, key="sk-test")
        server.faults.extend([Fault(429, retry_after="2"), Fault("reset")])   # the next two chat requests end so

`answer(body)` gives the text of the reply, or an `Answer`; it is where an oracle goes. `faults` is a queue; `fault(n, body)` decides
by number and body. `python -m tests.llms.server --latency .2` runs one by itself and prints its URL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import socket
import struct
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One reply; `extra` is laid over the whole body, last."""

    text: str | None = ""
    finish_reason: str = "stop"
    refusal: str | None = None
    logprobs: list[tuple[str, dict[str, float]]] | None = None  # per token: alternatives; None: one token per word, made up
    usage: Mapping[str, Any] | None = field(default_factory=dict)  # laid over the counted one; None: the server does not say
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """How one request ends: an HTTP status, or reset (in mid-body), stall, cut (JSON broken off), empty (no choice), refusal, filter, length, drop."""

    kind: int | str
    message: str = ""
    code: str | None = None  # error.code
    retry_after: str | None = None  # the header, as it is sent
    seconds: float = 30.0  # of a stall


def digest(body: Body) -> str:
    """Names a request's body, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def n_tokens(text: str) -> int:
    """Tokens as this server counts them: words and signs."""
    return len(re.findall(r"\w+|[^\w\s]", text))


class Server:
    """Counts `bodies` (requests by digest) and `answered` (whole 200 replies by digest); `requests` is every one: (time, path, status)."""

    def __init__(self, answer: Callable[[Body], str | Answer] = lambda body: "ok", *, latency: float = 0.0, key: str | None = None,
                 models: tuple[str, ...] = ("test-model",), refuses: frozenset[str] | set[str] = frozenset(),
                 ignores: frozenset[str] | set[str] = frozenset(), reports: str = "", fault: Callable[[int, Body], Fault | None] | None = None,
                 lists_models: bool = True, port: int = 0) -> None:
        self.answer, self.latency, self.key, self.models, self.refuses, self.ignores = answer, latency, key, models, refuses, ignores
        self.reports = reports  # the model's name in replies; empty: the one asked for
        self.fault, self.lists_models = fault, lists_models
        self.faults: deque[Fault] = deque()
        self.bodies: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.by_digest: dict[str, Body] = {}
        self.requests: list[tuple[float, str, int]] = []
        self.in_flight = self.most_in_flight = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Body] = {}
        self.polls_needed = 1  # GETs of a batch until it is completed
        self.batch_lines: Callable[[list[Body], random.Random], tuple[list[Body], list[Body]]] | None = None  # spoils (output, errors)
        self.batch_fault: Callable[[str], None] | None = None  # called with "created" after a batch was made, before the reply is sent
        self.lock = threading.Lock()
        self.over = threading.Event()
        handler = type("Handler", (_Handler,), {"world": self})
        self.http = _Listener(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        self.thread = threading.Thread(target=lambda: self.http.serve_forever(0.02), daemon=True)

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.http.shutdown()
        self.thread.join()
        self.http.close_all()
        self.http.server_close()

    @property
    def chats(self) -> list[tuple[float, str, int]]:
        """The chat requests among `requests`."""
        return [r for r in self.requests if r[1].endswith("/chat/completions")]

    def reply(self, body: Body) -> Body:
        """The body of a good reply."""
        said = self.answer(body)
        a = said if isinstance(said, Answer) else Answer(said)
        prompt = sum(n_tokens(str(m["content"])) + 3 for m in body["messages"]) + 3
        out = n_tokens(a.text or "")
        usage: Body = {"prompt_tokens": prompt, "completion_tokens": out, "total_tokens": prompt + out}
        choice: Body = {"index": 0, "finish_reason": a.finish_reason, "logprobs": None,
                        "message": {"role": "assistant", "content": a.text, "refusal": a.refusal}}
        if body.get("logprobs") and "logprobs" not in self.ignores:
            tokens = a.logprobs if a.logprobs is not None else [(w, {w: -0.01}) for w in re.findall(r"\s*\S+", a.text or "")]
            choice["logprobs"] = {"content": [_token(t, alternatives) for t, alternatives in tokens]}
        made = {"id": f"chatcmpl-{uuid.uuid4().hex[:12]}", "object": "chat.completion", "created": int(time.time()),
                "model": self.reports or body["model"], "choices": [choice]}
        if a.usage is not None:
            made["usage"] = usage | dict(a.usage)
        return made | dict(a.extra)

    def refused(self, body: Body) -> Body | None:
        """The error of a request that has a parameter which this server does not take, in OpenAI's words."""
        if body.get("model") not in self.models:
            return {"message": f"The model `{body.get('model')}` does not exist or you do not have access to it.",
                    "type": "invalid_request_error", "param": None, "code": "model_not_found"}
        for name in sorted(self.refuses):
            if name == "system" and any(m["role"] == "system" for m in body["messages"]):
                return {"message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                        "type": "invalid_request_error", "param": "messages[0].role", "code": "unsupported_value"}
            if name == "max_tokens" and name in body:
                return {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                        "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}
            if name == "temperature" and body.get(name, 1) != 1:
                return {"message": f"Unsupported value: 'temperature' does not support {body[name]} with this model. Only the default (1) value is "
                                   "supported.", "type": "invalid_request_error", "param": name, "code": "unsupported_value"}
            if name in ("response_format", "logprobs", "seed", "stop", "top_logprobs") and name in body:
                return {"message": f"Unsupported parameter: '{name}' is not supported with this model.", "type": "invalid_request_error",
                        "param": name, "code": "unsupported_parameter"}
        return None

    def finish(self, batch: Body) -> None:
        """Answer all lines of a batch."""
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].decode().splitlines() if line.strip()]
        output: list[Body] = []
        errors: list[Body] = []
        for line in lines:
            wrong = self.refused(line["body"])
            if wrong:
                errors.append({"id": f"batch_req_{uuid.uuid4().hex[:8]}", "custom_id": line["custom_id"], "error": None,
                               "response": {"status_code": 400, "request_id": "r", "body": {"error": wrong}}})
            else:
                output.append({"id": f"batch_req_{uuid.uuid4().hex[:8]}", "custom_id": line["custom_id"], "error": None,
                               "response": {"status_code": 200, "request_id": "r", "body": self.reply(line["body"])}})
        if self.batch_lines:
            output, errors = self.batch_lines(output + errors, random.Random(0))
        for name, part in (("output_file_id", output), ("error_file_id", errors)):
            if part:
                batch[name] = f"file-{uuid.uuid4().hex[:10]}"
                self.files[batch[name]] = "".join(json.dumps(line) + "\n" for line in part).encode()
        batch |= {"status": "completed", "completed_at": int(time.time()),
                  "request_counts": {"total": len(lines), "completed": len(output), "failed": len(errors)}}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, *arguments: Any) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        """End the kept-alive connections, so that no thread outlives the test."""
        for request in list(self.open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError | ValueError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet
    disable_nagle_algorithm = True
    world: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        w, path = self.world, self.path.partition("?")[0]
        parts = path.strip("/").split("/")
        if not self._allowed():
            return
        if parts[1:] == ["models"] and w.lists_models:
            self._send(200, {"object": "list", "data": [{"id": m, "object": "model", "created": 0, "owned_by": "test"} for m in w.models]})
        elif parts[1:2] == ["files"] and len(parts) == 4 and parts[2] in w.files:
            self._send(200, w.files[parts[2]])
        elif parts[1:2] == ["files"] and len(parts) == 3 and parts[2] in w.files:
            self._send(200, self._file(parts[2]))
        elif parts[1:] == ["batches"]:
            with w.lock:
                self._send(200, {"object": "list", "data": list(w.batches.values())[::-1], "has_more": False})
        elif parts[1:2] == ["batches"] and len(parts) == 3 and parts[2] in w.batches:
            with w.lock:
                batch = w.batches[parts[2]]
                batch["_polls"] = batch.get("_polls", 0) + 1
                if batch["status"] in ("validating", "in_progress"):
                    batch["status"] = "in_progress"
                    if batch["_polls"] >= w.polls_needed:
                        w.finish(batch)
            self._send(200, batch)
        else:
            self._error(404, f"Unknown request URL: GET {path}.", "unknown_url")

    def do_POST(self) -> None:
        w, path = self.world, self.path.partition("?")[0]
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._allowed():
            return
        if path.endswith("/chat/completions"):
            with w.lock:
                w.in_flight += 1
                w.most_in_flight = max(w.most_in_flight, w.in_flight)
            try:
                self._chat(json.loads(raw))
            finally:
                with w.lock:
                    w.in_flight -= 1
        elif path.endswith("/files"):
            form = message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + raw)
            parts = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in form.get_payload()}  # type: ignore[union-attr]
            name = f"file-{uuid.uuid4().hex[:10]}"
            w.files[name] = parts["file"]  # type: ignore[assignment]
            self._send(200, self._file(name))
        elif path.endswith("/batches"):
            asked = json.loads(raw)
            if asked["input_file_id"] not in w.files:
                self._error(404, f"No such File object: {asked['input_file_id']}", "not_found")
                return
            batch = {"id": f"batch_{uuid.uuid4().hex[:10]}", "object": "batch", "endpoint": asked["endpoint"], "errors": None,
                     "input_file_id": asked["input_file_id"], "completion_window": asked["completion_window"], "status": "validating",
                     "output_file_id": None, "error_file_id": None, "created_at": int(time.time()), "metadata": asked.get("metadata"),
                     "request_counts": {"total": 0, "completed": 0, "failed": 0}}
            with w.lock:
                w.batches[str(batch["id"])] = batch
            if w.batch_fault:
                w.batch_fault("created")
            self._send(200, batch)
        elif path.endswith("/cancel") and path.split("/")[-2] in w.batches:
            batch = w.batches[path.split("/")[-2]]
            batch["status"] = "cancelled"
            self._send(200, batch)
        else:
            self._error(404, f"Unknown request URL: POST {path}.", "unknown_url")

    def _chat(self, body: Body) -> None:
        w, name = self.world, digest(body)
        with w.lock:
            number = sum(w.bodies.values())
            w.bodies[name] += 1
            w.by_digest[name] = body
            fault = w.faults.popleft() if w.faults else None
        fault = fault or (w.fault(number, body) if w.fault else None)
        if w.latency:
            time.sleep(w.latency)
        if fault is None and (wrong := w.refused(body)):
            self._send(404 if wrong["code"] == "model_not_found" else 400, {"error": wrong})
        elif fault is None:
            self._send(200, w.reply(body))
            with w.lock:
                w.answered[name] += 1
        else:
            self._misbehave(fault, body)

    def _misbehave(self, fault: Fault, body: Body) -> None:
        w = self.world
        if isinstance(fault.kind, int):
            code = fault.code or ("rate_limit_exceeded" if fault.kind == 429 else None)
            self._error(fault.kind, fault.message or f"failed with {fault.kind}", code, fault.retry_after)
            return
        good = w.reply(body)
        choice = good["choices"][0]
        data = json.dumps(good).encode()
        if fault.kind == "reset":  # half of the body, then RST
            self._head(200, len(data))
            self.wfile.write(data[:len(data) // 2])
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault.kind == "drop":  # no reply at all
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault.kind == "stall":
            w.over.wait(fault.seconds)
            with suppress(OSError):
                self._send(200, good)
        elif fault.kind == "cut":
            self._send(200, data[:len(data) * 2 // 3])
        elif fault.kind == "empty":
            self._send(200, good | {"choices": []})
        elif fault.kind == "refusal":
            choice["message"] |= {"content": None, "refusal": fault.message or "I cannot help with that."}
            self._send(200, good)
        elif fault.kind in ("filter", "length"):
            choice["finish_reason"] = {"filter": "content_filter", "length": "length"}[fault.kind]
            self._send(200, good)
        else:
            raise AssertionError(f"no fault {fault.kind!r}")

    def _allowed(self) -> bool:
        key = self.world.key
        given = self.headers.get("Authorization", "")
        if key is None or given == f"Bearer {key}":
            return True
        # some servers say the whole key again: the worst case is the one to be ready for
        self._error(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}.", "invalid_api_key")
        return False

    def _file(self, name: str) -> Body:
        return {"id": name, "object": "file", "bytes": len(self.world.files[name]), "created_at": 0, "filename": "x.jsonl", "purpose": "batch"}

    def _error(self, status: int, message: str, code: str | None = None, retry_after: str | None = None) -> None:
        self._send(status, {"error": {"message": message, "type": "error", "param": None, "code": code}}, retry_after)

    def _head(self, status: int, length: int, retry_after: str | None = None) -> None:
        self.world.requests.append((time.monotonic(), self.path, status))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()

    def _send(self, status: int, body: Body | bytes, retry_after: str | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        self._head(status, len(data), retry_after)
        self.wfile.write(data)
        self.wfile.flush()


def _token(token: str, alternatives: Mapping[str, float]) -> Body:
    top = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in alternatives.items()]
    return {"token": token, "logprob": alternatives.get(token, -0.01), "bytes": list(token.encode()), "top_logprobs": top}


def main() -> None:
    """Serve until stdin closes; `GET` nothing: the counts are printed at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text", default="ok")
    given = parser.parse_args()
    with Server(lambda body: given.text, latency=given.latency, port=given.port) as server:
        print(server.url, flush=True)
        sys.stdin.read()
        print(json.dumps({"requests": sum(server.bodies.values()), "most_in_flight": server.most_in_flight}), flush=True)


if __name__ == "__main__":
    main()
