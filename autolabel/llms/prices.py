"""What calls cost: dollars from tokens and a table of prices with dates. Exact decimals; an unknown price is unknown, never 0."""

from __future__ import annotations

import datetime
import fnmatch
import itertools
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any  # TOML

from autolabel.assets import data_path
from autolabel.errors import SettingsError
from autolabel.protocols import Message
from autolabel.types import Ask, Usage

MILLION = Decimal(1_000_000)
FRAME = 16  # tokens that a chat template puts around a message, at most; and around a conversation
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")  # gpt-4o-mini-2024-07-18 is a gpt-4o-mini
_MONEY = re.compile(r"\$?\s*(\d+(?:\.\d+)?|\.\d+)\s*(?:usd|\$)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, from a day on."""

    model: str  # name, or a pattern with * and ?
    address: str  # the server's base URL, or a pattern
    effective_from: datetime.date
    input: Decimal
    output: Decimal  # reasoning is output
    cached: Decimal  # of prompt tokens that were read from the provider's cache
    written: Decimal  # of prompt tokens that were put into it
    batch: Decimal = Decimal(1)  # factor for batch files

    def cost(self, usage: Usage, *, batch: bool = False) -> Decimal:
        """Dollars of one call, exactly."""
        plain = usage.tokens_in - usage.tokens_cached - usage.tokens_written
        total = (plain * self.input + usage.tokens_cached * self.cached + usage.tokens_written * self.written + usage.tokens_out * self.output)
        return total * (self.batch if batch else 1) / MILLION

    def most(self, messages: Sequence[Message], ask: Ask, *, batch: bool = False) -> Decimal:
        """Dollars that one call can cost at most: no token is shorter than a byte, and the answer is limited."""
        return self.cost_of(most_tokens(messages, ask), ask.max_tokens, batch=batch)

    def cost_of(self, tokens_in: int, tokens_out: int, *, batch: bool = False) -> Decimal:
        """Dollars of so many tokens at the dearest rate of each kind."""
        dearest = max(self.input, self.cached, self.written)
        return (tokens_in * dearest + tokens_out * self.output) * (self.batch if batch else 1) / MILLION


def most_tokens(messages: Sequence[Message], ask: Ask) -> int:
    """Tokens of the prompt, at most, whatever the tokenizer."""
    schema = len(json.dumps(ask.schema)) if ask.schema is not None else 0
    return sum(len(m["content"].encode("utf-8", "replace")) + FRAME for m in messages) + FRAME + schema


class Prices:
    """Tables, the user's own first; within one, rows that stand further up count first."""

    def __init__(self, *tables: Sequence[Price]) -> None:
        self.tables = tuple(tuple(table) for table in tables)

    @classmethod
    def read(cls, own: str | Path | None = None) -> Prices:
        """The user's file, then the shipped one. Raises SettingsError, naming what is wrong in it."""
        return cls(_rows(Path(own)) if own else (), _rows(data_path("prices.toml")))

    def find(self, model: str, address: str, day: datetime.date | None = None) -> Price | None:
        """The price of a model (without provider) at a server on a day (UTC; today); None where none is known."""
        day = day or datetime.datetime.now(datetime.UTC).date()
        for name, table in itertools.product(dict.fromkeys((model, _DATED.sub("", model))), self.tables):
            fitting = [row for row in table if row.effective_from <= day and fnmatch.fnmatchcase(name, row.model)
                       and fnmatch.fnmatchcase(address, row.address)]
            if fitting:
                first = fitting[0]  # of those that are named alike, the newest counts
                alike: list[Price] = [row for row in fitting if (row.model, row.address) == (first.model, first.address)]
                return max(alike, key=lambda row: row.effective_from)
        return None


def free() -> Price:
    """Of a model in this process."""
    zero = Decimal(0)
    return Price("*", "*", datetime.date.min, zero, zero, zero, zero)


def parse_budget(text: str) -> Decimal:
    """`5usd`, `$5`, `0.50` -> dollars. Raises SettingsError; 0 is no budget."""
    found = _MONEY.fullmatch(text.strip())
    if not found:
        raise SettingsError(f"a budget is an amount of dollars, as in 5usd or 0.50usd, not {text!r}")
    if not (amount := Decimal(found[1])):
        raise SettingsError("a budget of 0 pays for no call: leave --budget out for none, or name an amount, as in 5usd")
    return amount


def _rows(path: Path) -> list[Price]:
    try:
        table = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except FileNotFoundError:
        raise SettingsError(f"the price file {path} does not exist") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, InvalidOperation) as error:
        raise SettingsError(f"the price file {path} cannot be read: {error}") from None
    rows = table.get("price")
    if not isinstance(rows, list) or set(table) != {"price"}:
        raise SettingsError(f"the price file {path} must be a list of [[price]] tables")
    return [_row(row, f"{path}, price {i}") for i, row in enumerate(rows, 1)]


def _row(row: dict[str, Any], where: str) -> Price:
    known = {f.name for f in fields(Price)}
    if unknown := sorted(set(row) - known):
        raise SettingsError(f"{where} has the unknown key {unknown[0]!r}: known are {', '.join(sorted(known))}")
    if missing := sorted({"model", "effective_from", "input", "output"} - set(row)):
        raise SettingsError(f"{where} has no {missing[0]}")
    if not isinstance(row["effective_from"], datetime.date) or isinstance(row["effective_from"], datetime.datetime):
        raise SettingsError(f"{where}: effective_from must be a day, as in 2025-01-31")
    numbers: dict[str, Any] = {name: row.get(name, default) for name, default in
               (("input", None), ("output", None), ("cached", row["input"]), ("written", row["input"]), ("batch", 1))}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite() or value < 0:
            raise SettingsError(f"{where}: {name} must be a number of dollars, 0 or more")
    return Price(str(row["model"]), str(row.get("address", "*")), row["effective_from"], **{k: Decimal(v) for k, v in numbers.items()})
