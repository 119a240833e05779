"""What is asked of certificates. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.corruption.records import Corruption, corruption_of


@dataclass(frozen=True)
class Asked:
    """alpha: share of the whole image's probability that certifies. threshold: of the masks, which are then 0 or 1.
    fill: the corruption that hides the other pixels, by name. steps: of the search for masks of the same size; 0: no
    search. grid: cells a side of the masks that are searched; None: of the store's maps. Raises SalientError for values
    that will not do."""

    alpha: float = 0.9
    threshold: float = 0.5
    fill: str = "fill_gray"
    steps: int = 8
    grid: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("threshold of the masks", self.threshold)):
            if not 0.0 < value <= 1.0:
                raise SalientError(name, expected="above 0 and at most 1", got=f"{value:g}")
        if self.steps < 0 or (self.grid is not None and self.grid < 1):
            got = f"{self.steps} and {self.grid}"
            raise SalientError("search", expected="0 or more steps on 1 or more cells a side", got=got)
        if self.hidden_by.hides:
            raise SalientError(
                f"{self.fill}: paints nothing",
                expected="what hides pixels",
                then="use fill_gray",
            )

    @property
    def hidden_by(self) -> Corruption:
        """The corruption of `fill`."""
        return corruption_of(self.fill)
