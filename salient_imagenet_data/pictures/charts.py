"""Charts as SVG text. No plotting library, no script, no outside font."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#999933")
"""Told apart by colour-blind readers too [Okabe & Ito 2008]; models beyond the eighth begin again."""
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
