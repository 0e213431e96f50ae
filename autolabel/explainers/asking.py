"""What all explainers that ask an LLM have in common: which excerpts are shown, how a prompt is filled and kept within its
budget, how candidates are asked for.

An explainer is its settings (`Asking`), a `Style` (which template, what fills it, how the answer is read) and two lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from autolabel import prompts
from autolabel.assets import read_prompt
from autolabel.errors import LLMError, PendingError, ReplyError, RequestError, SettingsError
from autolabel.explainers.estimate import tokens_of
from autolabel.explainers.hygiene import tidy
from autolabel.explainers.showing import View, chosen, example_view, silent, view_of
from autolabel.prompts import Prompt, Template
from autolabel.protocols import LLM, Message
from autolabel.registry import part, settings_of
from autolabel.types import Ask, Completion, Exemplars, Explanation, Maker, Role, digest

FEW_SHOT = "neurons.jsonl"
_TOO_LONG = re.compile(r"context[ _](?:length|window|size)|maximum context|too long|too many tokens|show fewer", re.IGNORECASE)  # in the words of servers


@dataclass(frozen=True)
class Asking:
    """The settings that all of them share. A prompt shows `top` records of the highest band and `strata` of the ten strata, never top ones alone."""

    needs: ClassVar[frozenset[str]] = frozenset({"records"})  # of records, the bands in NEGATIVES, logits: what `Exemplars` must hold

    llm: LLM | None = part()  # who is asked
    prompts: str | None = part()  # the user's own folder of templates; what it held is in the digest
    top: int = 12  # records of the top band
    strata: int = 10  # further records, one stratum after the other from the highest to the lowest
    window: int = 32  # tokens shown of an excerpt, around its strongest; 0: all
    examples: int = 3  # few-shot examples, at most
    candidates: int = 1  # answers asked for, each to the same prompt
    temperature: float | None = None  # None: 0 for one candidate, 1 for several
    max_prompt_tokens: int = 6000  # estimated; excerpts are left out, and counted, until the prompt fits
    max_tokens: int = 1024  # of the answer


@dataclass(frozen=True)
class Answer:
    """One reply, read."""

    text: str  # the sentence; empty where it abstained
    pattern: str | None = None
    abstained: str | None = None


Reading = Callable[[str], Answer]  # raises ReplyError


@dataclass(frozen=True)
class Style:
    """What tells one explainer from another."""

    template: str  # name of the file in prompts/
    values: Mapping[str, Callable[[View], str]]  # variable of `## user` -> its text
    answer: Callable[[Mapping[str, Any]], str]  # an example of the few-shot set -> $answer
    read: Reading
    required: tuple[str, ...] = ("excerpts",)  # variables that the template must use
    retries: bool = False  # a ReplyError is fed back once, by `## retry`
    schema: Mapping[str, Any] | None = None  # JSON schema of the answer


def explain(asking: Asking, style: Style, units: Iterable[Exemplars]) -> Iterator[Explanation]:
    """The candidates of each unit, distinct ones once.

    Every candidate is asked for before any is given back, so that a round of batched calls holds all of them. Raises
    PendingError where one is still open; the first LLMError, after the good candidates, where one failed; at once what ends the run.
    """
    for exemplars in units:
        prompt = prompt_for(asking, style, exemplars)
        found: dict[str, Explanation] = {}
        failed: list[LLMError] = []
        pending: PendingError | None = None
        for sample in range(asking.candidates):
            try:
                prompt, one = _fitting(asking, style, exemplars, prompt, sample)
                found[one.id] = one
            except PendingError as error:
                pending = error
            except LLMError as error:
                if error.fatal:
                    raise
                failed.append(error)
        if pending is not None:
            raise pending
        yield from found.values()
        if failed:
            raise failed[0]


def ask_of(asking: Asking, style: Style, prompt: Prompt, sample: int = 0, role: Role = "explain") -> Ask:
    """What is asked beside the messages."""
    temperature = asking.temperature if asking.temperature is not None else 1.0 if asking.candidates > 1 else 0.0
    return Ask(role, asking.max_tokens, temperature, sample=sample, schema=style.schema, excerpts=prompt.excerpts)


def maker_of(asking: Asking, name: str, prompt: Prompt, flags: Sequence[str] = (), llm: str | None = None) -> Maker:
    """Settings and prompt; beside the settings, what was left out of the prompt (`dropped_excerpts`) and done to the reply (`flags`)."""
    done: dict[str, Any] = {"dropped_excerpts": prompt.dropped} if prompt.dropped else {}
    name_of_llm = llm or (asking.llm.name if asking.llm else None)
    return Maker(name, settings_of(asking) | done | ({"flags": list(flags)} if flags else {}), name_of_llm, prompt.template)


def explanation(asking: Asking, style: Style, exemplars: Exemplars, prompt: Prompt, answer: Answer, llm: str | None = None) -> Explanation:
    """A reply that was read, as a candidate label. `llm`: who gave it, where it was no call of ours."""
    text, flags = tidy(answer.text)
    why, more = tidy(answer.abstained or "")
    if answer.abstained is None and not text:
        raise ReplyError(f"the label is empty{' after cleaning: ' + ', '.join(flags) if flags else ''}", answer.text)
    maker = maker_of(asking, style.template, prompt, [*flags, *more], llm)
    return Explanation(exemplars.unit, text, answer.pattern, maker, why if answer.abstained is not None else None)


def _fitting(asking: Asking, style: Style, exemplars: Exemplars, prompt: Prompt, sample: int) -> tuple[Prompt, Explanation]:
    """One candidate, and the prompt it was given to: excerpts are dropped while the model says that the prompt is too long for it."""
    while True:
        try:
            return prompt, candidate(asking, style, exemplars, prompt, sample)
        except RequestError as error:
            if not _TOO_LONG.search(str(error)) or len(prompt.excerpts) <= 1:
                raise
            try:
                prompt = prompt_for(asking, style, exemplars, tokens_of(prompt.messages) * 3 // 4)
            except SettingsError as short:  # it is the model, not the user's max_prompt_tokens, that sets the limit
                raise SettingsError(f"the prompt {style.template} is too long for this model, even with a single excerpt ({error}): "
                                    "lower examples or window, or choose a model that takes more") from short


def candidate(asking: Asking, style: Style, exemplars: Exemplars, prompt: Prompt, sample: int = 0, role: Role = "explain") -> Explanation:
    """One answer to one prompt; a reply that cannot be used goes back once where the style says so. Raises LLMError and whatever ends a run."""
    if asking.llm is None:
        raise SettingsError(f"the explainer {style.template} asks an LLM: name one with --llm, as in --llm openai/MODEL")
    ask = ask_of(asking, style, prompt, sample, role)
    completion: Completion = asking.llm.complete(prompt.messages, ask)
    try:
        answer = style.read(completion.text)
    except ReplyError as error:
        if not style.retries:
            raise
        again: Message = {"role": "user", "content": prompts.fill(template_of(asking, style)[0], "retry", {"error": str(error)})}
        completion = asking.llm.complete([*prompt.messages, {"role": "assistant", "content": completion.text}, again], ask)
        answer = style.read(completion.text)
    return explanation(asking, style, exemplars, prompt, answer)


def template_of(asking: Asking, style: Style) -> tuple[Template, tuple[Mapping[str, Any], ...], str]:
    """The template, the few-shot examples, and the digest of both. Raises SettingsError before anything is sent."""
    text, few_shot = read_prompt(f"{style.template}.md", own=asking.prompts), read_prompt("few_shot", FEW_SHOT, own=asking.prompts)
    return _template(style.template, text, few_shot, tuple(style.values), style.required, style.retries, asking.examples)


@lru_cache(maxsize=64)
def _template(name: str, text: str, few_shot: str, variables: tuple[str, ...], required: tuple[str, ...], retries: bool,
              examples: int) -> tuple[Template, tuple[Mapping[str, Any], ...], str]:
    template = prompts.parse(name, text)
    known = {"system": ("word",), "user": (*variables, "word"), "assistant": ("answer",)} | ({"retry": ("error",)} if retries else {})
    needed = {"user": required} | ({"assistant": ("answer",)} if examples else {}) | ({"retry": ("error",)} if retries else {})
    prompts.check(template, known, needed)
    shown = prompts.few_shot(FEW_SHOT, few_shot)[:examples]
    return template, shown, digest(template.digest, shown)


def prompt_for(asking: Asking, style: Style, exemplars: Exemplars, budget: int | None = None) -> Prompt:
    """The prompt of one unit, with as many excerpts as fit into `budget` tokens (max_prompt_tokens). Raises SettingsError where none does, or is there."""
    budget = asking.max_prompt_tokens if budget is None else budget
    template, shown, template_digest = template_of(asking, style)
    positive, negative = chosen(exemplars, asking.top, asking.strata), silent(exemplars, asking.needs)
    if not positive:
        raise SettingsError(f"{exemplars.unit} has no record of the explain split: it never fires there, or the catalogue was made without records")
    total = len(positive) + len(negative)

    def build(n: int) -> Prompt:
        kept = round(n * len(positive) / total) or 1
        records, others = positive[:kept], negative[:n - kept]
        view = view_of(exemplars, records, others, asking.window, shown, template_digest)
        examples = [(_values(style, example_view(one, view.word)), {"answer": style.answer(one)}) for one in shown]
        messages = prompts.conversation(template, _values(style, view), examples)
        ids = tuple(dict.fromkeys(r.excerpt.id for r in (*records, *others)))
        return Prompt(messages, template_digest, ids, total - n)

    for n in range(total, 0, -1):
        prompt = build(n)
        if tokens_of(prompt.messages) <= budget:
            return prompt
    raise SettingsError(f"the prompt {style.template} does not fit into {budget:,} tokens with a single excerpt: "
                        "raise max_prompt_tokens, or lower examples or window")


def _values(style: Style, view: View) -> dict[str, str]:
    return {"word": view.word} | {name: make(view) for name, make in style.values.items()}

