"""`structured`: a sentence for people and a pattern that runs, in one answer.

That an explanation should be something which can be executed and so checked exactly is from Neuron to Graph (Foote et al. 2023,
arXiv 2305.19911); excerpts as running text with the active words marked follow Lee et al. 2023 (arXiv 2310.06200) and Paulo et al.
2024 (arXiv 2410.13928). A pattern that does not parse goes back once with the parser's message.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from autolabel.errors import PatternError, ReplyError
from autolabel.explainers import asking, views
from autolabel.explainers.asking import Answer, Asking, Style
from autolabel.explainers.replies import NO_PATTERN, read_object
from autolabel.patterns.classes import CLASSES
from autolabel.patterns.syntax import MAX_WITHIN, dump, parse
from autolabel.prompts import Prompt
from autolabel.protocols import ExplainSplit
from autolabel.types import Exemplars, Explanation

KEYS = ("label", "pattern", "why")
_OPTIONAL = ("on", "before", "after", "near", "unless")
_ABSENT: tuple[Any, ...] = (None, [], "")  # in these forms a schema makes some models say that a key is left out


def read_reply(reply: str) -> Answer:
    """`{"label": ..., "pattern": ...}`, or `{"label": null, "why": ...}`. Raises ReplyError with the parser's message."""
    answer = read_object(reply)
    if unknown := [key for key in answer if key not in KEYS]:
        raise ReplyError(f"the answer has the unknown key {unknown[0]!r}; it knows {', '.join(KEYS)}", reply)
    label, pattern, why = answer.get("label"), answer.get("pattern"), answer.get("why")
    if "label" not in answer or not isinstance(label, str | None):
        raise ReplyError("the answer has no label: it must be a sentence, or null where there is no clear pattern", reply)
    if label is None or not label.strip() or label.strip(" .").lower() == NO_PATTERN:
        if why is not None and not isinstance(why, str):
            raise ReplyError("why must be a sentence", reply)
        return Answer("", None, f"{NO_PATTERN}: {why.strip()}" if why and why.strip() else NO_PATTERN)
    if not isinstance(pattern, Mapping):
        raise ReplyError("the answer has a label and no pattern: give both, or neither", reply)
    try:
        parsed = parse(json.dumps(_without_empty(pattern), ensure_ascii=False))
    except PatternError as error:
        near = f", at: {error.text[error.position:error.position + 60]}" if error.text else ""
        raise ReplyError(f"the pattern does not parse: {error.message}{near}", reply) from None
    if concept := [atom for atom in parsed.atoms() if atom.kind == "concept"]:
        raise ReplyError(f"concept {concept[0].values[0]!r} is not known here: use word, stem or like", reply)
    return Answer(label, dump(parsed))


def _without_empty(pattern: Mapping[str, Any]) -> dict[str, Any]:
    """Optional keys of clauses and atoms that hold nothing count as left out."""
    def clause(value: Any) -> Any:
        return {k: v for k, v in value.items() if k not in _OPTIONAL or v not in _ABSENT} if isinstance(value, Mapping) else value
    clauses = pattern.get("any")
    return dict(pattern) | ({"any": [clause(c) for c in clauses]} if isinstance(clauses, list) else {})


def _answer(example: Mapping[str, Any]) -> str:
    keys = ("label", "pattern") if example["label"] else ("label", "why")
    return json.dumps({key: example[key] for key in keys}, ensure_ascii=False)


def _schema() -> Mapping[str, Any]:
    """JSON schema of the answer, in the dialect of strict structured outputs: every key is required, absence is null or []."""
    def closed(properties: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False}
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    atoms = [closed({"word": texts}), closed({"stem": texts}), closed({"class": {"type": "string", "enum": list(CLASSES)}}), closed({"regex": text}),
             *(closed({kind: text, "above": {"type": "number"}}) for kind in ("like", "about"))]
    atom = {"$ref": "#/$defs/atom"}
    several = {"type": "array", "items": atom}
    within = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_WITHIN}, {"type": "string", "enum": ["excerpt"]}]}
    clause = closed({"on": several, "before": several, "after": several, "near": several, "unless": {"anyOf": [atom, {"type": "null"}]},
                     "within": within, "strength": {"type": "number"}})
    pattern = closed({"any": {"type": "array", "items": clause}})
    nothing = {"type": "null"}
    answer = closed({"label": {"anyOf": [text, nothing]}, "pattern": {"anyOf": [pattern, nothing]}, "why": {"anyOf": [text, nothing]}})
    return answer | {"$defs": {"atom": {"anyOf": atoms}}}


STYLE = Style("structured", {"excerpts": views.graded, "top_tokens": views.top_tokens}, _answer, read_reply,
              retries=True, schema=_schema())


@dataclass(frozen=True)
class Structured(Asking):
    """A sentence and a pattern."""

    style: ClassVar[Style] = STYLE
    needs: ClassVar[frozenset[str]] = frozenset({"records"})

    def prompt(self, exemplars: Exemplars) -> Prompt:
        """What is sent for one unit."""
        return asking.prompt_for(self, STYLE, exemplars)

    def read(self, exemplars: Exemplars, reply: str, llm: str) -> Explanation:
        """A reply that came by another way than a call of ours, as if it had been one. Raises ReplyError."""
        return asking.explanation(self, STYLE, exemplars, self.prompt(exemplars), STYLE.read(reply), llm)

    def explain(self, units: Iterable[Exemplars], explain_split: ExplainSplit) -> Iterator[Explanation]:
        """One call per unit and candidate, two where the first reply cannot be used."""
        return asking.explain(self, STYLE, units)
