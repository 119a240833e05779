"""The ways to order pixels that there are, by name, and what they are asked. No torch; `selection` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from salient_imagenet_data.errors import SalientError

Selection = Literal["gradient", "backward"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)
STEP, STEP_AT = 100, 299
"""Pixels that "gradient" masks at a time, at a crop of so many pixels [Carter et al. 2021]."""
SHARES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.15, 0.2)
"""Of an image's pixels, those masked last, on which accuracy is measured."""
DILATIONS = (1, 2, 4)
"""Pixels by which a sufficient subset is dilated."""
BORDER = 0.05
"""The border is the narrowest frame that holds at least this share of the pixels."""


@dataclass(frozen=True)
class Choice:
    """How an order is made. selection: one of `SELECTIONS`. cell: side in pixels of what is masked as one. step: cells
    that "gradient" masks at a time; None: as many of the crop as the paper took of 299 x 299 pixels. fill: colour of
    what is masked, (r, g, b) in [0, 1]; None: the mean of the images. wrong_class: also an order for a class that is
    not the answer. Raises SalientError for values that will not do."""

    selection: Selection = "gradient"
    cell: int = 1
    step: int | None = None
    fill: tuple[float, float, float] | None = None
    wrong_class: bool = True

    def __post_init__(self) -> None:
        if self.selection == "backward" and self.step not in (None, 1):
            raise SalientError(
                "step: backward selection masks one cell at a time",
                expected="1",
                got=str(self.step),
                then="leave it out",
            )
        if self.fill is not None and not (len(self.fill) == 3 and all(0.0 <= v <= 1.0 for v in self.fill)):
            raise SalientError("fill", expected="three numbers in [0, 1]", got=", ".join(f"{v:g}" for v in self.fill))

    def step_at(self, side: int) -> int:
        """Cells masked at a time in a crop of so many pixels a side. Raises SalientError where cells do not fit."""
        if self.cell < 1 or side % self.cell:
            raise SalientError("cell", expected=f"a divisor of the crop of {side} pixels", got=str(self.cell))
        if self.selection == "backward":
            return 1
        given = round(STEP * (side // self.cell) ** 2 / STEP_AT**2) if self.step is None else self.step
        return max(1, min(given, (side // self.cell) ** 2))
