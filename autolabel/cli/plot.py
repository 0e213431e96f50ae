"""The coverage-risk curve as a picture: block characters for a terminal, or an SVG file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.cli.common import clean
from autolabel.errors import SettingsError

if TYPE_CHECKING:
    from rich.text import Text

    from autolabel.curves import Curve

COLUMNS, ROWS = 25, 3  # of one panel in characters: four hundredths of the units a column, 24 steps of height
EIGHTHS = " ▁▂▃▄▅▆▇█"
COLOURS = ("#1f5fa8", "#b4551d")  # the model, its control
SIZE, PLOT, GAP = (760, 330), (300, 220), 72  # of the SVG and of one panel, in pixels; room for what stands at the axes
PANELS = (("mean rho of the labels kept", "mean_score"), ("share of them that is not confirmed", "unconfirmed"))


def blocks(curves: Sequence[Curve]) -> Text:
    """Two panels side by side for each curve, from 0 to 1, labels kept from 0 to 100 % of the attempted units."""
    from rich.text import Text

    lines = [f"{'':6}{'mean rho':{COLUMNS + 4}}not confirmed"]
    for curve in curves:
        lines.append(clean(curve.model))
        panels = [_heights(curve.share, getattr(curve, name)) for _, name in PANELS]
        for row in range(ROWS):
            scale = {0: "1.0", ROWS - 1: "0.0"}.get(row, "")
            lines.append(f"{scale:>5}│" + f"  {scale:>1}│".join(_row(heights, row) for heights in panels).rstrip())
        lines.append(f"{'':5}└{'─' * COLUMNS}{'':5}└{'─' * COLUMNS}")
    lines.append(f"{'':6}{'0 %':<{COLUMNS - 5}}100 %{'':6}{'0 %':<{COLUMNS - 5}}100 % of the attempted units kept")
    return Text("\n".join(lines), no_wrap=True)


def _heights(share: Sequence[float], value: Sequence[float]) -> list[int | None]:
    """Eighths of a row for each column, from the last share in it; None where the curve has ended."""
    found: list[int | None] = [None] * COLUMNS
    for x, y in zip(share, value, strict=True):
        found[min(COLUMNS - 1, round(x * 100 - 1) * COLUMNS // 100)] = round(8 * ROWS * min(1.0, max(0.0, y)))
    return found


def _row(heights: Sequence[int | None], row: int) -> str:
    """One line of a panel, counted from above; what is 0 is drawn as the lowest step, so that it can be told from what is not there."""
    below = 8 * (ROWS - 1 - row)
    return "".join(" " if h is None else EIGHTHS[min(8, max(0, max(h, 1) - below))] for h in heights)


def svg(curves: Sequence[Curve]) -> str:
    """Both panels with axes and a legend; the control is dashed. All text is escaped."""
    width, height = SIZE
    title = "Coverage and risk: " + ", ".join(curve.model for curve in curves)
    body = [line for k, (name, field) in enumerate(PANELS) for line in _panel(GAP + k * (PLOT[0] + GAP), name, curves, field)]
    for i, curve in enumerate(curves):
        x, y = GAP + i * (PLOT[0] + GAP), height - 14
        body.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 28}" y2="{y - 4}" {_stroke(i)}/>{_text(x + 34, y, clean(curve.model))}')
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
                      'font-family="sans-serif" font-size="12" fill="#333">', f"<title>{html.escape(clean(title))}</title>",
                      f'<rect width="{width}" height="{height}" fill="#fff"/>', *body, "</svg>", ""])


def write_svg(file: str, curves: Sequence[Curve]) -> None:
    """The picture in a file. Raises SettingsError where there is no curve, or the file cannot be written."""
    if not curves:
        raise SettingsError("there is no curve to draw: nothing is scored yet, or the audit says that rho fails")
    try:
        Path(file).write_text(svg(curves), "utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {file}: {error.strerror or error}") from error


def _panel(left: int, name: str, curves: Sequence[Curve], field: str) -> Iterator[str]:
    top, (wide, high) = 34, PLOT
    yield _text(left, top - 14, name, weight="bold")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = top + high * (1 - tick), left + wide * tick
        yield f'<line x1="{left}" y1="{y:g}" x2="{left + wide}" y2="{y:g}" stroke="#ddd"/>' + _text(left - 6, y + 4, f"{tick:g}", anchor="end")
        yield _text(x, top + high + 18, f"{tick:.0%}", anchor="middle")
    yield _text(left + wide / 2, top + high + 36, "of the attempted units kept, best labels first", anchor="middle")
    for i, curve in enumerate(curves):
        points = " ".join(f"{left + wide * x:.1f},{top + high * (1 - min(1.0, max(0.0, y))):.1f}"
                          for x, y in zip(curve.share, getattr(curve, field), strict=True))
        yield f'<polyline points="{points}" fill="none" {_stroke(i)}/>'


def _stroke(i: int) -> str:
    dashed = ' stroke-dasharray="5 4"' if i else ""
    return f'stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="2"{dashed}'


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}">{html.escape(text)}</text>'
