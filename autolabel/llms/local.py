"""A transformers causal language model in this process: `local/PATH_OR_ID`. Safetensors only, no remote code.

Beside `complete` it reads: log probabilities at given places of one text, with the part that many texts share kept in a
cache (capability `prompt_logprobs`), which is what simulation of a whole excerpt at once needs.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import RequestError, SettingsError, TruncatedError
from autolabel.protocols import LLM, Message
from autolabel.types import Ask, Completion, Usage, digest, hash63

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROVIDER = "local"
Floats = NDArray[np.float64]
UNLIMITED = 1_000_000  # the context of models with relative positions only


@dataclass(frozen=True, eq=False)
class Prefix:
    """Text that was read once and that any number of texts go on from."""

    ids: tuple[int, ...]  # of all that was read
    cache: Any  # keys and values of it: a class of transformers, by architecture
    next: torch.Tensor  # [V] log probabilities of what comes next


@dataclass(frozen=True, eq=False)
class LocalLLM:
    """One causal language model. Calls from several threads wait for each other: one forward pass uses all cores."""

    name: str  # `local/PATH_OR_ID`, as on the command line
    hash: str  # of weights, configuration, tokenizer and chat template
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context: int  # the longest text, in its own tokens
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def capabilities(self) -> frozenset[str]:
        """It gives log probabilities of its answers and of texts."""
        return frozenset({"logprobs", "prompt_logprobs"})

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        """One answer; greedy at temperature 0 or None, else drawn by (messages, seed, sample): the same call, the same answer.

        Raises RequestError where the prompt does not fit, TruncatedError where the answer was not over at `max_tokens`.
        """
        ids = self.prompt_ids(messages)
        room = min(ask.max_tokens, self.context - len(ids))
        if room < 1:
            raise RequestError(f"the prompt has {len(ids)} tokens, {self.name} takes {self.context}: show fewer or shorter excerpts")
        with self.lock:
            return self._write(ids, room, ask)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Messages by the model's chat template, or one after the other where it has none. Special tokens in a message are plain text."""
        safe = [{"role": m["role"], "content": self.plain(m["content"])} for m in messages]
        if not self.tokenizer.chat_template:
            return [*self.begin_ids, *self.ids("\n\n".join(m["content"] for m in safe) + "\n")]
        try:
            text = self.tokenizer.apply_chat_template(safe, add_generation_prompt=True, tokenize=False)
        except Exception:  # templates raise their own errors: most often they know no system message
            text = self.tokenizer.apply_chat_template(_without_system(safe), add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def begin_ids(self) -> tuple[int, ...]:
        """What a text begins with: the beginning-of-sequence token where the tokenizer has one."""
        first = self.tokenizer.bos_token_id
        return () if first is None else (int(first),)

    def plain(self, text: str) -> str:
        """The text with the names of special tokens (`<|im_end|>`) broken by a space: text of a corpus or a label must not end a message."""
        for name in self.tokenizer.all_special_tokens:
            if len(name) > 1:
                text = text.replace(name, f"{name[0]} {name[1:]}")
        return text

    def ids(self, text: str) -> list[int]:
        """Token ids of a piece in the middle of a text: without special tokens and without the space that some tokenizers put in front."""
        if not text:
            return []
        with self.lock:  # fast tokenizers keep truncation and padding as state
            line = self.tokenizer("\n", add_special_tokens=False)["input_ids"]
            whole = self.tokenizer("\n" + text, add_special_tokens=False)["input_ids"]
            if whole[:len(line)] == line:
                return list(whole[len(line):])
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # the line end grew into the text

    def read(self, ids: Sequence[int], after: Prefix | None = None) -> Prefix:
        """Read ids, after a prefix or (with the beginning-of-sequence token) from the start. Raises RequestError."""
        import torch

        ids = [*(self.begin_ids if after is None else ()), *ids]
        if not ids:
            raise ValueError("nothing to read")
        with self.lock:
            logits, cache = self._forward(ids, after, [len(ids) - 1], keep=True)
            return Prefix((*(after.ids if after else ()), *ids), cache, torch.log_softmax(logits[0].float(), -1))

    def choices(self, after: Prefix, ids: Sequence[int], at: Sequence[int], choices: Sequence[int]) -> Floats:
        """Log probabilities [len(at), len(choices)] of each choice right after ids[at[i]], in one forward pass. Raises RequestError."""
        with self.lock:
            logits, _ = self._forward(ids, after, at)
            logp = logits.float().log_softmax(-1)[:, list(choices)]
            out: Floats = logp.double().cpu().numpy()
            return out

    def continuation(self, after: Prefix, ids: Sequence[int]) -> Floats:
        """Log probability [len(ids)] of each id given all before it, in one forward pass. Raises RequestError."""
        import torch

        if not ids:
            return np.zeros(0)
        with self.lock:
            rows = [after.next[None]]
            if len(ids) > 1:
                logits, _ = self._forward(ids[:-1], after, range(len(ids) - 1))
                rows.append(logits.float().log_softmax(-1))
            wanted = torch.tensor(list(ids), device=after.next.device)
            out: Floats = torch.cat(rows).gather(1, wanted[:, None])[:, 0].double().cpu().numpy()
            return out

    def _forward(self, ids: Sequence[int], after: Prefix | None, at: Sequence[int], *, keep: bool = False) -> tuple[torch.Tensor, Any]:
        """Logits [len(at), V], and the cache where it is to be kept (an architecture's own class). The prefix stays as it is."""
        import torch

        n = len(ids) + (len(after.ids) if after else 0)
        if n > self.context:
            raise RequestError(f"the text has {n} tokens, {self.name} takes {self.context}: show fewer or shorter excerpts")
        with torch.inference_mode():
            past = copy.deepcopy(after.cache) if after is not None else None
            rows = torch.tensor(list(at), device=self.model.device)
            out = self.model(input_ids=torch.tensor([list(ids)], device=self.model.device), past_key_values=past,
                             use_cache=keep or after is not None, logits_to_keep=rows)
        return out.logits[0], out.past_key_values

    def _write(self, ids: Sequence[int], room: int, ask: Ask) -> Completion:
        import torch

        device = self.model.device
        draw = torch.Generator(device).manual_seed(hash63(digest(list(ids)), ask.seed, ask.sample))
        ends = self._ends()
        written: list[int] = []
        tokens: list[tuple[str, Mapping[str, float]]] = []
        shown, over = "", False
        with torch.inference_mode():
            step, past = torch.tensor([list(ids)], device=device), None
            for _ in range(room):
                out = self.model(input_ids=step, past_key_values=past, use_cache=True, logits_to_keep=1)
                past, logits = out.past_key_values, out.logits[0, -1].float()
                if ask.temperature:
                    chosen = int(torch.multinomial((logits / ask.temperature).softmax(-1), 1, generator=draw))
                else:
                    chosen = int(logits.argmax())
                if chosen in ends:
                    over = True
                    break
                alternatives = self._alternatives(written, logits, ask.logprobs)
                written.append(chosen)
                text = self._text(written)
                tokens.append((text[len(shown):], alternatives))
                shown = text
                if any(stop in text for stop in ask.stop):
                    over = True
                    break
                step = torch.tensor([[chosen]], device=device)
        usage = Usage(tokens_in=len(ids), tokens_out=len(written))
        whole = self.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if tokens and len(whole) > len(shown):
            tokens[-1] = (tokens[-1][0] + whole[len(shown):], tokens[-1][1])
        text = min((whole.split(stop, 1)[0] for stop in ask.stop), key=len, default=whole)
        if not over:
            raise TruncatedError(f"{self.name} was not done after {len(written)} tokens", whole, usage=usage)
        kept = tuple(_cut(tokens, len(text))) if ask.logprobs else ()
        return Completion(text, kept, usage, self.name, 0.0)

    def _ends(self) -> frozenset[int]:
        """Ids that end an answer."""
        found: list[Any] = [self.tokenizer.eos_token_id]
        named = getattr(self.model.config, "eos_token_id", None)
        found += named if isinstance(named, list) else [named]
        return frozenset(i for i in found if isinstance(i, int))

    def _text(self, ids: Sequence[int]) -> str:
        """Decoded text without the unfinished character at its end, so that more tokens only ever add to it."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.rstrip("\ufffd")

    def _alternatives(self, written: Sequence[int], logits: torch.Tensor, n: int) -> dict[str, float]:
        """The n likeliest next tokens: text -> log probability; equal texts of different tokens are added up."""
        if not n:
            return {}
        import torch

        top = torch.topk(logits.log_softmax(-1), min(n, len(logits)))
        before = list(written[-1:])
        base = self._text(before)
        found: dict[str, float] = {}
        for value, number in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            text = self._text([*before, number])[len(base):]
            found[text] = float(np.logaddexp(found[text], value)) if text in found else value
        return found


def load_local(spec: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto") -> LocalLLM:
    """`PATH_OR_ID` (with or without `local/` in front) -> a model that answers. Raises SubjectError, ExtraError."""
    from autolabel.subjects.files import sha256
    from autolabel.subjects.loading import check_versions, find_source, load_causal, load_tokenizer

    check_versions()
    spec = spec.removeprefix(f"{PROVIDER}/")
    source = find_source(spec, revision=revision)
    tokenizer, model = load_tokenizer(source), load_causal(source, device=device, dtype=dtype)
    if source.files.chat is not None and not tokenizer.chat_template:
        tokenizer.chat_template = source.files.chat.read_text("utf-8")
    parts = [source.files.hash, sha256(source.files.chat) if source.files.chat else None]
    config = model.config.get_text_config()
    named = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len")]
    context = next((int(n) for n in named if isinstance(n, int) and n > 0), UNLIMITED)
    return LocalLLM(f"{PROVIDER}/{spec}", digest(*parts), model, tokenizer, context)


def local_of(llm: LLM | None, what: str) -> LocalLLM:
    """The local model inside any wrappers. Raises SettingsError: `what` needs one."""
    inner: Any = llm
    while inner is not None and not isinstance(inner, LocalLLM):
        inner = getattr(inner, "inner", None)  # wrappers keep the LLM they are around under this name
    if not isinstance(inner, LocalLLM):
        raise SettingsError(f"{what} reads the model's own probabilities of a text, which {llm.name if llm else 'no LLM'} does not give: "
                            "write --llm local/PATH_OR_ID")
    return inner


def _without_system(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """System messages put in front of the first user message."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    out = [dict(m) for m in messages if m["role"] != "system"]
    if system and out:
        out[0]["content"] = f"{system}\n\n{out[0]['content']}"
    return out or [{"role": "user", "content": system}]


def _cut(tokens: Sequence[tuple[str, Mapping[str, float]]], length: int) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Tokens of the first `length` characters."""
    for text, alternatives in tokens:
        if length <= 0:
            return
        yield text[:length], alternatives
        length -= len(text)
