"""The headline as a picture: how each measure orders the treatments against the truth. Narrow enough for a
telephone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from salient_imagenet_data.evaluation.study.tables import Ordering
from salient_imagenet_data.pictures.charts import BOTTOM, COLOURS, TOP, Canvas

ROW, WIDTH, LEFT = 30, 380, 12
"""Pixels: of a measure, of the picture, left of the axis. Words stand above each line, so that they need no margin."""


def chart(orderings: Sequence[Ordering]) -> str:
    """SVG: a line a measure, the mean over networks with its interval, and hollow each network; 1 is the truth's
    order."""
    shown = [o for o in orderings if o.all.n]
    canvas = Canvas(
        (-1.0, 1.0),
        (0.0, float(len(shown))),
        "Does the measure order as the truth does?",
        height=TOP + BOTTOM + ROW * len(shown),
        width=WIDTH,
        left=LEFT,
    )
    canvas.axes([-1, -0.5, 0, 0.5, 1], (), "rank correlation with accuracy without the cue", "")
    for value in (-1.0, -0.5, 0.0, 0.5, 1.0):
        canvas.line([(value, 0.0), (value, float(len(shown)))], "#888" if value == 0.0 else "#ddd", width=1)
    for place, o in enumerate(shown):
        y, colour = len(shown) - place - 0.7, COLOURS[0] if o.key else COLOURS[6]
        told = f"{o.title}{f' ({o.wanted} is better)' if o.key else ''}"
        canvas.text(canvas.left, canvas.py(y) - 9, told, anchor="start", size=11)
        for value in o.by_start:
            if not math.isnan(value):
                canvas.dot(value, y, "#999", f"{told}: {value:.2f}", hollow=True)
        canvas.line([(o.all.low, y), (o.all.high, y)], colour, width=2.2)
        canvas.dot(o.all.value, y, colour, f"{told}: {o.all.words}")
    return canvas.svg()
