"""What a run would cost, before anything is spent: calls, tokens, dollars, hours.

The prompts that can be made now are made and counted, one by one; what follows from answers (labels to be read by a simulator) is
counted with a label of the usual length, and bounded by the longest one. The upper bound holds whatever the tokenizer and the model:
no token is shorter than a byte, an answer ends at its limit, a cut answer is asked for once more with twice the limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import Any  # plug-ins and tokenizers of others' making

from autolabel.assets import data_path
from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.explainers.estimate import tokens_of
from autolabel.llms.cached import request_of
from autolabel.llms.prices import Price, Prices, free, most_tokens
from autolabel.pipeline.asked import Access
from autolabel.pipeline.exemplars import exemplars_for
from autolabel.pipeline.reading import read_exemplars
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import model_row, subject_of
from autolabel.protocols import ExplainSplit, Message
from autolabel.registry import build
from autolabel.render import pieces, show_token
from autolabel.sampling.two_sided import expected_draws
from autolabel.simulators.digits import DigitsSimulator
from autolabel.types import Ask, Excerpt, Split, Unit

Count = Callable[[Sequence[Message]], int]
USUAL = "words and phrases about the weather, above all rain and storms"  # a label of the length that labels have
LONGEST = "mmm " * 75  # 300 characters, the cap
SAMPLE = 40  # excerpts whose prompts stand for all that a simulator will be shown
ANSWERS = 40  # shipped answers of an LLM whose length stands for that of others, where no earlier one of this catalogue says better
SPEED = (20.0, 100.0)  # tokens a second that one answer is written at, slow and fast servers


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of call. Tokens and dollars are of all its calls together."""

    stage: str  # explain: NAME, simulate on select, simulate on test
    calls: int  # likely
    calls_most: int
    tokens_in: int  # prompts as they are counted now; of stages that wait for answers, with a label of usual length
    tokens_in_most: int
    tokens_out: int  # likely
    tokens_out_most: int
    dollars: Decimal | None  # likely; None where no price is known
    dollars_most: Decimal | None
    paid: int = 0  # calls whose answers are in the catalogue: they are not made again


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run comes to."""

    stages: tuple[Stage, ...]
    counted_by: str  # which tokenizer, or that tokens are estimated
    hours_low: float  # with fast answers
    hours_high: float  # with slow ones

    @property
    def total(self) -> Stage:
        """All stages together."""
        def add(name: str) -> Any:
            values = [getattr(s, name) for s in self.stages]
            return None if any(v is None for v in values) else sum(values)
        names = ("calls", "calls_most", "tokens_in", "tokens_in_most", "tokens_out", "tokens_out_most", "dollars", "dollars_most", "paid")
        return Stage("total", **{name: add(name) for name in names})


def plan_label(catalogue: Catalogue, access: Access, *, explainers: Sequence[str], settings: Mapping[str, str] | None = None,
               units: str | Iterable[str] | None = None, limit: int | None = None, model: str = "", prompts: str = "", start: int = 40, cap: int = 120,
               tokenizer: str = "", batch: bool = False, seed: int = 0, **compute: Any) -> Plan:
    """Count what `label` would ask of these explainers and of the simulator `digits`. Nothing is sent, no key is needed.

    tokenizer: a folder or hub id whose tokenizer counts; a local model counts with its own; else tokens are estimated. start, cap:
    excerpts that the scorer simulation reads of a label. batch: prices of batch files. Raises SettingsError.
    """
    row = model_row(catalogue, model)
    asked = select_units(catalogue, row.name, units, seed=seed, limit=limit)
    count, counted_by = counter(access, tokenizer)
    address = _address(access)
    price = _price(access, address)
    paid = {d for (d,) in catalogue.read("SELECT digest FROM calls WHERE state IN ('done', 'failed:truncated', 'failed:refused')")}
    split: Callable[[], ExplainSplit] = lambda: _explain_split(catalogue, row, compute)
    stages, sentences = [], 0
    for name in explainers:
        plugin: Any = build("explainers", name, {k: v for k, v in (settings or {}).items()}, {"prompts": prompts or None})
        if not hasattr(plugin, "prompt"):
            continue
        stages.append(_explaining(catalogue, name, plugin, asked, split, access.llm, address, count, price, paid, batch))
        sentences += 0 if name == "structured" else len(asked) * plugin.candidates
    if sentences:
        for where, labels in (("select", sentences), ("test", min(sentences, len(asked) * len(stages)))):
            stages.append(_simulating(catalogue, row.name, asked, where, labels, access.llm, count, price, start, cap, batch, prompts))
    if not stages:
        raise SettingsError(f"none of the explainers {', '.join(explainers)} asks an LLM: there is nothing to pay for")
    plan = Plan(tuple(stages), counted_by, 0, 0)
    seconds = [plan.total.tokens_out / speed / max(1, access.concurrency) for speed in SPEED]
    if access.requests_per_minute:
        seconds = [max(s, plan.total.calls * 60 / access.requests_per_minute) for s in seconds]
    return replace(plan, hours_low=seconds[1] / 3600, hours_high=seconds[0] / 3600)


def counter(access: Access, tokenizer: str = "") -> tuple[Count, str]:
    """How prompts are counted, and by what. Raises SettingsError where a tokenizer cannot be read."""
    local = access.llm.removeprefix("local/") if access.llm.startswith("local/") else ""
    spec = tokenizer or local
    if not spec:
        return tokens_of, "an estimate that errs upwards (name the model's own with --tokenizer)"
    from transformers import AutoTokenizer

    try:
        known = AutoTokenizer.from_pretrained(spec, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the tokenizer of {spec}: {' '.join(str(error).split())[:200]}") from error

    def count(messages: Sequence[Message]) -> int:
        plain = [dict(m) for m in messages]
        if known.chat_template:
            return len(known.apply_chat_template(plain, add_generation_prompt=True, tokenize=True, return_dict=False))
        return len(known("\n\n".join(m["content"] for m in plain) + "\n")["input_ids"])
    return count, f"the tokenizer of {spec}"


def _explaining(catalogue: Catalogue, name: str, plugin: Any, units: Sequence[Unit], split: Callable[[], ExplainSplit], llm: str, address: str,
                count: Count, price: Price | None, paid: set[str], batch: bool) -> Stage:
    calls = known = tokens = most_in = most_out = 0
    again = bool(getattr(plugin, "style", None) and plugin.style.retries)
    for exemplars in exemplars_for(catalogue, plugin, list(units), split):
        if not exemplars.records or exemplars.stats.max <= 0:
            continue
        prompt = plugin.prompt(exemplars)
        temperature = plugin.temperature if plugin.temperature is not None else 1.0 if plugin.candidates > 1 else 0.0
        for sample in range(plugin.candidates):
            ask = Ask("explain", plugin.max_tokens, temperature, sample=sample, schema=plugin.style.schema)
            if request_of(llm, address, prompt.messages, ask)[0] in paid:
                known += 1
                continue
            calls += 1
            tokens += count(prompt.messages)
            first = most_tokens(prompt.messages, ask)
            second = first + 4 * ask.max_tokens + 1000  # the answer and the parser's message go back, as bytes
            most_in += 2 * first + (2 * second if again else 0)
            most_out += 3 * ask.max_tokens * (2 if again else 1)
    out = round(calls * _usual_out(catalogue, llm, "explain", plugin.style.schema is not None, lambda: _usual_answer(count, again)))
    return _priced(Stage(f"explain: {name}", calls, calls * (4 if again else 2), tokens, most_in, out, most_out, None, None, known), price, batch)


def _simulating(catalogue: Catalogue, model: str, units: Sequence[Unit], where: str, labels: int, llm: str, count: Count, price: Price | None,
                start: int, cap: int, batch: bool, prompts: str) -> Stage:
    """Calls of the simulator digits: one per excerpt and label, from `start` to `cap` excerpts."""
    split: Split = "select" if where == "select" else "test"
    excerpts = {r.excerpt.id: r.excerpt for e in read_exemplars(catalogue, units[:4], split) for r in e.records}
    shown = [excerpts[i] for i in sorted(excerpts)[:SAMPLE]]
    n = catalogue.read("SELECT count(*) FROM t_excerpts e JOIN models m ON m.corpus_id = e.corpus_id WHERE m.name = ? AND e.split = ?", [model, split])[0][0]
    if not shown:
        raise SettingsError(f"the units asked for have no record on {split}")
    simulator = DigitsSimulator(llm=_Named(llm), prompts=prompts or None)
    usual = [simulator.question(USUAL, e) for e in shown]
    longest = [simulator.question(LONGEST, e) for e in shown]
    likely, most = round(labels * expected_draws(start, n)), labels * min(2 * cap, n)  # three routes may draw somewhat more than the cap
    per_in = sum(count(m) for m, _ in usual) / len(shown)
    most_in, most_out = max(most_tokens(m, a) for m, a in longest), max(a.max_tokens for _, a in longest)
    out = _usual_out(catalogue, llm, "simulate", usual[0][1].schema is not None, lambda: _mean_length(count, map(_levels, shown)))
    stage = Stage(f"simulate on {where}", likely, 2 * most, round(likely * per_in), 2 * most * most_in,
                  round(likely * out), 3 * most * most_out, None, None)
    return _priced(stage, price, batch)


def _usual_out(catalogue: Catalogue, llm: str, role: str, whole: bool, otherwise: Callable[[], float]) -> float:
    """Tokens of an answer: the mean of earlier ones of this model, role and kind (`whole`: to a schema, else a sentence), where there are ten."""
    n, mean = catalogue.read("SELECT count(tokens_out), avg(tokens_out) FROM calls WHERE llm = ? AND role = ? AND state = 'done' "
                             "AND (coalesce(json_type(request, '$.schema'), 'NULL') <> 'NULL') = ?", [llm, role, whole])[0]
    return float(mean) if n >= 10 else otherwise()


def _usual_answer(count: Count, whole: bool) -> float:
    """Mean tokens of the answers of an LLM that come with autolabel: sentence and pattern (`whole`), or the sentence alone."""
    with data_path("labels", "minilm.jsonl").open(encoding="utf-8") as file:
        replies = [json.loads(line)["reply"] for line in islice(file, ANSWERS)]
    return _mean_length(count, replies if whole else [f"LABEL: {json.loads(reply)['label']}" for reply in replies])


def _mean_length(count: Count, texts: Iterable[str]) -> float:
    """Mean tokens of texts, without what a conversation puts around them."""
    counts = [count([{"role": "user", "content": text}]) for text in texts]
    return sum(counts) / len(counts) - count([{"role": "user", "content": ""}])


def _levels(excerpt: Excerpt) -> str:
    """An answer of the simulator digits about one excerpt."""
    return json.dumps({"activations": [[i, show_token(piece), 0] for i, piece in enumerate(pieces(excerpt))]}, ensure_ascii=False)


def _priced(stage: Stage, price: Price | None, batch: bool) -> Stage:
    if price is None:
        return stage
    factor = (price.batch if batch else 1) / Decimal(1_000_000)
    likely = (stage.tokens_in * price.input + stage.tokens_out * price.output) * factor
    return replace(stage, dollars=likely, dollars_most=price.cost_of(stage.tokens_in_most, stage.tokens_out_most, batch=batch))


@dataclass(frozen=True)
class _Named:
    """An LLM that is only named."""

    name: str
    capabilities: frozenset[str] = frozenset({"json", "logprobs"})

    def complete(self, messages: Sequence[Message], ask: Ask) -> Any:
        """Never called: prompts are only made."""
        raise AssertionError("a plan asks nothing")


def _address(access: Access) -> str:
    if not access.llm.startswith("openai/"):
        return ""
    import os

    from autolabel.llms.openai import HOME, split_url

    return split_url(access.base_url or os.environ.get("OPENAI_BASE_URL") or HOME)[0]


def _price(access: Access, address: str) -> Price | None:
    provider, _, model = access.llm.partition("/")
    if provider not in ("openai", "local", "scripted") or not model:
        raise SettingsError("name the LLM that would be asked: --llm openai/MODEL or --llm local/PATH")
    return free() if provider != "openai" else Prices.read(access.prices or None).find(model, address)


def _explain_split(catalogue: Catalogue, row: Any, compute: Mapping[str, Any]) -> ExplainSplit:
    from autolabel.splits import explain_split

    keep = {k: compute[k] for k in ("device", "dtype", "threads") if k in compute}
    return explain_split(catalogue, subject_of(catalogue, row, **keep))
