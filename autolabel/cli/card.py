"""How a card looks on a terminal."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from autolabel.cli.common import clean, out

if TYPE_CHECKING:
    from rich.text import Text

    from autolabel.card import Card, Shown

SHADES = ("", "on #4a3a00", "on #7a5c00", "on #b38600", "black on #ffc000")  # by fifth of the unit's maximum


def print_card(card: Card, *, as_json: bool = False) -> None:
    """The card as text with highlights, or as one JSON object."""
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(card), ensure_ascii=False, default=str))
        return
    from rich.text import Text

    console, n = out(), card.neuron
    console.print(Text(card.unit, style="bold"))
    for line in _label_lines(card):
        console.print(Text(clean(line)))
    console.print(Text(f"fires on {_percent(n['firing_rate'])} of tokens, active on {_percent(n['active_rate'])}; mean {n['mean']:.3g}, "
                       f"std {n['std']:.3g}, min {n['min']:.3g}, max {n['max']:.3g}"))
    if card.kind:
        console.print(Text(_kind_line(card.kind)))
    for line in _sense_lines(card):
        console.print(Text(clean(line)))
    console.print(Text("top tokens: " + clean(", ".join(n["top_tokens"] or []))))
    if card.histogram:
        console.print(Text("\nexcerpts of explain by their maximum", style="bold"))
        most = max(count for *_, count in card.histogram)
        for low, high, count in card.histogram:
            console.print(Text(f"{low:8.3f} to {high:8.3f} {'█' * max(1, round(40 * count / most))} {count:,}"))
    console.print(Text("\ntop excerpts of explain", style="bold"))
    for shown in card.excerpts:
        console.print(_highlight(shown, float(n["max"]) or 1.0))
    if card.candidates:
        console.print(Text("\ncandidates (score on select)", style="bold"))
        for line in _candidate_lines(card):
            console.print(Text(clean(line)))


def _candidate_lines(card: Card) -> list[str]:
    """A line for each; where several simulators have read a label, each with its name, and the star on the one that was chosen by."""
    rows, ids = card.candidates, [c["explanation"] for c in card.candidates]
    lines = []
    for c in rows:
        several = ids.count(c["explanation"]) > 1
        star = c.get("chosen") and not (several and card.label and card.label["simulator"] not in (None, c["simulator"]))
        by = f" by {c['simulator']}" if several else ""
        lines.append(f"{'* ' if star else '  '}{_number(c.get('select_score'))}{by}  {c['explainer']}: {c.get('label') or c.get('reason') or ''}")
    return lines


def _label_lines(card: Card) -> list[str]:
    label = card.label
    if label is None:
        return ["no label yet: run `autolabel label`"]
    lines = [f"{label['label'] or '(no label)'}", *card.why]
    if label["score"] is not None:
        lines.append(f"rho {_interval(label, 'score', 'ci_low', 'ci_high')}, baseline {_number(label['baseline'])}, "
                     f"ceiling {_number(label['ceiling'])}, q {_number(label['q_value'])}, rank {label['rank']}")
        lines.append(f"peak {_interval(label, 'peak', 'peak_low', 'peak_high')}, "
                     f"rho_context {_interval(label, 'rho_context', 'rho_context_low', 'rho_context_high')}, "
                     f"rho_new {_interval(label, 'rho_new', 'rho_new_low', 'rho_new_high')}, mass recall {_number(label['mass_recall'])}")
    lines += _beyond_lines(card)
    if label["pattern"]:
        lines.append(f"pattern {label['pattern']}")
    return lines


def _kind_line(kind: dict[str, Any]) -> str:
    line = f"{kind['kind'] or 'no kind'}: lexicality {_number(kind['lexicality'])}, positional share {_number(kind['positional_share'])}"
    if kind["n"] is None:
        return f"{line} (context length: `autolabel kinds --units {kind['unit']}`)"
    length = "-" if kind["context_length"] is None else kind["context_length"]
    return f"{line}, context length {length}, same-token contrast {_number(kind['same_token'])}"


def _beyond_lines(card: Card) -> list[str]:
    """The label on other corpora and on other checkpoints, where it was scored there."""
    lines = []
    if (w := card.weakest) is not None:
        at = w["min_corpus"] if w["min_subgroup"] is None else f"{w['min_corpus']}, {w['min_subgroup']}"
        least = f"least rho {_interval(w, 'min_score', 'min_low', 'min_high')} on {at}" if w["min_score"] is not None else "no rho that can be relied on"
        lines.append(f"{least}{_sampled(w, 'min_simulator', 'min_n')}, of {w['corpora']} corpora and groups ({w['left_out']} left out)")
    for s in card.stale:
        said = s["reason"] or f"rho fell by {_interval(s, 'fall', 'fall_low', 'fall_high')}"
        state = {True: "stale: ", False: "not stale: "}.get(s["stale"], "")
        power = "" if s["power"] is None or s["stale"] is None else f"; a fall of .2 is noticed in {s['power']:.0%} of labels"
        lines.append(f"on {s['subject']}: {state}{said}{_sampled(s, 'simulator', 'n')}{power}")
    return lines


def _sampled(row: dict[str, Any], simulator: str, n: str) -> str:
    """How a label was read that is no pattern."""
    return "" if row[simulator] in (None, "pattern") else f" (read by {row[simulator]} on {row[n]} sampled excerpts)"


def _sense_lines(card: Card) -> list[str]:
    """Each sense with its share of the activation, its label and its score."""
    if not card.senses or not card.senses[0]["sense"]:
        return [f"no sense found: {s['reason']}" for s in card.senses]
    lines = [f"{len(card.senses)} sense{'s' if len(card.senses) > 1 else ''}, n_eff {card.senses[0]['n_eff']:.2f}"]
    for s in card.senses:
        state = "confirmed" if s["confirmed"] else s["reason"] or "not confirmed"
        lines.append(f"  {s['sense']}. {_percent(s['share'])} of the activation, rho {_interval(s, 'score', 'ci_low', 'ci_high')}, {state}: {s['label']}")
    return lines


def _highlight(shown: Shown, most: float) -> Text:
    """The excerpt with its tokens shaded by strength; «marks» where the terminal has no colour."""
    from rich.text import Text

    line = Text(f"{shown.max_activation:7.3f}  ")
    coloured = out().color_system is not None
    last = 0
    for (start, end), a in zip(shown.spans, shown.activations, strict=True):
        line.append(_plain(shown.text[last:start]))
        level = min(4, int(5 * max(a, 0.0) / most))
        body = _plain(shown.text[max(start, last):end])
        line.append(f"«{body}»" if level and body and not coloured else body, style=SHADES[level])
        last = max(last, end)
    about = ", ".join(f"{k}: {v}" for k, v in shown.metadata.items() if k in ("topic", "register", "language", "module", "group"))
    line.append(clean(f"   [{shown.corpus}{'; ' + about if about else ''}]"), style="dim")
    return line


def _plain(text: str) -> str:
    """One line, safe for a terminal."""
    return clean(" ".join(text.split("\n")) if "\n" in text else text)


def _interval(row: dict[str, Any], value: str, low: str, high: str) -> str:
    if isinstance(row[value], str):
        return str(row[value])
    return f"{_number(row[value])} [{_number(row[low])}, {_number(row[high])}]" if row[value] is not None else "-"


def _number(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
