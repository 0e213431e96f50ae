"""Who a subject is: names and hashes of what is made of a model. No torch: whether work is done is seen without loading anything."""

from __future__ import annotations

from autolabel.types import digest


def of_control(name: str, model_hash: str, kind: str, seed: int) -> tuple[str, str]:
    """(name, hash) of a control of the subject (name, hash): `kind` as in control.py; hashes are 16 hex digits."""
    return f"{name}~{kind}", digest(model_hash, kind, seed)


def of_narrow(model_hash: str, width: int) -> str:
    """Hash (16 hex digits) of a subject that shows the first `width` neurons of each site: fewer neurons are other settings."""
    return digest(model_hash, "narrow", width)
