"""How much a study looks at, as one record: what decides its figures beside images, networks and seeds. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from salient_imagenet_data.errors import SalientError


@dataclass(frozen=True)
class Plan:
    """sigma: of the noise. few: insertion, deletion and sufficient subsets are of one in so many test images.
    curve_steps: of insertion and deletion. cell: side in pixels of what a sufficient subset is made of; subset_steps:
    cells are masked in about so many steps; threshold: the confidence that suffices. epochs, learning_rate, batch_size:
    of `finetune`. head_images: at most so many of a class for a head on chosen images. weights: at most so many of each
    loss are tried. device: torch's name. Raises SalientError for numbers that will not do."""

    sigma: float = 0.5
    few: int = 6
    curve_steps: int = 6
    cell: int = 4
    subset_steps: int = 24
    threshold: float = 0.9
    epochs: int = 1
    learning_rate: float = 1e-3
    batch_size: int = 16
    head_images: int = 20
    weights: int = 2
    device: str = "cpu"

    def __post_init__(self) -> None:
        counts = (self.few, self.curve_steps, self.cell, self.subset_steps, self.epochs, self.batch_size)
        shares = 0.0 < self.sigma <= 1.0 and 0.0 < self.threshold <= 1.0 and 0.0 < self.learning_rate <= 1.0
        if min(*counts, self.head_images, self.weights) < 1 or not shares:
            raise SalientError("plan of the study", expected="counts >= 1, shares above 0 and at most 1", got=str(self))
