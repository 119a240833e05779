"""Error consistency of every two models as matrices, one for each condition, below each other so that a telephone shows
them too: an SVG."""

from __future__ import annotations

from html import escape

from salient_imagenet_data.evaluation.failures.overlap import Overlaps
from salient_imagenet_data.evaluation.failures.printing import condition_words, words
from salient_imagenet_data.evaluation.report.answer import short_names

CELL, LETTER, GAP, HEAD, LONGEST = 54, 6.6, 28, 46, 24


def matrices(found: Overlaps) -> str:
    """A panel for each condition: rows and columns are models, a cell their error consistency, whiter the nearer to
    chance, blue above and orange below it. Each cell says its interval when pointed at."""
    names = [name if len(name) <= LONGEST else "…" + name[1 - LONGEST :] for name in short_names(found.models)]
    margin = 14 + LETTER * max(map(len, names))
    side = CELL * len(names)
    titles = [condition_words(condition) for condition in found.conditions]
    width = max(margin + side + GAP, 20 + 1.2 * LETTER * max(map(len, titles)))
    down = HEAD + side + margin
    parts = [
        f'<g transform="translate(0,{down * place:.0f})">{_panel(found, condition, names, margin)}</g>'
        for place, condition in enumerate(found.conditions)
    ]
    height = down * len(parts)
    title = "Do models fail on the same images? Error consistency"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="12" role="img" aria-label="{title}">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )


def _panel(found: Overlaps, condition: str, names: list[str], margin: float) -> str:
    parts = [_text(10, 24, condition_words(condition), "start", 14)]
    for i, (name, model) in enumerate(zip(names, found.models, strict=True)):
        middle = HEAD + CELL * (i + 0.5)
        parts.append(_text(margin - 8, middle + 4, name, "end"))
        x, y = margin + CELL * (i + 0.5) + 4, HEAD + CELL * len(names) + 10
        parts.append(
            f'<text transform="translate({x:.0f},{y:.0f}) rotate(-90)" text-anchor="end">{escape(name)}</text>'
        )
        for j, other in enumerate(found.models):
            pair = found.pair(model, other, condition) if i != j else None
            kappa = None if pair is None else pair.mistakes.kappa
            label = "" if i == j else "-" if kappa is None else f"{kappa.value:.2f}"
            said = f"{name}, {names[j]}: {words(kappa)}" if i != j else name
            colour = _colour(None if kappa is None else kappa.value)
            parts.append(
                f'<g><title>{escape(said)}</title><rect x="{margin + CELL * j:.0f}" y="{HEAD + CELL * i}" '
                f'width="{CELL}" height="{CELL}" fill="{colour}" stroke="white"/>'
                f"{_text(margin + CELL * (j + 0.5), middle + 4, label, 'middle')}</g>"
            )
    return "".join(parts)


def _colour(value: float | None) -> str:
    """Gray without a value; else from white at 0 to blue at 1 or orange at -1, light enough for black letters."""
    if value is None:
        return "#eeeeee"
    end, share = ((86, 160, 220) if value >= 0 else (235, 150, 80)), min(1.0, abs(value))
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in end)


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
