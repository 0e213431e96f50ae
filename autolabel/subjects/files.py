"""What a model folder must hold before anything of it is read: data only, never code.

Only the files named here are ever opened; they are linked into an empty folder that is given to transformers, so that
whatever else lies beside them (pickles, adapters, Python files) is out of reach. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autolabel.errors import SubjectError

CONFIG = "config.json"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# one of these is needed
TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
TOKENIZER_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
CHAT = "chat_template.jinja"  # how messages are written out; run by transformers in a sandbox, no part of what neurons do
POOLING = "1_Pooling/config.json"  # of sentence-transformers: data about the model's output
PATTERNS = (CONFIG, "model*.safetensors", INDEX, *TOKENIZER, *TOKENIZER_BESIDE, CHAT, POOLING)  # what is fetched from a hub
CODE_KEYS = ("auto_map", "_attn_implementation_internal", "_experts_implementation_internal")  # keys that make a loader import or run code


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model that may be read."""

    folder: Path
    config: dict[str, Any]  # config.json as it is: any JSON
    weights: tuple[Path, ...]  # safetensors files, by name
    tokenizer: tuple[Path, ...]  # tokenizer files, by name
    chat: Path | None = None  # the chat template, where it is a file of its own

    @property
    def hash(self) -> str:
        """SHA-256 over weights, configuration and tokenizer (names and contents), 16 hex digits."""
        return _digest([self.folder / CONFIG, *self.weights, *self.tokenizer])

    @property
    def tokenizer_hash(self) -> str:
        """SHA-256 over the tokenizer files, 16 hex digits."""
        return _digest(self.tokenizer)

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A temporary folder that holds links to these files and nothing else."""
        index = self.folder / INDEX
        paths = [self.folder / CONFIG, *self.weights, *self.tokenizer, *([self.chat] if self.chat else [])]
        if self.weights and self.weights[0].name != SINGLE:
            paths.append(index)
        with tempfile.TemporaryDirectory(prefix="autolabel-") as where:
            for path in paths:
                _link(path, Path(where) / path.name)
            yield Path(where)


def sha256(path: Path) -> str:
    """Hex digest of a file, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inspect_folder(folder: Path) -> ModelFiles:
    """Check a folder. Raises SubjectError, in one line, for whatever is missing, truncated, or would run code."""
    if not folder.is_dir():
        raise SubjectError(f"{folder} is not a folder: give a model folder with {CONFIG}, a tokenizer and {SINGLE}")
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if CONFIG not in names:
        raise SubjectError(f"{folder} has no {CONFIG}: it is no model folder in the Hugging Face layout")
    config = _read_json(folder / CONFIG)
    _refuse_code(config, folder / CONFIG)
    weights = _weights(folder, names)
    if not any(name in names for name in TOKENIZER):
        raise SubjectError(f"{folder} has no tokenizer (tokenizer.json): save the model's tokenizer beside its weights")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if name in names:
            _refuse_code(_read_json(folder / name), folder / name)
    tokenizer = tuple(folder / name for name in sorted(names) if name in TOKENIZER or name in TOKENIZER_BESIDE)
    return ModelFiles(folder, config, weights, tokenizer, folder / CHAT if CHAT in names else None)


def pooling_of(folder: Path) -> Literal["mean of all tokens", "first token"] | None:
    """How a sentence-transformers folder makes one vector of a text; None where it does not say, or in another way. Raises SubjectError."""
    path = folder / POOLING
    if not path.is_file():
        return None
    config = _read_json(path)
    prefix = "pooling_mode_"  # one flag per way; newer versions name the way instead
    chosen: list[Any] = [key.removeprefix(prefix) for key, value in config.items() if key.startswith(prefix) and value is True] or [config.get("pooling_mode")]
    if chosen in (["mean_tokens"], ["mean"]):
        return "mean of all tokens"
    return "first token" if chosen in (["cls_token"], ["cls"]) else None


def _weights(folder: Path, names: set[str]) -> tuple[Path, ...]:
    if SINGLE in names:
        shards = [SINGLE]
    elif INDEX in names:
        mapping = _read_json(folder / INDEX).get("weight_map")
        shards = sorted(set(mapping.values())) if isinstance(mapping, dict) and mapping else []
        bad = [s for s in shards if not isinstance(s, str) or Path(s).name != s or not s.endswith(".safetensors")]
        if bad or not shards:
            raise SubjectError(f"{folder / INDEX} does not list safetensors files of its own folder")
        if missing := [s for s in shards if s not in names]:
            raise SubjectError(f"{folder} lacks {len(missing)} of {len(shards)} weight files, first {missing[0]}: fetch them all")
    else:
        others = sorted(n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".gguf")))
        found = f" ({others[0]} is never loaded: it can run code or is another format)" if others else ""
        raise SubjectError(f"{folder} has no safetensors weights ({SINGLE}){found}: save them in that format with save_pretrained")
    for shard in shards:
        _check_safetensors(folder / shard)
    return tuple(folder / shard for shard in shards)


def _check_safetensors(path: Path) -> None:
    """The header says how long the file must be (format: 8 bytes n, n bytes JSON, data)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, 100_000_000):
            raise SubjectError(f"{path} is no safetensors file, or truncated ({size:,} bytes): fetch it again")
        try:
            header = json.loads(file.read(length))
            ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise SubjectError(f"{path} is no safetensors file: its header cannot be read") from error
    needed = 8 + length + max(ends, default=0)
    if size < needed:
        raise SubjectError(f"{path} is truncated: {size:,} of {needed:,} bytes: fetch it again")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise SubjectError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise SubjectError(f"{path} is not a JSON object")
    return value


def _refuse_code(value: object, path: Path) -> None:
    """Keys anywhere in a configuration that would make a loader import or run code are refused."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key in CODE_KEYS:
                if key in item:
                    raise SubjectError(f"{path} has {key!r}, which asks for code from outside to be run: refused. "
                                       "Use a model of a class that transformers ships")
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _digest(paths: list[Path] | tuple[Path, ...]) -> str:
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        total.update(f"{path.name} {sha256(path)}\n".encode())
    return total.hexdigest()[:16]


def _link(source: Path, target: Path) -> None:
    try:
        os.symlink(source.resolve(), target)
    except OSError:  # file systems and users without symbolic links
        shutil.copyfile(source, target)
