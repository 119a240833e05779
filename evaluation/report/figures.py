"""The figures of a report, drawn from the figures of an evaluation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.plan.condition import CONTROLS
from salient_imagenet_data.evaluation.plan.regions import rank_of
from salient_imagenet_data.evaluation.plan.vocabulary import corrupted_words, region_words
from salient_imagenet_data.evaluation.score.results import Claim, ModelResult
from salient_imagenet_data.imagenet import display_name
from salient_imagenet_data.pictures.charts import BOTTOM, COLOURS, TOP, Canvas

MOST_LETTERS = 80


def noise_curves(models: Sequence[ModelResult], region: str) -> str | None:
    """Accuracy against sigma for each model, with intervals; dashed: an area-matched random region. None: no curve."""
    curves = [
        (index, model, curve)
        for index, model in enumerate(models)
        for curve in model.curves
        if curve.region == region and curve.control in ("", "random")
    ]
    if not curves:
        return None
    ticks = sorted({point.sigma for _, _, curve in curves for point in curve.points})
    canvas = Canvas((0.0, ticks[-1]), (0.0, 1.0), f"noise on {region_words(region)}")
    canvas.axes(ticks, (0, 0.2, 0.4, 0.6, 0.8, 1.0), "standard deviation of the noise", "accuracy, class average")
    for index, model, curve in curves:
        colour = COLOURS[index % len(COLOURS)]
        canvas.line([(p.sigma, p.accuracy.value) for p in curve.points], colour, dashed=bool(curve.control))
        for p in curve.points:
            if not curve.control:
                canvas.line([(p.sigma, p.accuracy.low), (p.sigma, p.accuracy.high)], colour, width=1.2)
            words = f"{model.name}{', random region' if curve.control else ''}: {interval(p.accuracy)}"
            canvas.dot(p.sigma, p.accuracy.value, colour, words, hollow=bool(curve.control))
    canvas.legend({index: model.name for index, model, _ in curves})
    return canvas.svg()


def class_spread(models: Sequence[ModelResult], condition: str) -> str | None:
    """Drop of each class, sorted, one line a model. None where no model has the condition."""
    series = []
    for index, model in enumerate(models):
        found = model.condition(condition)
        if found is not None:
            drops = sorted(((c.loss, display_name(c.class_name)) for c in found.per_class), reverse=True)
            series.append((index, model.name, drops, found.figure))
    if not series:
        return None
    low = min(-0.1, *(drops[-1][0] for _, _, drops, _ in series))
    most = max(len(drops) for _, _, drops, _ in series)
    canvas = Canvas((0.5, most + 0.5), (low, 1.0), f"loss by class, {series[0][3]}")
    steps = range(1, most + 1, max(1, most // 10))
    canvas.axes(list(steps), (0, 0.25, 0.5, 0.75, 1.0), "classes, from the largest loss", "clean accuracy lost")
    for index, name, drops, _ in series:
        colour = COLOURS[index % len(COLOURS)]
        canvas.line([(i, drop) for i, (drop, _) in enumerate(drops, start=1)], colour)
        for i, (drop, class_name) in enumerate(drops, start=1):
            canvas.dot(i, drop, colour, f"{name}, {class_name}: {drop:.3f}")
    canvas.legend({index: name for index, name, _, _ in series}, right=True)
    return canvas.svg()


def controls_figure(models: Sequence[ModelResult]) -> str | None:
    """For each model and corrupted region: the drop there, on the random region and under another image's mask."""
    rows = [
        (index, model.name, claim) for index, model in enumerate(models) for claim in model.controls if claim.random
    ]
    if not rows:
        return None
    shown = [_drops(claim) for _, _, claim in rows]
    values = [e for parts in shown for e in parts.values()]
    low, high = min(-0.05, *(e.low for e in values)), max(0.2, *(e.high for e in values))
    canvas = Canvas(
        (low, high), (0.0, float(len(rows))), "accuracy lost: the region (full) and its controls (hollow)",
        height=TOP + BOTTOM + 40 * len(rows), width=860, left=330,
    )  # fmt: skip
    canvas.axes([round(low + (high - low) * i / 5, 2) for i in range(6)], (), "loss of class-averaged accuracy", "")
    canvas.line([(0.0, 0.0), (0.0, float(len(rows)))], "#888", width=1)
    for place, (index, name, claim) in enumerate(rows):
        colour, middle = COLOURS[index % len(COLOURS)], len(rows) - place - 0.5
        words = f"{name}, {corrupted_words(claim.corruption, claim.region)}"
        canvas.text(
            canvas.left - 10,
            canvas.py(middle) + 4,
            words if len(words) < 50 else words[:48] + "…",
            anchor="end",
            size=11,
        )
        for line, (part, e) in enumerate(shown[place].items()):
            y, control = middle + 0.24 * (1 - line), part != "region"
            canvas.line([(e.low, y), (e.high, y)], colour, dashed=control, width=1.4)
            canvas.dot(e.value, y, colour, f"{words}, {part}: {interval(e)}", hollow=control)
    return canvas.svg()


def _drops(claim: Claim) -> dict[str, Estimate]:
    """Accuracy lost on the region and under each of its controls, by what it is."""
    found = {"region": claim.drop}
    found |= {part: against.drop for part in CONTROLS if (against := getattr(claim, part)) is not None}
    return found


def interval(e: Estimate) -> str:
    """An estimate in words: value, interval, n."""
    return f"{e.words}, n = {e.n}"


def file_stem(name: str) -> str:
    """A figure's file name without its ending, whatever a stranger's condition is called: plain letters, at most 80 of
    them; a name that was changed ends in a hash of what it was."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name.replace("@", "_on_").replace("#", "_trial_"))
    if len(plain) <= MOST_LETTERS and plain == name.replace("@", "_on_"):
        return plain
    return f"{plain[:MOST_LETTERS]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def all_figures(models: Sequence[ModelResult]) -> dict[str, str]:
    """Every figure that the results allow, SVG by file name without the ending."""
    regions = dict.fromkeys(c.region for m in models for c in m.curves if rank_of(c.region) is None)
    spread = dict.fromkeys(c.name for m in models for c in m.conditions if c.claim)
    drawn = {f"curve_{region}": noise_curves(models, region) for region in regions}
    drawn |= {"controls": controls_figure(models)}
    drawn |= {f"classes_{name}": class_spread(models, name) for name in spread}
    drawn = {file_stem(name): svg for name, svg in drawn.items()}
    return {name: svg for name, svg in drawn.items() if svg is not None}
