"""What a label costs in tokens, scorer by scorer, at their default settings: prompts as they are sent, replies as short as they can be.

Tokens are estimated (explainers/estimate.py, which errs upwards). For comparison: the explainer's prompt of Bills et al. 2023 has
2,377 tokens, that of Lee et al. 2023 963; a simulation of theirs takes one prompt of about that size for each excerpt.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence

LABEL = "words that say when something is done or must be done, as in 'before', 'after' and 'while'"
UNITS = 6


class Counting:
    """Answers every question of the scorers in the form asked for, with hashes for judgements, and counts tokens by role."""

    name, capabilities = "scripted/counting", frozenset({"json"})

    def __init__(self) -> None:
        self.calls = self.tokens_in = self.tokens_out = 0
        self.lock = threading.Lock()

    def complete(self, messages: Sequence, ask):  # type: ignore[no-untyped-def]  # as in protocols.LLM
        from autolabel.explainers.estimate import count, tokens_of
        from autolabel.types import Completion

        text = self.answer(messages[-1]["content"], ask.role)
        with self.lock:
            self.calls += 1
            self.tokens_in += tokens_of(messages)
            self.tokens_out += count(text)
        return Completion(text)

    def answer(self, said: str, role: str) -> str:
        from autolabel.types import hash63

        if role == "simulate":
            tokens = json.loads(said.split("Tokens: ", 1)[1])
            return json.dumps({"activations": [[i, t, hash63(said, i) % 11 if hash63(t) % 9 == 0 else 0] for i, t in tokens]}, ensure_ascii=False)
        if role == "generate":
            n, kind = re.findall(r"Write (\d+) texts of the kind: (.*)\.", said)[0]
            rest = "and then a few more words of plain text, about as many as asked for, and an end"
            return json.dumps({"texts": [f"{kind} {i}: {rest}" for i in range(int(n))]})
        numbers = [int(k) for k in re.findall(r"^\[\w+ (\d+)\]", said, re.MULTILINE)]
        return json.dumps({"intruder": 1} if role == "intrude" else {"answers": [[k, hash63(said, k) % 2] for k in numbers]})


def bench(tokens: int = 20_000) -> Iterator[tuple[str, str, str]]:
    """Rows (name, tokens in and out, note), the mean of a few units of MiniLM on the Python documentation."""
    from autolabel.protocols import TestEvidence
    from autolabel.registry import build
    from autolabel.simulators.digits import DigitsSimulator
    from autolabel.subjects import load_subject
    from autolabel.types import Explanation, Maker, Unit
    from eval.bench import scoring

    subject = load_subject("demo", threads=1)
    data = scoring.excerpts(subject.tokenizer, tokens)
    test = TestEvidence(subject, lambda: iter([data]), len(data), data.n_tokens, scoring.statistics(subject, data))
    site = subject.sites[4]
    labels = [Explanation(Unit(subject.name, site.layer, site.name, u), LABEL, None, Maker("bench")) for u in range(UNITS)]
    for name in ("detection", "fuzzing", "intruder", "generative", "simulation"):
        llm = Counting()
        scorer = build("scorers", name, parts={"llm": llm, "simulator": DigitsSimulator(llm=llm)})
        scores = scorer.score(labels, test)
        read = sum(s.n for s in scores) / UNITS
        yield (f"tokens per label: {name}{', digits' if name == 'simulation' else ''}", f"{llm.tokens_in / UNITS:,.0f} + {llm.tokens_out / UNITS:,.0f}",
               f"in + out, estimated; {llm.calls / UNITS:.1f} calls, {read:.0f} texts; {sum(s.value is not None for s in scores)} of {UNITS} scored")
