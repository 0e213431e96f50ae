"""rho_context and rho_new put to the test, through the scorer itself: planted units of contexts and of endings, labels made worse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from autolabel.audits.beds import views_of
from autolabel.audits.paired import FALL, Finding, holds
from autolabel.excerpts import Excerpts
from autolabel.protocols import Subject
from autolabel.scorers.entries import Run
from autolabel.scorers.report import score_test
from autolabel.subjects.planted import Plant, Planted, Silent, noise_for
from autolabel.subjects.rules import Says
from autolabel.subjects.suite import Garden
from autolabel.types import Explanation, Maker, Unit

ENDINGS = ("ing", "ed", "ly", "er", "tion", "al", "es", "ic", "ment", "able")
RHO = 0.8


def kinds(inner: Subject, garden: Garden, explain: Excerpts, test: Excerpts, run: Run, seed: int = 0, each: int = 6) -> list[Finding]:
    """The own label must score higher than half of it and than twice of it; a list of tokens must have no rho_context."""
    rng = np.random.default_rng(seed)
    whole = set(garden.reading.vocabulary)
    made: list[tuple[str, list[str]]] = []  # metric, patterns: own, missing half, extra
    for _ in range(each):
        words = garden.frequent(rng, 8)
        made.append(("rho_context", [_before(words[:4]), _before(words[:2]), _before(words)]))
    for ending, other in pairwise(ENDINGS[:each + 1]):
        made.append(("rho_new", [_ends([ending]), _ends([ending], half=True), _ends([ending, other])]))
    lexical = [_tokens([w for w in garden.some_words(rng, 20, 3e-4, 5e-3) if w in whole]) for _ in range(each)]
    rules = [p[0] for _, p in made] + lexical
    plants = [Plant("0", i, "audit", ((Says(rule), 1.0),), noise_for(RHO, Says(rule).strength(garden.reading), seed=seed + i))
              for i, rule in enumerate(rules) if Says(rule).strength(garden.reading).any()]
    subject = Planted(Silent(inner, len(rules)), tuple(plants))
    views = views_of(subject, explain, test)
    live = {p.index for p in plants}
    asked = [(i, metric, k, pattern) for i, (metric, patterns) in enumerate(made) for k, pattern in enumerate(patterns) if i in live]
    asked += [(len(made) + i, "list", 0, pattern) for i, pattern in enumerate(lexical) if len(made) + i in live]
    labels = [Explanation(Unit(subject.name, "0", subject.sites[0].name, i), f"{m} {k}", pattern, Maker("audit")) for i, m, k, pattern in asked]
    result = {row["explanation"]: row for row in score_test(labels, [], views.test, views.explain, run=run).rows()}
    value = {(i, k): result[e.id]["rho_context" if m == "list" else m] for (i, m, k, _), e in zip(asked, labels, strict=True)}
    on = "planted, whole split"
    out = []
    for metric in ("rho_context", "rho_new"):
        mine = [i for i, (m, _) in enumerate(made) if m == metric]
        for k, test_name in ((1, "missing half"), (2, "extra")):
            out.append(_falls(metric, test_name, on, [(value.get((i, 0)), value.get((i, k))) for i in mine]))
    lists = [abs(v) for (i, _), v in value.items() if i >= len(made) and isinstance(v, float)]
    out.append(Finding("token list", "rho_context", on, "mean |rho_context| <= .05", f"{np.mean(lists):.3f}" if lists else "no value",
                       bool(np.mean(lists) <= 0.05) if lists else None, len(lists)))
    return out


def _falls(metric: str, test: str, on: str, pairs: Sequence[tuple[object, object]]) -> Finding:
    known = [(a, b) for a, b in pairs if isinstance(a, float) and isinstance(b, float)]
    if not known:
        return Finding(test, metric, on, f"falls > {FALL}, >= 95 %", "no unit fires in enough documents", None)
    wins = [a - b > FALL for a, b in known]
    return Finding(test, metric, on, f"falls > {FALL}, >= 95 %", f"{np.mean(wins):.1%} of {len(wins)}", holds(wins), len(wins))


def _before(words: Sequence[str]) -> str:
    return json.dumps({"any": [{"before": [{"word": list(words)}], "within": 1}]})


def _tokens(words: Sequence[str]) -> str:
    return json.dumps({"any": [{"on": {"token": list(words)}}]})


def _ends(endings: Sequence[str], *, half: bool = False) -> str:
    first = "[a-mA-M]" if half else ""
    return json.dumps({"any": [{"on": {"regex": rf"\b{first}\pL+{ending}\b"}} for ending in endings]})
