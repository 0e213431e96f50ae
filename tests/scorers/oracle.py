"""An LLM that knows what quoted words in a label mean, and answers every kind of question about them as well as its skill allows."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autolabel.protocols import Message
from autolabel.simulators.embedding import quoted_words
from autolabel.types import Ask, Completion, hash63
from tests.scorers.scorer_world import STEMS, VOCABULARY, ToySubject

WORDS = ("gula", "hano", "kise")  # what unit 0 of layer 0 responds to
TRUE = "the words 'gula', 'hano' and 'kise'"
FALSE = "the words 'bala', 'cemi' and 'dino'"


@dataclass(frozen=True)
class PlantedToy(ToySubject):
    """Unit 0 of layer 0 is 2 and a little more at three words and 0 elsewhere; all others are those of ToySubject. `tokenizer` splits at spaces."""

    def x(self, tokens: np.ndarray, layer: int) -> np.ndarray:
        out = super().x(tokens, layer)
        if layer == 0:
            out[:, :, 0] = (2.0 + 0.3 * np.abs(out[:, :, 5])) * np.isin(tokens, [VOCABULARY.index(w) for w in WORDS])
        return out

    def tokenizer(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [VOCABULARY.index(w) for w in text.lower().split() if w in VOCABULARY]}


@dataclass
class Oracle:
    """`skill`: share of its judgements that are right; the others are drawn at random."""

    skill: float = 1.0
    name: str = "scripted/oracle"
    capabilities: frozenset[str] = frozenset({"json"})
    asked: list[Ask] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def complete(self, messages: Sequence[Message], ask: Ask) -> Completion:
        said = messages[-1]["content"]
        with self.lock:
            self.asked.append(ask)
            self.prompts.append(said)
        label = json.loads(re.search(r"^Explanation: (.*)$", said, re.MULTILINE)[1])
        return Completion(json.dumps(getattr(self, ask.role)([w.lower() for w in quoted_words(label)], said)))

    def sure(self, *what: object) -> bool:
        return hash63("sure", *what) / 2**63 < self.skill

    def coin(self, *what: object) -> bool:
        return hash63("coin", *what) % 2 == 0

    def simulate(self, words: list[str], said: str) -> object:
        tokens = json.loads(said.split("Tokens: ", 1)[1])
        return {"activations": [[i, t, (9 if t.strip().lower() in words else 0) if self.sure(said, i) else hash63(said, i) % 11] for i, t in tokens]}

    def lines(self, said: str) -> list[tuple[int, str]]:
        word = re.search(r"each behind \[(\w+) NUMBER\]", said)[1]
        return [(int(k), text) for k, text in re.findall(rf"^\[{word} (\d+)\] (.*)$", said, re.MULTILINE)]

    def detect(self, words: list[str], said: str) -> object:
        return {"answers": [[k, int(any(w in text.lower() for w in words) if self.sure(text) else self.coin(text))] for k, text in self.lines(said)]}

    def marks(self, text: str) -> list[str]:
        return [m.strip().lower() for m in re.findall(r"<<\w+?:(.*?):\w+?>>", text)]

    def right(self, words: list[str], text: str) -> bool:
        return any(w in mark for mark in self.marks(text) for w in words)

    def fuzz(self, words: list[str], said: str) -> object:
        return {"answers": [[k, int(self.right(words, text) if self.sure(text) else self.coin(text))] for k, text in self.lines(said)]}

    def intrude(self, words: list[str], said: str) -> object:
        texts = self.lines(said)
        guess = 1 + hash63(said) % len(texts)
        found = [k for k, text in texts if not self.right(words, text)]
        return {"intruder": found[0] if len(found) == 1 and self.sure(said) else guess}

    def generate(self, words: list[str], said: str) -> object:
        n, kind = re.search(r"Write (\d+) texts of the kind: (.*)\.", said).groups()
        plain = [w for w in STEMS if w not in WORDS]
        texts = []
        for i in range(int(n)):
            text = [plain[hash63(kind, i, j) % len(plain)] for j in range(8)]
            fits = kind == "fits" if self.sure(said, i) else self.coin(said, i)
            texts.append(" ".join([*text, *([words[i % len(words)]] if fits else [])]))
        return {"texts": texts}
