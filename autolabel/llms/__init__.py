"""Language models that answer, and wrappers around them; one file each.

`open_llm` finds a model by its name; `stack.stack` puts cache, retries, limits and budget around it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.errors import SettingsError

if TYPE_CHECKING:
    from autolabel.llms.features import Memory
    from autolabel.protocols import LLM

PROVIDERS = ("openai", "local", "scripted")


def open_llm(spec: str, base_url: str | None = None, *, key_file: str | Path | None = None, timeout: float = 120.0, memory: Memory | None = None,
             device: str = "auto", dtype: str = "auto", revision: str | None = None) -> LLM:
    """`openai/MODEL` (any compatible server: `base_url`, else OPENAI_BASE_URL), `local/PATH_OR_ID`, `scripted/module:function`.

    `timeout`: seconds without a sign of the server; `memory` remembers what a server takes. Nothing is sent yet.
    Raises SettingsError, AuthError (no key), SubjectError (no such local model).
    """
    provider, _, model = spec.partition("/")
    if provider not in PROVIDERS or not model:
        raise SettingsError(f"no LLM is called {spec!r}: write openai/MODEL (any compatible server, with --base-url), local/PATH or scripted/module:function")
    if provider == "openai":
        from autolabel.llms.keys import find_key
        from autolabel.llms.openai import OpenAI
        return OpenAI(model, base_url or os.environ.get("OPENAI_BASE_URL") or None, find_key(key_file), timeout, memory)
    if base_url:
        raise SettingsError(f"--base-url goes with openai/MODEL, not with {spec}")
    if provider == "local":
        from autolabel.llms.local import load_local
        return load_local(spec, revision=revision, device=device, dtype=dtype)
    from autolabel.llms.scripted import load
    return load(model)
