"""The gain of a label is the difference of two plain forward passes; its AUC is scikit-learn's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from autolabel.errors import RequestError, SettingsError
from autolabel.llms.local import load_local
from autolabel.scorers.contrast import contrast
from autolabel.scorers.labels import layers_of
from autolabel.scorers.reading import Reading
from autolabel.scorers.surprisal import Surprisal, mean_logp
from autolabel.types import Explanation, Maker, Unit
from tests.local_model import make_local
from tests.scorers.oracle import TRUE, PlantedToy
from tests.scorers.scorer_world import world


def test_it_is_the_auc_of_the_gain(tmp_path: Path) -> None:
    import torch

    toy = world(PlantedToy(), documents=(40, 40, 60))
    llm = load_local(str(make_local(tmp_path / "m")))
    unit = Unit("toy", "0", "mlp", 0)
    [score] = Surprisal(llm=llm, active=8, silent=8).score([Explanation(unit, TRUE, None, Maker("test"))], toy.test)
    [layer] = [lay for lay in layers_of(toy.test) if lay.site.layer == "0"]
    found = contrast(Reading(toy.test), layer, unit, 8, 8)

    def mean(label: str, text: str) -> float:
        before = f"<|begin|>What follows is an excerpt of a text. What it contains: {label}.\n\nThe excerpt:\n"
        ids = llm.tokenizer(before + text, add_special_tokens=False)["input_ids"]
        n = len(llm.tokenizer(text, add_special_tokens=False)["input_ids"])
        with torch.inference_mode():
            logp = llm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1).numpy()
        return float(np.mean([logp[t - 1, ids[t]] for t in range(len(ids) - n, len(ids))]))
    records = (*found.active, *found.silent)
    gains = [mean(TRUE, r.excerpt.text) - mean("any text at all", r.excerpt.text) for r in records]
    assert score.value == pytest.approx(roc_auc_score([r.band == "active" for r in records], gains))
    assert score.n == 16 and score.extra["missing"] == 0 and score.simulator == llm.name
    with pytest.raises(SettingsError, match="local/"):
        Surprisal().score([], toy.test)


def test_a_text_without_a_token_has_no_gain(tmp_path: Path) -> None:
    llm = load_local(str(make_local(tmp_path / "m")))
    found = mean_logp(llm, llm.read(llm.ids("a text:")), "")
    assert isinstance(found, RequestError) and "no token" in str(found)


def test_texts_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    toy = world(PlantedToy(), documents=(20, 20, 40))
    llm = load_local(str(make_local(tmp_path / "m", context=190)))
    [score] = Surprisal(llm=llm).score([Explanation(Unit("toy", "0", "mlp", 0), TRUE, None, Maker("test"))], toy.test)
    assert score.extra.get("missing", 1) and (score.value is not None or "could not be read" in score.reason)
