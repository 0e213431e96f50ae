"""Which units: `5/1330`, a range `3-5` or `5/100-199`, a list of these with commas, `sample:100`, `sql:SELECT unit FROM ...`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autolabel.catalogue import Catalogue
from autolabel.errors import UnitError
from autolabel.types import Side, Unit, hash63, layer_order

_LAYERS = re.compile(r"([ed]?)(\d+)(?:-[ed]?(\d+))?")
_NEURONS = re.compile(r"(-?)(\d+)(?:-(\d+))?")


def all_units(catalogue: Catalogue, model: str) -> list[Unit]:
    """Every unit and side that was extracted, by layer, side and number."""
    rows = catalogue.read("SELECT layer, site, neuron, side FROM units WHERE model = ? ORDER BY layer_order, side, neuron", [model])
    return [Unit(model, layer, site, neuron, side) for layer, site, neuron, side in rows]


def select_units(catalogue: Catalogue, model: str, selection: str | Iterable[str] | None = None, *, seed: int = 0,
                 limit: int | None = None) -> list[Unit]:
    """The units that a selection names, in the order of `all_units`. Raises UnitError: an unknown layer or neuron says which exist."""
    known = all_units(catalogue, model)
    if selection is None or selection == "":
        chosen = known
    elif not isinstance(selection, str):
        wanted = {Unit.parse(text, model) for text in selection}
        chosen = [u for u in known if u in wanted]
        _missing(wanted - set(chosen), known)
    elif selection.startswith("sample:"):
        chosen = _sample(known, selection.removeprefix("sample:"), seed)
    elif selection.startswith("sql:"):
        rows = catalogue.sql(selection.removeprefix("sql:")).rows
        wanted = {Unit.parse(str(row[0]), model) for row in rows}
        chosen = [u for u in known if u in wanted]
        _missing(wanted - set(chosen), known)
    else:
        keep = {u for part in selection.split(",") if part.strip() for u in _part(known, part.strip(), model)}
        chosen = [u for u in known if u in keep]
    if not chosen:
        raise UnitError(f"the selection {selection!r} names no unit of {model}")
    return chosen[:limit] if limit else chosen


def _part(known: list[Unit], part: str, model: str) -> list[Unit]:
    layers, _, neurons = part.partition("/")
    if not (m := _LAYERS.fullmatch(layers)):
        unit = Unit.parse(part, model)
        found = [u for u in known if u == unit]
        _missing(set() if found else {unit}, known)
        return found
    first, last = int(m[2]), int(m[3] or m[2])
    names = {f"{m[1]}{i}" for i in range(first, last + 1)}
    there = [u for u in known if u.layer in names]
    if not there or not names <= {u.layer for u in there}:
        raise UnitError(f"{model} has no layer {sorted(names - {u.layer for u in there}, key=layer_order)[0]}: it has {_layers(known)}")
    if not neurons:
        return there
    if not (n := _NEURONS.fullmatch(neurons)):
        raise UnitError(f"cannot read {part!r} as units: write 5/1330 or 5/100-199")
    low, high = int(n[2]), int(n[3] or n[2])
    side: Side | None = "-" if n[1] else None
    found = [u for u in there if low <= u.index <= high and (side is None or u.side == side)]
    width = max(u.index for u in there) + 1
    if high >= width or not found:
        raise UnitError(f"{model} has no neuron {high}{' on the negative side' if side else ''} in layer {layers}: it has 0 to {width - 1}")
    return found


def _sample(known: list[Unit], count: str, seed: int) -> list[Unit]:
    """As many of each layer, by seed: the units with the smallest hashes."""
    if not count.isdigit() or not int(count):
        raise UnitError(f"cannot read 'sample:{count}': write sample:100")
    layers = sorted({u.layer for u in known}, key=layer_order)
    keep: set[Unit] = set()
    for i, layer in enumerate(layers):
        share = int(count) // len(layers) + (i < int(count) % len(layers))
        keep.update(sorted((u for u in known if u.layer == layer), key=lambda u: hash63(seed, u))[:share])
    return [u for u in known if u in keep]


def _missing(missing: set[Unit], known: list[Unit]) -> None:
    if missing:
        unit = sorted(missing, key=str)[0]
        width = max((u.index for u in known if u.layer == unit.layer), default=-1) + 1
        there = f"layer {unit.layer} has neurons 0 to {width - 1}" if width else f"the layers are {_layers(known)}"
        raise UnitError(f"there is no unit {unit} in the catalogue: {there}")


def _layers(known: list[Unit]) -> str:
    return ", ".join(sorted({u.layer for u in known}, key=layer_order)) or "none"
