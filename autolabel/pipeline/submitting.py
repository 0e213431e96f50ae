"""Batches at a provider: handed in once, found again after a crash, fetched when they are done.

The row in `batches` is written before the provider is told, and its key goes along as metadata. A process that dies in between
leaves a row `submitting`; the next one looks for the key in the provider's list before it hands anything in again.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any  # Any: batches as the SDK gives them

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.llms.batchfile import URL, read_replies, request_line
from autolabel.pipeline.asked import Access, opened
from autolabel.pipeline.batching import MOST, OPEN, Taken, asked, take
from autolabel.types import digest

if TYPE_CHECKING:
    from autolabel.llms.openai import OpenAI

LOOKED_AT = 1000  # batches of the provider that are searched for a key
OVER = frozenset({"completed", "expired", "failed", "cancelled"})
COLUMNS = ("key", "llm", "address", "batch", "state", "digests", "created")


@dataclass(frozen=True, slots=True)
class Batch:
    """One row of `batches`."""

    key: str  # sent along as metadata `autolabel`
    llm: str  # `openai/MODEL`
    address: str  # base URL without user info and query
    batch: str | None  # the provider's id, None until it is known
    state: str  # submitting, submitted, or how the provider says it ended
    digests: tuple[str, ...]  # calls in it
    created: datetime.datetime  # UTC


def submit(catalogue: Catalogue, access: Access, *, say: Callable[[str], None] = lambda text: None) -> list[Batch]:
    """Hand in all open calls of this model that are in no batch yet. What a crash left is looked for first. Raises LLMError."""
    llm = opened(catalogue, access)
    try:
        handed = [_settle(catalogue, llm, row, say) for row in batches(catalogue, llm) if row.state == "submitting"]
        under_way = {d for row in batches(catalogue, llm) if row.state == "submitted" for d in row.digests}
        rows = catalogue.read(f"SELECT digest FROM ({OPEN}) WHERE llm = ? AND request ->> 'address' = ? ORDER BY first", [llm.name, llm.address])
        todo = [d for (d,) in rows if d not in under_way]
        for at in range(0, len(todo), MOST):
            part = tuple(todo[at:at + MOST])
            again = sum(row.digests == part for row in batches(catalogue, llm))  # an expired batch is handed in anew, under another key
            row = Batch(digest(llm.name, llm.address, part, again), llm.name, llm.address, None, "submitting", part, _now())
            _store(catalogue, row)
            handed.append(_post(catalogue, llm, row))
        return handed
    finally:
        llm.close()


def fetch(catalogue: Catalogue, access: Access, *, prices: str = "") -> tuple[list[Batch], list[Taken]]:
    """Look at all batches under way, and take in what those that are over have brought. (all of them as they are now, what came)."""
    llm = opened(catalogue, access)
    try:
        found, came = [], []
        for row in batches(catalogue, llm):
            if row.state == "submitting":
                row = _settle(catalogue, llm, row, lambda text: None)
            if row.state == "submitted":
                now = llm.with_client(lambda client, id_=row.batch: client.batches.retrieve(id_))  # type: ignore[misc]  # bound now
                if now.status in OVER:
                    came += [take(catalogue, read_replies(_text(llm, file).splitlines()), file, prices=prices)
                             for file in (now.output_file_id, now.error_file_id) if file]
                    row = replace(row, state=now.status)
                    _store(catalogue, row)
            found.append(row)
        return found, came
    finally:
        llm.close()


def batches(catalogue: Catalogue, llm: OpenAI) -> list[Batch]:
    """The batches that were handed to this model's server, the oldest first."""
    rows = catalogue.read(f"SELECT {', '.join(COLUMNS)} FROM batches WHERE llm = ? AND address = ? ORDER BY created, key", [llm.name, llm.address])
    return [Batch(key, name, address, batch, state, tuple(digests), created) for key, name, address, batch, state, digests, created in rows]


def _settle(catalogue: Catalogue, llm: OpenAI, row: Batch, say: Callable[[str], None]) -> Batch:
    """A batch of which it is not known whether the provider has it."""
    def look(client: Any) -> str | None:
        for number, other in enumerate(client.batches.list(limit=100)):
            if (other.metadata or {}).get("autolabel") == row.key:
                return str(other.id)
            if number >= LOOKED_AT:
                break
        return None

    known = llm.with_client(look)
    if known is None:
        return _post(catalogue, llm, row)
    say(f"batch {known} was handed in before the last run ended; it is not handed in again")
    row = replace(row, batch=known, state="submitted")
    _store(catalogue, row)
    return row


def _post(catalogue: Catalogue, llm: OpenAI, row: Batch) -> Batch:
    """Tell the provider."""
    requests = {d: request for d, request in catalogue.read(
        "SELECT digest, any_value(request) FROM calls WHERE state = 'waiting' AND list_contains(?, digest) GROUP BY digest", [list(row.digests)])}
    if missing := [d for d in row.digests if d not in requests]:
        raise SettingsError(f"{len(missing)} calls of the batch {row.key} are no longer in {catalogue.path}: was it replaced by an older copy?")
    lines = [request_line(d, llm.model, *asked(requests[d]), llm.features) for d in row.digests]
    data = io.BytesIO("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    data.name = f"{row.key}.jsonl"

    def hand_in(client: Any) -> str:
        file = client.files.create(file=data, purpose="batch")
        made = client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h", metadata={"autolabel": row.key})
        return str(made.id)

    row = replace(row, batch=llm.with_client(hand_in), state="submitted")
    _store(catalogue, row)
    return row


def _text(llm: OpenAI, file: str) -> str:
    return llm.with_client(lambda client: str(client.files.content(file).text))


def _store(catalogue: Catalogue, row: Batch) -> None:
    values: dict[str, Sequence[Any]] = {name: [list(v) if isinstance(v := getattr(row, name), tuple) else v] for name in COLUMNS}
    with catalogue.writer() as writer:
        def work(_connection: object) -> None:
            writer.delete("batches", "key = ?", [row.key])
            writer.insert("batches", values)
        writer.write(work)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
