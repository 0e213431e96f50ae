"""All wrappers around one LLM, in the order that makes them right.

    Retrying( Cached( Limited( Breaker( Metered( Noted( LLM ))))))

* Retrying outside Cached: every attempt that was paid for is a call of its own with its own row, so that a reply which was cut and
  asked again with twice the limit is found again, both times, by the next run.
* Cached outside all that waits or counts: what is known costs no turn and no money.
* Limited outside Breaker: who waited for a turn looks once more whether the run has stopped, right before sending.
* Metered innermost but one: money is set aside for what is being sent, not for what waits.
* Noted next to the LLM: only what really is about to be sent is noted as in flight.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from autolabel.errors import AutolabelError
from autolabel.llms.breaker import Breaker
from autolabel.llms.cached import Cached, Noted, Store
from autolabel.llms.clock import Clock
from autolabel.llms.limited import Limited
from autolabel.llms.metered import Meter, Metered, Spent
from autolabel.llms.prices import Price, Prices, free
from autolabel.llms.retrying import Retrying
from autolabel.protocols import LLM

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stack:
    """An LLM with all its wrappers (`llm`), and what a run wants to know of them."""

    llm: LLM
    clock: Clock = field(repr=False)
    meter: Meter = field(repr=False)
    limited: Limited = field(repr=False)
    cached: Cached | None = field(repr=False)
    price: Price | None = field(repr=False)

    @property
    def spent(self) -> Spent:
        """Calls, tokens and dollars of this run so far; what came from the cache is not in it."""
        return self.meter.spent

    def stop(self, reason: AutolabelError | None = None) -> None:
        """Send nothing more; calls in flight end by themselves, who waits is woken and raises `reason` (StoppedError)."""
        self.clock.stop(reason)

    def close(self) -> None:
        """End the connections."""
        close = getattr(innermost(self.llm), "close", None)
        if close:
            close()


def stack(llm: LLM, store: Store | None = None, *, budget: Decimal | None = None, prices: Prices | str | Path | None = None, most: int = 64,
          requests_per_minute: float | None = None, tokens_per_minute: float | None = None, say: Callable[[str], None] | None = None,
          clock: Clock | None = None, meter: Meter | None = None) -> Stack:
    """Put the wrappers around `llm`. `store`: a CallStore; None: nothing is remembered. `budget` in dollars; `prices`: a table or the user's file.

    `most`: requests in flight; `say` is told of waits; `meter`: a purse shared with another model. Raises SetupError: a budget, and no known price.
    """
    clock = clock or Clock()
    meter = meter or Meter(budget, clock)
    price = price_of(llm, prices)
    address = address_of(llm)
    noted: LLM = Noted(llm, store, address) if store is not None else llm
    breaker = Breaker(Metered(noted, meter, price), clock)
    limited = Limited(breaker, clock, most=most, first=min(8, most), requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
                      say=say or _log.warning)
    cached = Cached(limited, store, address) if store is not None else None
    return Stack(Retrying(cached or limited, clock), clock, meter, limited, cached, price)


def address_of(llm: LLM) -> str:
    """Where a model is: the base URL without user info and query; the hash of a local one."""
    return str(getattr(llm, "address", "") or getattr(llm, "hash", ""))


def price_of(llm: LLM, prices: Prices | str | Path | None = None, day: datetime.date | None = None) -> Price | None:
    """What a model costs on a day (today); models in this process cost nothing; None where no price is known."""
    provider, _, model = llm.name.partition("/")
    if provider != "openai":
        return free()
    table = prices if isinstance(prices, Prices) else Prices.read(prices)
    return table.find(model, address_of(llm), day)


def innermost(llm: LLM) -> LLM:
    """The LLM inside all wrappers."""
    while (inner := getattr(llm, "inner", None)) is not None:
        llm = inner
    return llm
