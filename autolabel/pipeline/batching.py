"""LLM calls through files, in rounds: what is open is written, replies are read back, and the same work goes on from there.

A round asks all that can be asked with what is known. Calls that wait are rows of `calls` with the state `waiting`; a reply is a
further row. So nothing is lost between rounds, whoever answers, and in whatever order.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON of the request

from autolabel.catalogue import Catalogue
from autolabel.errors import LLMError, SettingsError, SetupError
from autolabel.llms import answers
from autolabel.llms.batched import FINAL, Batched
from autolabel.llms.batchfile import Read, Reply, read_replies, request_line
from autolabel.llms.cached import Cached
from autolabel.llms.keys import find_key, redact
from autolabel.llms.retrying import Retrying
from autolabel.pipeline.asked import corpus_of
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Call, Role, Usage

ANSWERED = ("done", *FINAL)  # states that end a call
OPEN = f"""SELECT digest, any_value(role) AS role, any_value(llm) AS llm, any_value(request) AS request, min(rowid) AS first FROM calls
           WHERE state = 'waiting' AND digest NOT IN (SELECT digest FROM calls WHERE state IN {ANSWERED}) GROUP BY digest"""
MOST = 50_000  # requests in one file, and
LARGEST = 190_000_000  # its bytes, that OpenAI takes


@contextmanager
def batched(catalogue: Catalogue, spec: str, base_url: str = "") -> Iterator[LLM]:
    """An LLM that writes down what it is asked. `spec`: openai/MODEL; the same name and base URL later find the same answers. No key is needed."""
    from autolabel.catalogue.calls import CallStore
    from autolabel.llms.openai import HOME, split_url

    provider, _, model = spec.partition("/")
    if provider != "openai" or not model:
        raise SettingsError(f"batch files are for openai/MODEL (any name will do where a person answers), not for {spec!r}")
    address = split_url(base_url or os.environ.get("OPENAI_BASE_URL") or HOME)[0]
    waiting = {d for (d,) in catalogue.read("SELECT DISTINCT digest FROM calls WHERE state = 'waiting'")}
    failed = {d: (state, reply or "") for d, state, reply in catalogue.read(
        "SELECT digest, state, reply FROM calls WHERE list_contains(?, state)", [list(FINAL)])}
    with CallStore(catalogue, None, corpus_of(catalogue)) as store:
        yield Retrying(Cached(Batched(spec, address, store, waiting, failed), store, address))


@dataclass(frozen=True, slots=True)
class Written:
    """What a round asks."""

    files: tuple[str, ...]
    requests: int
    by_role: Mapping[str, int]


def write(catalogue: Catalogue, path: str | Path, features: Any = None) -> Written:
    """All open calls as files in the form of the OpenAI Batch API: PATH, and PATH with -2, -3, ... where one is not enough. Atomic."""
    rows = catalogue.read(f"SELECT digest, role, llm, request FROM ({OPEN}) ORDER BY first")
    lines = [request_line(digest, llm.partition("/")[2], *asked(request), features) for digest, _, llm, request in rows]
    by_role: dict[str, int] = {}
    for _, role, _, _ in rows:
        by_role[role] = by_role.get(role, 0) + 1
    files = []
    for number, part in enumerate(_parts(lines), start=1):
        place = Path(path)
        target = place if number == 1 else place.with_name(f"{place.stem}-{number}{place.suffix}")
        _save(target, part)
        files.append(str(target))
    return Written(tuple(files), len(lines), by_role)


def asked(request: str) -> tuple[list[Message], Ask]:
    """A stored request as messages and Ask."""
    said = json.loads(request)
    return said["messages"], Ask(said["role"], said["max_tokens"], said["temperature"], said["seed"], said["sample"], said["schema"], said["logprobs"],
                                 tuple(said["stop"]))


@dataclass(frozen=True, slots=True)
class Taken:
    """What reading a file of replies brought."""

    lines: int
    answered: int  # calls that have an answer now
    failed: int  # calls that ended in a failure which asking again would not change
    open: int  # calls of the file that stay open: expired, refused for the moment
    before: int  # calls that had an answer already
    unknown: int  # custom_ids that this catalogue never asked
    repeated: int  # further lines of the same call
    broken: int  # lines that cannot be read
    first_broken: tuple[str, ...]


def read(catalogue: Catalogue, path: str | Path, *, prices: str = "") -> Taken:
    """Take in replies, in any order. Raises SettingsError: no such file, nothing in it, or a file of another catalogue."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            found = read_replies(file)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    if not found.replies:
        first = f": {found.broken[0]}" if found.broken else ""
        raise SettingsError(f"{path} holds no reply{first}")
    return take(catalogue, found, str(path), prices=prices)


def take(catalogue: Catalogue, found: Read, name: str, *, prices: str = "") -> Taken:
    """Replies that were read, into the catalogue; each call ends in one state, however often it was answered."""
    from autolabel.catalogue.calls import CallStore
    from autolabel.llms.prices import Prices

    known = {d: (role, llm, request) for d, role, llm, request in catalogue.read(
        "SELECT digest, any_value(role), any_value(llm), any_value(request) FROM calls WHERE state = 'waiting' GROUP BY digest")}
    ended = {d for (d,) in catalogue.read(f"SELECT DISTINCT digest FROM calls WHERE state IN {ANSWERED}")}
    mine = {i: r for i, r in found.replies.items() if i in known}
    if not mine:
        raise SettingsError(f"{name} answers calls of another catalogue: none of its {len(found.replies):,} custom_ids was asked from {catalogue.path}")
    with suppress(SetupError):
        find_key()  # so that it is known what must not be stored
    table = Prices.read(prices or None)
    counts = {"answered": 0, "failed": 0, "open": 0, "before": 0}
    calls = []
    for digest, reply in mine.items():
        if digest in ended:
            counts["before"] += 1
            continue
        role, llm, request = known[digest]
        call = _call(digest, role, llm, request, reply, table)
        counts["answered" if call.state == "done" else "failed" if call.state in FINAL else "open"] += 1
        calls.append(call)
    with CallStore(catalogue, None, corpus_of(catalogue)) as store:
        store.put_all(calls)
    return Taken(found.lines, **counts, unknown=len(found.replies) - len(mine), repeated=sum(found.repeated.values()), broken=found.n_broken,
                 first_broken=tuple(found.broken))


def _call(digest: str, role: Role, llm: str, request: str, reply: Reply, prices: Any) -> Call:
    """A reply as the outcome of its call; the raw reply is kept whatever it holds (but a key: some servers say it again)."""
    usage: Usage | None = None
    if reply.raw is None:
        state = "failed:request" if 400 <= reply.status < 429 and reply.status not in (401, 403, 408, 409) else "failed:expired"
        return Call(digest, role, llm, state, reply=redact(reply.error))
    raw = redact(reply.raw)
    try:
        said = answers.completion(raw)
        state, usage = "done", said.usage
    except LLMError as error:
        state, usage = f"failed:{error.kind}", error.usage
    price = prices.find(llm.partition("/")[2], json.loads(request)["address"])
    cost = float(price.cost(usage, batch=True)) if price and usage and usage.tokens_in else None
    return Call(digest, role, llm, state, reply=raw, usage=usage, cost_usd=cost)


@dataclass(frozen=True, slots=True)
class Line:
    """How the calls of one role and model stand."""

    role: str
    llm: str
    asked: int
    answered: int
    failed: int
    open: int
    submitted: int  # of the open ones: in a batch that is under way


def status(catalogue: Catalogue) -> list[Line]:
    """What is still open, by role and model."""
    rows = catalogue.read(
        f"""WITH w AS (SELECT digest, any_value(role) AS role, any_value(llm) AS llm FROM calls WHERE state = 'waiting' GROUP BY digest),
                 e AS (SELECT digest, bool_or(state = 'done') AS done FROM calls WHERE state IN {ANSWERED} GROUP BY digest),
                 s AS (SELECT DISTINCT unnest(digests) AS digest FROM batches WHERE state IN ('submitting', 'submitted'))
            SELECT role, llm, count(*), count(*) FILTER (e.done), count(*) FILTER (NOT e.done), count(*) FILTER (e.digest IS NULL),
                   count(*) FILTER (e.digest IS NULL AND s.digest IS NOT NULL)
            FROM w LEFT JOIN e USING (digest) LEFT JOIN s USING (digest) GROUP BY role, llm ORDER BY role, llm""")
    return [Line(*row) for row in rows]


def _parts(lines: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode("utf-8", "surrogatepass")) + 1
        if part and (len(part) >= MOST or size + length > LARGEST):
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    if part:
        yield part


def _save(target: Path, lines: Sequence[str]) -> None:
    """The old file or the new one, never half of it."""
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogatepass", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise SettingsError(f"cannot write {target}: {error.strerror}") from error
