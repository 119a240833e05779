"""Training crops: a random part of an image, resized and perhaps mirrored, the same for the same seed and epoch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.builder.training.recipe import Recipe
from salient_imagenet_data.geometry import FILTERS
from salient_imagenet_data.images.source import ImageSource, picture_of

ASPECT = (3 / 4, 4 / 3)
"""Of a part's width to its height, as usual for ImageNet [Szegedy et al. 2015]."""
TRIES = 10


def training_crop(source: ImageSource, index: int, epoch: int, recipe: Recipe, filter: str) -> NDArray[np.uint8]:
    """(S, S, 3) uint8. What is drawn depends on the seed, the epoch and the image's place alone, so that neither a stop
    nor the number of processes changes it. Raises ImageError for an image that cannot be read."""
    random, side = np.random.default_rng((recipe.seed, epoch, index)), recipe.side(epoch)
    picture = picture_of(source, index)
    box = random_part(*picture.size, recipe.area, random)
    if recipe.flip and random.random() < 0.5:
        picture, box = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), _mirrored(box, picture.width)
    return np.asarray(picture.resize((side, side), FILTERS[filter], box=box))


def random_part(width: int, height: int, area: float, random: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a part that shows at least `area` of an image, in its pixels."""
    for _ in range(TRIES):
        share = width * height * random.uniform(area, 1.0)
        aspect = math.exp(random.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = math.sqrt(share * aspect), math.sqrt(share / aspect)
        if w <= width and h <= height:
            left, top = random.uniform(0, width - w), random.uniform(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _mirrored(box: tuple[float, float, float, float], width: int) -> tuple[float, float, float, float]:
    return width - box[2], box[1], width - box[0], box[3]
