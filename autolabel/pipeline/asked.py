"""An LLM as the verbs need it: with cache, retries, limits and budget around it, for as long as a verb runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.llms.stack import Stack

if TYPE_CHECKING:
    from autolabel.llms.openai import OpenAI


@dataclass(frozen=True, slots=True)
class Access:
    """Which LLM, and how much of it."""

    llm: str  # `openai/MODEL`, `local/PATH_OR_ID`, `scripted/module:function`
    base_url: str = ""  # of a compatible server; empty: OPENAI_BASE_URL, else OpenAI
    key_file: str = ""  # a file with the key; empty: OPENAI_API_KEY
    budget: str = ""  # dollars that must not be exceeded, as in 5usd; empty: none
    prices: str = ""  # a price table of one's own; empty: the one that comes with autolabel
    requests_per_minute: float = 0  # 0: no limit but the server's
    tokens_per_minute: float = 0
    concurrency: int = 64  # requests in flight, at most
    timeout: float = 120.0  # seconds without a sign of the server
    device: str = "auto"  # of a local model
    dtype: str = "auto"


def quiet(text: str) -> None:
    """Says nothing."""


@contextmanager
def asking(catalogue: Catalogue, access: Access, *, say: Callable[[str], None] = quiet) -> Iterator[Stack]:
    """The LLM with all its wrappers; its replies are kept in the catalogue. `say` is told of waits, and of calls that may be paid twice.

    Raises SetupError and AuthError before anything is sent: an unknown provider, no key, a budget without a known price.
    """
    from autolabel.catalogue.calls import CallStore
    from autolabel.catalogue.memory import Memory
    from autolabel.llms import open_llm
    from autolabel.llms.prices import parse_budget
    from autolabel.llms.stack import stack

    if not access.llm:
        raise SettingsError("no LLM is named: add --llm openai/MODEL, --llm local/PATH or --llm scripted/module:function")
    budget = parse_budget(access.budget) if access.budget else None
    llm = open_llm(access.llm, access.base_url or None, key_file=access.key_file or None, timeout=access.timeout, memory=Memory(catalogue),
                   device=access.device, dtype=access.dtype)
    with CallStore(catalogue, None, corpus_of(catalogue)) as store:
        for call in store.lost:
            say(f"possibly paid twice: call {call.digest} ({call.role}, {call.llm}) was sent when the last run was killed")
        made = stack(llm, store, budget=budget, prices=access.prices or None, most=access.concurrency,
                     requests_per_minute=access.requests_per_minute or None, tokens_per_minute=access.tokens_per_minute or None, say=say)
        try:
            yield made
        except BaseException:
            made.stop()
            raise
        finally:
            made.close()


def opened(catalogue: Catalogue, access: Access) -> OpenAI:
    """The bare client, for files and batches. Raises SettingsError where the LLM is none behind a server."""
    from autolabel.catalogue.memory import Memory
    from autolabel.llms import open_llm
    from autolabel.llms.openai import OpenAI

    if not access.llm:
        raise SettingsError("name the LLM whose batches are meant: --llm openai/MODEL (and its --base-url, where it has one)")
    llm = open_llm(access.llm, access.base_url or None, key_file=access.key_file or None, timeout=access.timeout, memory=Memory(catalogue))
    if not isinstance(llm, OpenAI):
        raise SettingsError(f"batches are handed to openai/MODEL, not to {access.llm}")
    return llm


def corpus_of(catalogue: Catalogue) -> str | None:
    """The corpus whose excerpts the prompts show; None where the catalogue holds several, whose excerpts have ids of their own all the same."""
    found = catalogue.read("SELECT id FROM corpora")
    return str(found[0][0]) if len(found) == 1 else None


def spent_line(made: Stack) -> str:
    """What a run asked and paid, in one line."""
    s = made.spent
    hits = made.cached.hits if made.cached else 0
    money = "" if made.price is None else f", ${s.settled:.4f}" + (f" (and at most ${s.doubt:.4f} of calls whose cost nobody told)" if s.doubt else "")
    unpriced = ", price unknown" if made.price is None else ""
    reasoning = f" ({s.tokens_reasoning:,} reasoning)" if s.tokens_reasoning else ""
    return f"{s.calls:,} calls, {s.tokens_in:,} tokens in, {s.tokens_out:,} out{reasoning}{money}{unpriced}; {hits:,} answers from the cache"
