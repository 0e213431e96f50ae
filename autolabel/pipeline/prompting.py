"""`prompt show`: exactly what an explainer would send for one unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autolabel.catalogue import Catalogue
from autolabel.errors import SettingsError
from autolabel.explainers.estimate import tokens_of
from autolabel.pipeline.exemplars import exemplars_for
from autolabel.pipeline.selection import select_units
from autolabel.pipeline.session import model_row, subject_of
from autolabel.prompts import Prompt
from autolabel.protocols import ExplainSplit
from autolabel.registry import build
from autolabel.types import Unit


def show_prompt(catalogue: Catalogue, explainer: str, unit: str, *, settings: Mapping[str, str] | None = None, prompts: str = "",
                model: str = "", device: str = "auto", dtype: str = "auto", threads: int = 0) -> dict[str, Any]:
    """unit, messages, digest (of the messages), template (digest of template and examples), excerpts (ids shown), dropped, tokens (estimated).

    Nothing is sent; the subject is loaded only for an explainer that needs more than the records in the catalogue.
    Raises SettingsError where the explainer asks no LLM, UnitError.
    """
    plugin: Any = build("explainers", explainer, settings, {"prompts": prompts or None})
    if not hasattr(plugin, "prompt"):
        raise SettingsError(f"the explainer {explainer} asks no LLM, so it has no prompt")
    row = model_row(catalogue, Unit.parse(unit).model or model)
    address = select_units(catalogue, row.name, [unit])[0]

    def split() -> ExplainSplit:
        from autolabel.splits import explain_split

        return explain_split(catalogue, subject_of(catalogue, row, device=device, dtype=dtype, threads=threads))

    made: Prompt = plugin.prompt(next(exemplars_for(catalogue, plugin, [address], split)))
    return {"unit": str(address), "messages": list(made.messages), "digest": made.digest, "template": made.template,
            "excerpts": list(made.excerpts), "dropped": made.dropped, "tokens": tokens_of(made.messages)}
