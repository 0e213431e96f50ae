"""Metered: counts tokens and dollars, and keeps a hard budget: reserve the most that a call can cost, call, settle, under one lock.

What is settled plus what is reserved never exceeds the budget. A call that does not fit waits while others are in flight,
whose reservations are larger than their costs; if it does not fit then, the run stops before it. A call that may have
been answered but whose cost nobody told (a timeout, a reply without usage) keeps its whole reservation: `doubt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from autolabel.errors import BudgetError, LLMError, SetupError
from autolabel.llms.clock import Clock
from autolabel.llms.prices import Price
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion, Usage


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used so far. Dollars are None where no price is known."""

    calls: int = 0  # sent, whatever came of them
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_reasoning: int = 0
    untold: int = 0  # calls whose tokens the server did not tell
    settled: Decimal = Decimal(0)  # dollars, exact
    doubt: Decimal = Decimal(0)  # dollars, at most: calls that may be paid for and whose tokens nobody told
    reserved: Decimal = Decimal(0)  # dollars, at most: calls in flight


class Meter:
    """The purse; several models may share one. `budget` in dollars, None: no limit."""

    def __init__(self, budget: Decimal | None = None, clock: Clock | None = None) -> None:
        self.budget, self.clock = budget, clock or Clock()
        self.spent = Spent()
        self._turn = self.clock.condition()

    def reserve(self, most: Decimal) -> None:
        """Set the most that a call can cost aside. Raises BudgetError where it does not fit."""
        with self._turn:
            while self.budget is not None:
                self.clock.check()
                s = self.spent
                if s.settled + s.doubt + s.reserved + most <= self.budget:
                    break
                if s.settled + s.doubt + most > self.budget:
                    raise BudgetError(f"the budget of ${self.budget} ends here: ${s.settled + s.doubt:.4f} spent, and the next call may cost ${most:.4f}. "
                                       "The same command with a larger --budget goes on; what was paid for is kept")
                self._turn.wait(1.0)
            self.spent = replace(self.spent, calls=self.spent.calls + 1, reserved=self.spent.reserved + most)

    def settle(self, most: Decimal, cost: Decimal | None, usage: Usage | None, sent: bool = True) -> None:
        """The reservation becomes its cost; stays, as doubt, where the cost is not told; is given back where nothing was sent."""
        with self._turn:
            s = self.spent
            if usage is not None and usage.tokens_in:
                s = replace(s, tokens_in=s.tokens_in + usage.tokens_in, tokens_out=s.tokens_out + usage.tokens_out,
                            tokens_cached=s.tokens_cached + usage.tokens_cached, tokens_reasoning=s.tokens_reasoning + usage.tokens_reasoning,
                            settled=s.settled + (cost or 0))
            elif sent:
                s = replace(s, untold=s.untold + 1, doubt=s.doubt + most)
            self.spent = replace(s, reserved=s.reserved - most)
            self._turn.notify_all()


class Metered:
    """An LLM whose calls go through a purse. Raises SetupError when made with a budget and no known price."""

    def __init__(self, inner: LLM, meter: Meter, price: Price | None) -> None:
        self.inner, self.meter, self.price = inner, meter, price
        if meter.budget is not None and price is None:
            raise SetupError(f"no price is known for {inner.name}, so a budget cannot be kept: write its price to a file, name that with "
                             "--prices FILE.toml, or leave --budget out")

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[str]:
        """The inner one's."""
        return self.inner.capabilities

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """The inner one's answer with its cost. Raises BudgetError before a call that could pass the budget."""
        most = self.price.most(messages, ask) if self.price else Decimal(0)
        self.meter.reserve(most)
        try:
            said = self.inner.complete(messages, ask)
        except LLMError as error:
            cost = self._cost(error.usage)
            error.cost_usd = None if cost is None else float(cost)
            self.meter.settle(most, cost, error.usage, error.sent)
            raise
        except BaseException:
            self.meter.settle(most, None, None)
            raise
        cost = self._cost(said.usage)
        self.meter.settle(most, cost, said.usage)
        return replace(said, cost_usd=None if cost is None else float(cost))

    def _cost(self, usage: Usage | None) -> Decimal | None:
        return self.price.cost(usage) if self.price and usage and usage.tokens_in else None
