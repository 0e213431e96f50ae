"""Small catalogues, made by hand, for the tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from autolabel.catalogue import Catalogue

TEXT = "añb 中 c😀 d"
SPANS = [(0, 3), (3, 5), (5, 8), (8, 10)]  # "añb", " 中", " c😀", " d"
ROOT = Path(__file__).parents[2]


def small(path: Path) -> Catalogue:
    """One model with three units and a control with one, on three documents of one excerpt each."""
    catalogue = Catalogue.open(path, create=True)
    splits = ["explain", "select", "test"]
    with catalogue.writer() as w:
        w.insert("models", {"name": ["org/m", "org/m#shuffled"], "hash": "h", "corpus_id": "c", "context": 64,
                            "is_control": [False, True], "control_of": [None, "org/m"]})
        w.insert("documents", {"corpus_id": "c", "id": [1, 2, 3], "block": [1, 2, 3], "corpus": "demo", "split": splits, "n_tokens": 4,
                               "copies": 1, "metadata": '{"topic": "x"}'})
        w.insert("excerpts", {"corpus_id": "c", "id": [10, 20, 30], "document": [1, 2, 3], "block": [1, 2, 3], "split": splits, "start": 0,
                              "n_tokens": 4, "token_ids": [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 6]],
                              "char_start": [[a for a, _ in SPANS]] * 3, "char_end": [[b for _, b in SPANS]] * 3, "text": TEXT})
        model = ["org/m"] * 3 + ["org/m#shuffled"]
        neuron, side = [0, 1, 1, 0], ["+", "+", "-", "+"]
        unit = {"model": model, "layer": "3", "site": "mlp", "neuron": neuron, "side": side}
        w.insert("units", {**unit, "layer_order": 3, "n_tokens": 4, "firing_rate": .5, "active_rate": .25, "x_mean": -.1, "x_std": 1.0,
                           "x_min": -2.0, "x_max": 3.0, "mean": .4, "std": .9, "max": 3.0, "quantiles": [[.1, .2]] * 4,
                           "lexicality": float("nan"), "top_tokens": [["a", "b"]] * 4})
        w.insert("activations", {**unit, "split": "test", "band": "top", "rank": 1, "excerpt": 30, "max_activation": 3.0, "position": 2,
                                 "activations": [[0., 1., 3., 0.]] * 4})
        w.insert("explanations", {**unit, "id": ["e0", "e1", "e2", "e3"], "text": ["words for a", "words for b", "", "noise"],
                                  "explainer": "induce", "abstained": [None, None, "no pattern", None], "cost_usd": [.5, .25, None, None]})
        w.insert("scores", {"explanation": ["e0", "e0", "e1", "e1", "e3"], "model": ["org/m"] * 4 + ["org/m#shuffled"],
                            "split": ["select", "test"] * 2 + ["test"], "scorer": "correlation", "simulator": "pattern",
                            "value": [.5, .4, .3, .2, .1], "low": .0, "high": 1.0, "n": 9, "peak": .3,
                            "extra": [None, '{"verdict": "confirmed"}', None, '{"verdict": "rejected"}', '{"verdict": "confirmed"}']})
        w.insert("choices", {**unit, "explanation": ["e0", "e1", "e2", "e3"], "label": ["words for a", "words for b", None, "noise"],
                             "of_control": [False] * 3 + [True], "explainer": "induce", "simulator": "pattern",
                             "score": [.4, .2, None, .1], "verdict": ["confirmed", "rejected", "abstained", "confirmed"],
                             "reason": [None, None, "no pattern", None], "contextual": [True, False, None, None]})
        w.insert("failures", {"run": "r", "model": ["org/m", "org/m#shuffled"], "layer": "3", "site": "mlp", "neuron": 2, "side": "+",
                              "explainer": "induce", "stage": "explain", "kind": "ReplyError", "message": "m", "reply": "raw"})
    return catalogue


def python(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a script in another process of this interpreter."""
    return subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-c", code, *map(str, arguments)], capture_output=True, text=True,
                          cwd=ROOT, timeout=120, **options)
