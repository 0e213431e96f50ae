"""Models whose neurons are read. Names are imported on first use, so that this package alone loads no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autolabel.memory import uncollected

if TYPE_CHECKING:
    from autolabel.subjects.hf import HFSubject, load_subject
    from autolabel.subjects.narrow import Narrow
    from autolabel.subjects.planted import Plant, Planted, Silent
    from autolabel.subjects.recorded import Recorded

_WHERE = {"HFSubject": "hf", "Narrow": "narrow", "Plant": "planted", "Planted": "planted", "Recorded": "recorded", "Silent": "planted", "load_subject": "hf"}

__all__ = ["HFSubject", "Narrow", "Plant", "Planted", "Recorded", "Silent", "load_subject"]


def __getattr__(name: str) -> Any:  # whatever the module holds
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with uncollected():
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
