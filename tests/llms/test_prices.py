"""Dollars to the last digit, from usage as servers tell it and prices with dates."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autolabel.errors import LLMError, ReplyError, SettingsError
from autolabel.llms import answers
from autolabel.llms.prices import Price, Prices, most_tokens, parse_budget
from autolabel.types import Ask, Usage

HOME = "https://api.openai.com/v1"
TABLE = """
[[price]]
model = "m"
effective_from = 2025-01-01
input = 2.50
cached = 1.25
written = 3.125
output = 10.00
batch = 0.5
[[price]]
model = "m"
effective_from = 2025-06-01
input = 2.00
output = 8.00
"""


@pytest.fixture
def table(tmp_path: Path) -> Prices:
    (tmp_path / "p.toml").write_text(TABLE)
    return Prices.read(tmp_path / "p.toml")


OLD = datetime.date(2025, 3, 1)
# what came in `usage` -> dollars by the old prices; None: not told, so not known
USAGES: list[tuple[Any, bool, str | None]] = [
    ({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}, False, "0.0035"),
    ({"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}, False, "0.0025"),
    ({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 600}}, False, "0.00275"),
    ({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_cache_hit_tokens": 600, "prompt_cache_miss_tokens": 400}, False, "0.00275"),  # DeepSeek
    ({"prompt_tokens": 1000, "completion_tokens": 700, "completion_tokens_details": {"reasoning_tokens": 640}, "total_tokens": 1700}, False, "0.0095"),
    ({"prompt_tokens": 1000, "completion_tokens": 60, "completion_tokens_details": {"reasoning_tokens": 640}, "total_tokens": 1700}, False, "0.0095"),  # xAI
    ({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cache_write_tokens": 800}}, False, "0.004"),
    ({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 800}}, False, "0.003875"),
    ({"prompt_tokens": 1000, "completion_tokens": 100}, True, "0.00175"),  # through a batch file
    ({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 600}}, True, "0.001375"),
    ({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": None, "completion_tokens_details": None}, False, "0.0035"),  # vLLM
    (None, False, None),  # not said
    ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, False, None),  # said by servers that do not count
]


@pytest.mark.parametrize(("told", "batch", "dollars"), USAGES)
def test_recorded_usages_cost_what_they_cost(table: Prices, told: Any, batch: bool, dollars: str | None) -> None:
    raw = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], **({} if told is None else {"usage": told})})
    price = table.find("m", HOME, OLD)
    assert price is not None
    used = answers.usage(json.loads(raw).get("usage"))
    assert (None if used is None else price.cost(used, batch=batch)) == (None if dollars is None else Decimal(dollars))
    assert answers.completion(raw).usage == (used or Usage())


def test_a_new_price_leaves_old_calls_as_they_were(table: Prices) -> None:
    usage = Usage(1000, 100)
    for day, dollars in (("2025-01-01", "0.0035"), ("2025-05-31", "0.0035"), ("2025-06-01", "0.0028"), ("2030-01-01", "0.0028")):
        price = table.find("m", HOME, datetime.date.fromisoformat(day))
        assert price and price.cost(usage) == Decimal(dollars)
    assert table.find("m", HOME, datetime.date(2024, 12, 31)) is None and table.find("n", HOME) is None
    new = table.find("m", HOME)
    assert new and new.cost(Usage(1000, 0, tokens_cached=1000)) == Decimal("0.002")  # no price of its own for cached ones: as input


def test_the_shipped_table() -> None:
    prices = Prices.read()
    mini = prices.find("gpt-4o-mini", HOME)
    assert mini and mini == prices.find("gpt-4o-mini-2024-07-18", HOME)
    assert mini.cost(Usage(1_000_000, 1_000_000)) == Decimal("0.75")
    assert prices.find("gpt-4o-mini", "http://localhost:11434/v1") is None and prices.find("gpt-4o-mini-of-mine", HOME) is None
    o3 = [prices.find("o3", HOME, datetime.date(2025, month, 1)) for month in (5, 7)]
    assert o3[0] and o3[1] and o3[0].input == 5 * o3[1].input
    for row in prices.tables[-1]:
        assert 0 < row.cached <= row.input <= row.output and row.batch == Decimal("0.5") and row.address == HOME


def test_the_users_table_wins(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[[price]]\nmodel = "*"\naddress = "http://localhost:*"\neffective_from = 2020-01-01\ninput = 0\noutput = 0\n'
                   '[[price]]\nmodel = "gpt-4o-mini"\naddress = "*"\neffective_from = 2020-01-01\ninput = 9\noutput = 9\n')
    prices = Prices.read(own)
    local, hosted, other = prices.find("llama", "http://localhost:11434/v1"), prices.find("gpt-4o-mini", HOME), prices.find("gpt-4o", HOME)
    assert local and local.input == 0 and hosted and hosted.input == 9 and other and other.input == Decimal("2.5")


@pytest.mark.parametrize(("text", "words"), [
    ("x = ", "cannot be read"), ("a = 1", "list of"), ('[[price]]\nmodel = "m"\neffective_from = 2025-01-01\ninput = 1', "has no output"),
    ('[[price]]\nmodel = "m"\neffective_from = 2025-01-01\ninput = 1\noutput = -1', "output must be a number"),
    ('[[price]]\nmodel = "m"\neffective_from = 2025-01-01\ninput = "1"\noutput = 1', "input must be a number"),
    ('[[price]]\nmodel = "m"\neffective_from = "2025"\ninput = 1\noutput = 1', "must be a day"),
    ('[[price]]\nmodel = "m"\neffective_from = 2025-01-01\ninput = 1\noutput = 1\ncache = 2', "unknown key 'cache'"),
    ('[[price]]\nmodel = "m"\neffective_from = 2025-01-01\ninput = nan\noutput = 1', "input must be a number"),
])
def test_a_bad_table_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(SettingsError, match=words) as caught:
        Prices.read(tmp_path / "p.toml")
    assert "p.toml" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="does not exist"):
        Prices.read(tmp_path / "none.toml")


@pytest.mark.parametrize(("text", "amount"), [("5usd", "5"), ("$5", "5"), ("0.50 USD", "0.5"), (" 12 ", "12"), (".5usd", "0.5")])
def test_budgets(text: str, amount: str) -> None:
    assert parse_budget(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["0", "0usd", "-1", "five", "5eur", "", "nan", "inf", "1e3"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="budget"):
        parse_budget(text)


@given(st.text(), st.integers(0, 4000))
def test_no_prompt_has_more_tokens_than_it_has_bytes(text: str, limit: int) -> None:
    ask = Ask("explain", max_tokens=limit, schema={"type": "object"})
    price = Price("m", "*", OLD, Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))
    most = price.most([{"role": "user", "content": text}], ask)
    n = most_tokens([{"role": "user", "content": text}], ask)
    assert n >= len(text.encode("utf-8", "replace"))
    for usage in (Usage(n, limit), Usage(n, limit, tokens_cached=n), Usage(n, limit, tokens_written=n), Usage(n // 2, limit // 3)):
        assert price.cost(usage) <= most


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["choices", "message", "content", "finish_reason", "usage", "prompt_tokens", "error", "code", "logprobs", "token", "top_logprobs", "refusal",
                     "text", "type"]), inner, max_size=4), max_leaves=20)


@example({"finish_reason": []}, 400)
@given(JSON, st.integers(400, 599))
def test_no_reply_brings_the_reader_down(value: Any, status: int) -> None:
    for body in (value, {"choices": [value]}, {"choices": [{"message": value, "logprobs": value}], "usage": value}, {"error": value}):
        raw = json.dumps(body)
        try:
            assert isinstance(answers.completion(raw).text, str)
        except LLMError as error:
            assert isinstance(error, ReplyError) or str(error)
        assert isinstance(answers.failure(status, {"retry-after": str(value)}, raw), LLMError)


def test_a_price_of_ones_own_counts_even_where_the_built_in_one_is_newer(tmp_path: Path) -> None:
    built_in = Prices.read().find("gpt-5", HOME)
    assert built_in is not None and built_in.input == Decimal("1.25")
    (tmp_path / "own.toml").write_text(f'[[price]]\nmodel = "gpt-5"\naddress = "{HOME}"\neffective_from = 2025-01-01\ninput = 0.5\noutput = 4\n')
    mine = Prices.read(tmp_path / "own.toml")
    assert [p.input for p in (mine.find("gpt-5", HOME), mine.find("gpt-5-2025-08-07", HOME)) if p] == [Decimal("0.5")] * 2
    assert mine.find("gpt-5-mini", HOME) == Prices.read().find("gpt-5-mini", HOME)
