"""Figures as SVG text, drawn from the JSON of an evaluation. No plotting library, no script, no outside font."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from salient_imagenet_data.evaluation.plan.regions import rank_of

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#999933")
"""Told apart by colour-blind readers too [Okabe & Ito 2008]; models beyond the eighth begin again."""
REGION_WORDS = {
    "spurious": "noise on spurious pixels",
    "core": "noise on core pixels",
    "core_dilated15": "noise inside the dilated core",
    "not_core_dilated15": "noise outside the dilated core",
}
MOST_LETTERS = 80
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 320, 56, 16, 34, 44


@dataclass
class Canvas:
    """A plot area with linear axes; drawing calls add SVG elements. x, y: (low, high) of the data."""

    x: tuple[float, float]
    y: tuple[float, float]
    title: str
    height: int = HEIGHT
    width: int = WIDTH
    left: int = LEFT
    elements: list[str] = field(default_factory=list)

    def px(self, value: float) -> float:
        """Pixels from the left edge."""
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - RIGHT)

    def py(self, value: float) -> float:
        """Pixels from the top edge."""
        return TOP + (self.y[1] - value) / (self.y[1] - self.y[0]) * (self.height - TOP - BOTTOM)

    def line(
        self, points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False, width: float = 1.8
    ) -> None:
        """A line through data points."""
        text = " ".join(f"{self.px(a):.1f},{self.py(b):.1f}" for a, b in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.elements.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def dot(self, x: float, y: float, colour: str, label: str, *, hollow: bool = False) -> None:
        """A point with a tooltip."""
        fill = "white" if hollow else colour
        self.elements.append(
            f'<circle cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="3.6" fill="{fill}" stroke="{colour}" '
            f'stroke-width="1.5"><title>{escape(label)}</title></circle>'
        )

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "middle", size: int = 12, colour: str = "#333"
    ) -> None:
        """Words at pixels."""
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{colour}">{escape(words)}</text>'
        )

    def axes(self, xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str) -> None:
        """Grid lines, ticks and labels."""
        for value in ys:
            self.line([(self.x[0], value), (self.x[1], value)], "#ddd", width=1)
            self.text(self.left - 6, self.py(value) + 4, f"{value:g}", anchor="end", size=11)
        for value in xs:
            self.text(self.px(value), self.height - BOTTOM + 16, f"{value:g}", size=11)
        self.text((self.left + self.width - RIGHT) / 2, self.height - 8, x_label)
        if y_label:
            middle = (TOP + self.height - BOTTOM) / 2
            self.elements.append(
                f'<text transform="translate(14,{middle:.1f}) rotate(-90)" text-anchor="middle" font-size="12" '
                f'fill="#333">{escape(y_label)}</text>'
            )

    def legend(self, names: dict[int, str], *, right: bool = False) -> None:
        """Names of models by index, in their colours: at the bottom left of the plot, or at the top right."""
        for line, (index, name) in enumerate(names.items()):
            x = self.width - RIGHT - 4 if right else self.left + 8
            y = TOP + 14 + 14 * line if right else self.height - BOTTOM - 8 - 14 * (len(names) - 1 - line)
            words = name if len(name) < 40 else "…" + name[-38:]
            self.text(x, y, words, anchor="end" if right else "start", size=11, colour=COLOURS[index % len(COLOURS)])

    def svg(self) -> str:
        """The whole figure."""
        self.text(self.width / 2, 20, self.title, size=14, colour="#111")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" font-family="sans-serif" role="img" aria-label="{escape(self.title)}">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(self.elements)}</svg>'
        )


def noise_curves(models: Sequence[dict[str, Any]], region: str) -> str | None:
    """Accuracy against sigma for each model, with intervals; dashed: an area-matched random region. None: no curve."""
    curves = [
        (index, model, curve)
        for index, model in enumerate(models)
        for curve in model["curves"]
        if curve["region"] == region and curve["control"] in ("", "random")
    ]
    if not curves:
        return None
    most = max(point["sigma"] for _, _, curve in curves for point in curve["points"])
    canvas = Canvas((0.0, most), (0.0, 1.0), REGION_WORDS.get(region, f"noise on {region}"))
    ticks = sorted({point["sigma"] for _, _, curve in curves for point in curve["points"]})
    canvas.axes(ticks, (0, 0.2, 0.4, 0.6, 0.8, 1.0), "standard deviation of the noise", "accuracy, class average")
    for index, model, curve in curves:
        colour = COLOURS[index % len(COLOURS)]
        canvas.line([(p["sigma"], p["value"]) for p in curve["points"]], colour, dashed=bool(curve["control"]))
        for p in curve["points"]:
            if not curve["control"]:
                canvas.line([(p["sigma"], p["low"]), (p["sigma"], p["high"])], colour, width=1.2)
            words = f"{model['name']}{', random region' if curve['control'] else ''}: {interval(p)}"
            canvas.dot(p["sigma"], p["value"], colour, words, hollow=bool(curve["control"]))
    canvas.legend({index: model["name"] for index, model, _ in curves})
    return canvas.svg()


def class_spread(models: Sequence[dict[str, Any]], condition: str) -> str | None:
    """Drop of each class, sorted, one line a model. None where no model has the condition."""
    series = []
    for index, model in enumerate(models):
        found = next((c for c in model["conditions"] if c["name"] == condition), None)
        if found:
            drops = sorted(((r["clean_value"] - r["value"], r["class_name"]) for r in found["per_class"]), reverse=True)
            series.append((index, model["name"], drops))
    if not series:
        return None
    low = min(-0.1, *(drops[-1][0] for _, _, drops in series))
    most = max(len(drops) for _, _, drops in series)
    canvas = Canvas((0.5, most + 0.5), (low, 1.0), f"drop by class, {condition}")
    steps = range(1, most + 1, max(1, most // 10))
    canvas.axes(list(steps), (0, 0.25, 0.5, 0.75, 1.0), "classes, from the largest drop", "clean accuracy lost")
    for index, name, drops in series:
        colour = COLOURS[index % len(COLOURS)]
        canvas.line([(i, drop) for i, (drop, _) in enumerate(drops, start=1)], colour)
        for i, (drop, class_name) in enumerate(drops, start=1):
            canvas.dot(i, drop, colour, f"{name}, {class_name}: {drop:.3f}")
    canvas.legend({index: name for index, name, _ in series}, right=True)
    return canvas.svg()


def controls_figure(models: Sequence[dict[str, Any]]) -> str | None:
    """For each model and corrupted region: the drop there, on the random region and under another image's mask."""
    rows = [(index, m["name"], c) for index, m in enumerate(models) for c in m["controls"] if c["random"]]
    if not rows:
        return None
    shown = [{"region": c["drop"], **{k: c[k]["drop"] for k in ("random", "other") if c[k]}} for _, _, c in rows]
    values = [e for parts in shown for e in parts.values()]
    low, high = min(-0.05, *(e["low"] for e in values)), max(0.2, *(e["high"] for e in values))
    canvas = Canvas(
        (low, high), (0.0, float(len(rows))), "accuracy lost: the region (full) and its controls (hollow)",
        height=TOP + BOTTOM + 40 * len(rows), width=860, left=330,
    )  # fmt: skip
    canvas.axes([round(low + (high - low) * i / 5, 2) for i in range(6)], (), "drop of class-averaged accuracy", "")
    canvas.line([(0.0, 0.0), (0.0, float(len(rows)))], "#888", width=1)
    for place, (index, name, entry) in enumerate(rows):
        colour, middle = COLOURS[index % len(COLOURS)], len(rows) - place - 0.5
        words = f"{name}, {entry['name']}"
        canvas.text(
            canvas.left - 10,
            canvas.py(middle) + 4,
            words if len(words) < 50 else words[:48] + "…",
            anchor="end",
            size=11,
        )
        for line, (part, e) in enumerate(shown[place].items()):
            y, control = middle + 0.24 * (1 - line), part != "region"
            canvas.line([(e["low"], y), (e["high"], y)], colour, dashed=control, width=1.4)
            canvas.dot(e["value"], y, colour, f"{words}, {part}: {interval(e)}", hollow=control)
    return canvas.svg()


def interval(e: dict[str, Any]) -> str:
    """An estimate in words: value, interval, n."""
    return f"{e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}], n = {e['n']}"


def file_stem(name: str) -> str:
    """A figure's file name without its ending, whatever a stranger's condition is called: plain letters, at most 80 of
    them; a name that was changed ends in a hash of what it was."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name.replace("@", "_on_").replace("#", "_trial_"))
    if len(plain) <= MOST_LETTERS and plain == name.replace("@", "_on_"):
        return plain
    return f"{plain[:MOST_LETTERS]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def all_figures(models: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Every figure that the results allow, SVG by file name without the ending."""
    regions = dict.fromkeys(c["region"] for m in models for c in m["curves"] if rank_of(c["region"]) is None)
    spread = dict.fromkeys(
        c["name"] for m in models for c in m["conditions"] if not c["control"] and rank_of(c["region"]) is None
    )
    drawn = {f"curve_{region}": noise_curves(models, region) for region in regions}
    drawn |= {"controls": controls_figure(models)}
    drawn |= {f"classes_{name}": class_spread(models, name) for name in spread}
    drawn = {file_stem(name): svg for name, svg in drawn.items()}
    return {name: svg for name, svg in drawn.items() if svg is not None}
