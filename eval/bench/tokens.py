"""What a label costs in tokens, explainer by explainer and scorer by scorer, at their default settings: prompts as they are sent, replies
as short as they can be.

Tokens are estimated (explainers/estimate.py, which errs upwards). For comparison stand the explainers' prompts of Bills et al. 2023 and
of Lee et al. 2023, as those count them; a simulation of theirs takes one prompt of about that size for each excerpt.
`python -m eval.bench.tokens` prints the table.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

LABEL = "words that say when something is done or must be done, as in 'before', 'after' and 'while'"
UNITS = 6
THEIRS = {"Bills et al. 2023": 2377, "Lee et al. 2023": 963}  # tokens of their explainers' prompts
ASKING = ("detection", "fuzzing", "intruder", "generative", "simulation")  # scorers that ask a chat model
Row = tuple[str, str, str]  # name, tokens in and out, note


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


def bench(tokens: int = 60_000) -> Iterator[Row]:
    """Rows (name, tokens in and out, note), the mean of a few units of one layer of MiniLM on the demo corpus."""
    import autolabel as al

    with tempfile.TemporaryDirectory() as folder:
        catalogue = al.extract("demo", corpus="demo", db=Path(folder) / "x.duckdb", layers="4", max_tokens=tokens, threads=1)
        for who, n in THEIRS.items():
            yield f"tokens per label: the explainer's prompt of {who}", f"{n:,}", "in, as they count"
        yield from explaining(catalogue)
        yield from scoring(catalogue)


def explaining(catalogue) -> Iterator[Row]:  # type: ignore[no-untyped-def]  # a Catalogue
    """One prompt per label, and a reply as those of the few-shot examples."""
    from autolabel import prompts
    from autolabel.assets import read_prompt
    from autolabel.explainers.asking import FEW_SHOT
    from autolabel.explainers.estimate import count, tokens_of
    from autolabel.pipeline.exemplars import exemplars_for
    from autolabel.pipeline.selection import select_units
    from autolabel.pipeline.session import model_row, subject_of
    from autolabel.registry import build, targets
    from autolabel.splits import explain_split

    row = model_row(catalogue)
    split = explain_split(catalogue, subject_of(catalogue, row))
    units = select_units(catalogue, row.name, f"4/0-{UNITS - 1}")
    answered = prompts.few_shot(FEW_SHOT, read_prompt("few_shot", FEW_SHOT))
    for name in sorted(targets("explainers")):
        plugin = build("explainers", name)
        if not hasattr(plugin, "style"):
            continue
        made = [plugin.prompt(e) for e in exemplars_for(catalogue, plugin, units, lambda: split)]
        n_in = float(np.mean([tokens_of(p.messages) for p in made]))
        n_out = float(np.mean([count(plugin.style.answer(one)) for one in answered]))
        shown, dropped = (float(np.mean([f(p) for p in made])) for f in (lambda p: len(p.excerpts), lambda p: p.dropped))
        beside = ", ".join(f"{n_in / n:.2f} of {who}" for who, n in THEIRS.items())
        missing = "; no output tokens: MiniLM has no unembedding" if name == "input_output" else ""
        yield (f"tokens per label: explainer {name}", f"{n_in:,.0f} + {n_out:,.0f}",
               f"in + out, estimated; the prompt is {beside}; {shown:.0f} excerpts, {dropped:.0f} left out{missing}")


def scoring(catalogue) -> Iterator[Row]:  # type: ignore[no-untyped-def]  # a Catalogue
    """One label per unit, scored on test."""
    from autolabel.pipeline.session import model_row, subject_of
    from autolabel.registry import build
    from autolabel.simulators.digits import DigitsSimulator
    from autolabel.splits import test_evidence
    from autolabel.types import Explanation, Maker, Unit

    row = model_row(catalogue)
    test = test_evidence(catalogue, subject_of(catalogue, row))
    labels = [Explanation(Unit(row.name, "4", "mlp", u), LABEL, None, Maker("bench")) for u in range(UNITS)]
    for name in ASKING:
        llm = Counting()
        scorer = build("scorers", name, parts={"llm": llm, "simulator": DigitsSimulator(llm=llm)})
        scores = scorer.score(labels, test)
        read = sum(s.n for s in scores) / UNITS
        yield (f"tokens per label: scorer {name}{', digits' if name == 'simulation' else ''}",
               f"{llm.tokens_in / UNITS:,.0f} + {llm.tokens_out / UNITS:,.0f}",
               f"in + out, estimated; {llm.calls / UNITS:.1f} calls, {read:.0f} texts; {sum(s.value is not None for s in scores)} of {UNITS} scored")
    yield _surprisal(labels, test)
    yield "tokens per label: scorer embedding", "0", "asks no LLM"


def _surprisal(labels: Sequence, test) -> Row:  # type: ignore[no-untyped-def]
    """A local model reads label and texts; what it is told to read is counted like all else, whatever its own tokens are."""
    from autolabel.explainers.estimate import count
    from autolabel.llms.local import LocalLLM, load_local
    from autolabel.scorers.surprisal import Surprisal
    from tests.local_model import make_local

    class Reader(LocalLLM):
        heard = 0

        def ids(self, text: str) -> list[int]:
            type(self).heard += count(text)
            return super().ids(text)

    with tempfile.TemporaryDirectory() as folder:
        made = load_local(str(make_local(Path(folder) / "made", context=8192)))
        scores = Surprisal(llm=Reader(made.name, made.hash, made.model, made.tokenizer, made.context)).score(labels, test)
    return ("tokens per label: scorer surprisal", f"{Reader.heard / UNITS:,.0f}",
            f"read by a local model, estimated; {sum(s.value is not None for s in scores)} of {UNITS} scored")


if __name__ == "__main__":
    for what, measured, note in bench():
        print(f"{what:66s} {measured:>16s}  {note}")
