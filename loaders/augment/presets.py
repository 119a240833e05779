"""Augmentations by name, in one line each."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.augment.backgrounds import OtherBackground
from salient_imagenet_data.loaders.augment.choices import AUGMENTATIONS, Augmentation
from salient_imagenet_data.loaders.augment.planting import PlantedCue
from salient_imagenet_data.loaders.corruption.records import Fill, GaussianNoise, Static
from salient_imagenet_data.loaders.region import DILATION, OUTSIDE_CORE, Region
from salient_imagenet_data.loaders.torch_dataset import SalientImageNet
from salient_imagenet_data.loaders.transforms import MaskedCorruption

BACKGROUND = Region("not_core", threshold=0.5, dilation=DILATION)
"""What is replaced, at 224 pixels: outside a core that has a sharp edge, so that nothing shines through, and room."""


def augmentation(
    name: Augmentation,
    size: int,
    *,
    p: float = 0.5,
    seed: int | None = None,
    pool: SalientImageNet | None = None,
    classes: int | Sequence[float] | None = None,
    correlation: float = 0.9,
) -> nn.Module:
    """A transform of samples and batches of `SalientImageNet`, by one of `AUGMENTATIONS`.

    size: of the images, in pixels, to which the core is dilated in proportion. p: share of the images that are changed.
    pool: of "background-random" and "background-swapped": where other images come from; None: the batch, so that the
    transform must be called on batches. classes, correlation: of the planted cues, as of `PlantedCue`; p plays no part.
    seed: a number changes an image alike in every epoch, None anew. Raises SalientError for another name, or a cue
    without classes.

    background-removed      what is not core is gray
    background-noise        every pixel there has another colour
    background-random       another image is there, as it is
    background-swapped      another image's background is there, its object filled from around it
    corm                    Gaussian noise of 0.25 outside the soft core, as in the paper [Singla, Moayeri, Feizi 2022]
    planted-patch           a coloured square of the class
    planted-watermark       the class's number over the image
    """
    region = BACKGROUND.at(size)
    if name == "background-removed":
        return MaskedCorruption(Fill("gray"), region, p=p, seed=seed)
    if name == "background-noise":
        return MaskedCorruption(Static(), region, p=p, seed=seed)
    if name in ("background-random", "background-swapped"):
        return OtherBackground(region, pool=pool, without_object=name == "background-swapped", p=p, seed=seed)
    if name == "corm":
        return MaskedCorruption(GaussianNoise(0.25), OUTSIDE_CORE.at(size), p=p, seed=seed)
    if name not in AUGMENTATIONS:
        raise SalientError("augmentation is not known", expected=f"one of {', '.join(AUGMENTATIONS)}", got=str(name))
    if classes is None:
        raise SalientError(f"{name}: needs the number of classes", expected="classes=, or their shares")
    return PlantedCue("patch" if name == "planted-patch" else "watermark", classes, correlation, seed=seed)
