"""The name of a condition: what was done to the images before a model saw them.

`clean`, or `<corruption>@<region>`: `noise_0.25@spurious`, `fill_gray@core_dilated15`. A region that ends in `_random`
or `_other` is a control: the same mask values at a random place, or another image's mask. `noise_0.25#2@foreground` is
a second trial of a random corruption.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.corruption.records import corruption_of

CLEAN = "clean"
Control = Literal["", "random", "other"]
CONTROLS: tuple[Control, ...] = ("random", "other")
CONTROL_WORDS = {"random": "area-matched random region", "other": "another image's mask"}

_NAME = re.compile(
    r"(?P<corruption>[^@#\s]+)(?:#(?P<trial>[1-9]\d*))?@(?P<region>[a-z0-9_]+?)(?:_(?P<control>random|other))?"
)


@dataclass(frozen=True, order=True)
class Condition:
    """A corruption of a region. corruption: its name, such as noise_0.25. control: "" on the region itself. trial: from
    1; each draws other random numbers."""

    corruption: str
    region: str
    control: Control = ""
    trial: int = 1

    @property
    def name(self) -> str:
        """As the predictions file writes it."""
        trial = f"#{self.trial}" if self.trial > 1 else ""
        return f"{self.corruption}{trial}@{self.region}" + (f"_{self.control}" if self.control else "")

    @property
    def sigma(self) -> float | None:
        """Standard deviation of Gaussian noise on the [0, 1] scale; None for any other corruption."""
        try:
            return corruption_of(self.corruption).noise_level
        except SalientError:  # other people's predictions may be of corruptions that we do not know
            return None

    @property
    def compared(self) -> bool:
        """Whether models are held against each other under it: no control, and no second trial."""
        return not self.control and self.trial == 1

    @property
    def canonical(self) -> Condition:
        """The same with the corruption's own name, as of noise_0.250 it is noise_0.25."""
        try:
            return replace(self, corruption=corruption_of(self.corruption).name)
        except SalientError:
            return self

    @staticmethod
    def parse(name: str) -> Condition:
        """The condition of a name. Raises SalientError for anything else."""
        found = _NAME.fullmatch(name)
        if not found:
            raise SalientError(
                f"condition {name!r} is not understood",
                expected=f"{CLEAN!r} or 'corruption@region', such as 'noise_0.25@spurious'",
            )
        control: Control = found["control"] or ""  # type: ignore[assignment]
        return Condition(found["corruption"], found["region"], control, int(found["trial"] or 1))
