"""Every noun of the system. Read this first, then `protocols.py`.

All types are frozen: a change is a new value. Arrays over many units live in `excerpts.py` and `neurons.py`; here is what
one unit, one excerpt, one label is. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from autolabel.errors import UnitError

Side = Literal["+", "-"]
Split = Literal["explain", "select", "test"]
SPLITS: tuple[Split, ...] = ("explain", "select", "test")
Verdict = Literal[
    "abstained", "failed", "unscored", "imprecise", "polysemantic", "contested", "confirmed", "partial", "rejected"
]

_TRANSFORMERLENS = re.compile(r"^(?:(?P<model>.+)[/:])?blocks\.(?P<layer>\d+)\.mlp\.hook_post\[(?P<index>-?\d+)\]$")
_SHORT = re.compile(r"^(?:(?P<model>.+)[/:])?L(?P<layer>[ed]?\d+)N(?P<index>-?\d+)$")
_LAYER_SITE = re.compile(r"^(?P<layer>[ed]?\d+)(?:-(?P<site>.+))?$")


def digest(*parts: object) -> str:
    """The first 16 hex digits of SHA-256 over the canonical JSON of `parts`: content addresses of runs, labels, settings."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def hash63(*parts: object) -> int:
    """A uniform integer in [0, 2**63): the ids of documents and excerpts, and the hash order of samples."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def layer_order(layer: str) -> int:
    """The sorting key of a layer name: `3` -> 3, `e0` -> 0, `d0` -> 10000 (decoders come after encoders)."""
    return int(layer[1:]) + 10_000 if layer.startswith("d") else int(layer.removeprefix("e"))


@dataclass(frozen=True, slots=True)
class Unit:
    """The address of one neuron and the side of zero it is read on. `str()` is `minilm/5-mlp/1330` or `minilm/5-mlp/-1330`."""

    model: str  # the model's name in the catalogue; may contain slashes
    layer: str  # `3`; in encoder-decoders `e3`, `d3`
    site: str  # where in the block: `mlp` is the input of the down-projection
    index: int  # 0-based neuron number
    side: Side = "+"  # which side of zero: a = max(side * x, 0)

    def __str__(self) -> str:
        return f"{self.model}/{self.layer}-{self.site}/{'-' if self.side == '-' else ''}{self.index}"

    @property
    def positive(self) -> Unit:
        """The same neuron, positive side: the row of the view `neurons`."""
        return Unit(self.model, self.layer, self.site, self.index)

    @classmethod
    def parse(cls, text: str, model: str = "", site: str = "mlp") -> Unit:
        """Read an address from the right, so that model names with slashes work.

        Also `5/1330`, `L5N1330`, `blocks.5.mlp.hook_post[1330]` and Neuronpedia URLs. `model` and `site` fill in what the
        text leaves out. Raises UnitError.
        """
        text = text.strip()
        for form in (_TRANSFORMERLENS, _SHORT):
            if m := form.match(text):
                return cls._build(m["model"] or model, m["layer"], site, m["index"], text)
        path = re.sub(r"^https?://[^/]+/", "", text).split("?")[0].split("#")[0].strip("/")
        parts = path.rsplit("/", 2)
        if len(parts) >= 2 and (m := _LAYER_SITE.match(parts[-2])):
            return cls._build(parts[0] if len(parts) == 3 else model, m["layer"], m["site"] or site, parts[-1], text)
        raise UnitError(f"cannot read {text!r} as a unit: write LAYER/NEURON or MODEL/LAYER-SITE/NEURON, as in 5/1330 or minilm/5-mlp/1330")

    @classmethod
    def _build(cls, model: str, layer: str, site: str, index: str, text: str) -> Unit:
        if not re.fullmatch(r"-?\d{1,9}", index):
            raise UnitError(f"cannot read {text!r} as a unit: {index!r} is not a neuron number")
        return cls(model, layer, site, int(index.removeprefix("-")), "-" if index.startswith("-") else "+")


@dataclass(frozen=True, slots=True)
class Site:
    """One place in a model where neurons are read: all neurons of one layer."""

    layer: str  # layer name, as in `Unit.layer`
    order: int  # sorting key of the layer
    name: str  # site name, as in `Unit.site`
    width: int  # number of neurons
    two_sided: bool  # the nonlinearity does not bound it from below: the negative side is attempted too

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that are attempted by default."""
        return ("+", "-") if self.two_sided else ("+",)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus, as read from its source."""

    id: int  # hash63 of its normalised text
    block: int  # what shares a split and is one document to every interval; its own id unless it is a passage of a long text
    corpus: str  # the name of the corpus that it came from
    text: str  # the text as it is
    metadata: Mapping[str, Any] = field(default_factory=dict)  # topic, language, group, ...: any JSON


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A fixed-length window of one document, stored once and shared by all units."""

    id: int  # hash63 of document, first token, tokenizer and context length; its order is the hash order
    document: int  # Document.id
    start: int  # number of the first token within the document
    tokens: tuple[int, ...]  # token ids, content tokens only
    offsets: tuple[tuple[int, int], ...]  # characters [from, to) of `text`, one pair per token
    text: str  # the exact text that the tokens cover


@dataclass(frozen=True, slots=True)
class ActivationRecord:
    """One unit on one excerpt."""

    excerpt: Excerpt  # the text
    activations: tuple[float, ...]  # a = max(side * x, 0) per token, in the model's own unit
    band: str  # how it was chosen: `top`, `stratum:0`..`stratum:9`, `random`; silent ones: `negative:token`, `negative:near`, `negative:neighbour`
    weight: float | None = None  # sampling weight 1/pi; None where the choice was no random sample


@dataclass(frozen=True, slots=True)
class UnitStats:
    """What the explain split says of one unit and side; a = max(side * x, 0) unless a line says x."""

    n_tokens: int  # tokens seen
    firing_rate: float  # share of tokens with a > 0
    active_rate: float  # share of tokens with a > tau
    mean: float  # mean of a
    std: float  # standard deviation of a
    min: float  # smallest x
    max: float  # largest a
    tau: float  # .2 * max
    tau99: float  # 99th percentile of a; 0 where that is 0: then a > 0 counts
    quantiles: tuple[float, ...] = ()  # of a, at `neurons.QUANTILES`
    lexicality: float | None = None  # eta squared of the token type, None where it cannot be said
    top_tokens: tuple[str, ...] = ()  # token types with the largest mean a


@dataclass(frozen=True, slots=True)
class Exemplars:
    """All that one party may see of a unit: records of one split and the statistics of explain."""

    unit: Unit
    stats: UnitStats
    records: Sequence[ActivationRecord] = ()
    promoted: tuple[str, ...] = ()  # output tokens that the unit's weights raise most (logit lens), empty where the model has no unembedding
    lowered: tuple[str, ...] = ()  # output tokens that they lower most


@dataclass(frozen=True, slots=True)
class Maker:
    """Exactly what made an explanation."""

    explainer: str  # registered name, or `module:Class`
    settings: Mapping[str, Any] = field(default_factory=dict)  # its fields; beside them `dropped_excerpts` and `flags` (what was done to a reply) if any
    llm: str | None = None  # `provider/model`, None for LLM-free explainers
    prompt: str | None = None  # digest of the prompt template and its few-shot examples


@dataclass(frozen=True)
class Explanation:
    """A candidate label: a sentence and, where possible, an executable pattern."""

    unit: Unit
    text: str  # the sentence; empty when it abstained
    pattern: str | None  # canonical JSON of a pattern, None where there is none
    maker: Maker
    abstained: str | None = None  # why no label is given, None where one is

    @cached_property
    def id(self) -> str:
        """Content address: same unit, text, pattern and maker, same id."""
        m = self.maker
        return digest(str(self.unit), self.text, self.pattern, m.explainer, dict(m.settings), m.llm, m.prompt, self.abstained)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Predicted activation per token of one excerpt."""

    excerpt: int  # Excerpt.id
    expected: tuple[float | None, ...]  # per token, on the named scale; None where no value was given (never 0 in its place)
    scale: str = "strength"  # `strength`: [0, 1]; `decile`: [0, 10]; `activation`: the unit's own
    failure: str | None = None  # why values are missing: `kind: message` of the LLMError; None where none is, or a part of a reply was read
    reply: str = ""  # what came in their place, as it came


@dataclass(frozen=True, slots=True)
class Score:
    """One number about one explanation, with its interval, or the reason why there is none."""

    explanation: str  # Explanation.id
    scorer: str  # registered name
    simulator: str  # what read the label: `pattern`, ...
    split: Split  # where it was measured
    value: float | None  # None where unscored
    low: float | None = None  # 95 % interval
    high: float | None = None
    n: int = 0  # excerpts read
    reason: str | None = None  # why it is unscored
    extra: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)  # named secondary figures

    @classmethod
    def unscored(cls, explanation: str, scorer: str, simulator: str, split: Split, reason: str) -> Score:
        """A score that could not be given: kept, shown, excluded from every mean."""
        return cls(explanation, scorer, simulator, split, None, reason=reason)


Role = Literal["explain", "revise", "simulate", "detect", "fuzz", "intrude", "embed", "surprise", "generate", "probe"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call to an LLM asks for beside its messages. All but `excerpts` is part of the call's digest."""

    role: Role  # what the answer is for; `autolabel check` proves by it that no split leaked into another's calls
    max_tokens: int = 512  # of the answer
    temperature: float | None = 0.0  # None: the server's own
    seed: int | None = None  # passed on where the server takes one
    sample: int = 0  # the n-th answer to the same question: different samples are different calls
    schema: Mapping[str, Any] | None = None  # JSON schema of the answer; None: free text
    logprobs: int = 0  # alternatives wanted per token of the answer
    stop: tuple[str, ...] = ()  # texts that end the answer
    excerpts: tuple[int, ...] = ()  # Excerpt.id of every excerpt that the messages show


@dataclass(frozen=True, slots=True)
class Usage:
    """What one LLM call used."""

    tokens_in: int = 0  # of the prompt, the cached ones among them; 0: the server did not say (no prompt is empty)
    tokens_out: int = 0  # of the answer, the reasoning among them
    tokens_cached: int = 0  # of tokens_in: read from the provider's cache
    tokens_reasoning: int = 0  # of tokens_out: thought, not shown
    tokens_written: int = 0  # of tokens_in: put into the provider's cache, where that has its own price


@dataclass(frozen=True, slots=True)
class Completion:
    """What an LLM said, and what it cost."""

    text: str
    tokens: tuple[tuple[str, Mapping[str, float]], ...] = ()  # per token: its text and log probabilities of alternatives
    usage: Usage = Usage()
    model: str = ""  # the model's name as the server gave it
    cost_usd: float | None = None  # None where no price is known
    call: str = ""  # digest of the call, empty where it is not stored
    raw: str = ""  # the reply as it came, in the form of chat completions; empty where it did not come over a wire


@dataclass(frozen=True, slots=True)
class Call:
    """One call to an LLM, as it is stored."""

    digest: str  # content address of model, address, messages and settings: equal calls are made once
    role: Role  # what the answer is for
    llm: str  # `provider/model`
    state: str  # `asked`: about to be sent; `done`; `failed:KIND`; `lost`: asked, then the process was killed; `waiting`: for a file
    request: str = ""  # JSON of what the digest is made of
    reply: str | None = None  # as it came, before anyone read it
    usage: Usage | None = None  # None where it was not said
    cost_usd: float | None = None  # None where it is not known
    excerpts: tuple[int, ...] = ()  # Excerpt.id of every excerpt that the messages show
