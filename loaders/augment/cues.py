"""Cues that are planted in images: which class's cue an image gets, how cues look, and where they come to lie. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from salient_imagenet_data.loaders.augment.choices import Cue
from salient_imagenet_data.loaders.corruption.corruptions import image_seeds
from salient_imagenet_data.loaders.corruption.kernels import from_unit, to_unit

PALETTE = (
    (0.90, 0.10, 0.10),
    (0.10, 0.70, 0.15),
    (0.10, 0.25, 0.95),
    (0.98, 0.85, 0.05),
    (0.85, 0.10, 0.85),
    (0.05, 0.80, 0.85),
    (1.00, 0.50, 0.00),
    (1.00, 1.00, 1.00),
)
"""Colours of patches, as (r, g, b) in [0, 1]."""
SHARE: dict[Cue, float] = {"patch": 0.125, "watermark": 0.2}
"""Height of a cue, as a share of the image's shorter side."""
OPACITY: dict[Cue, float] = {"patch": 1.0, "watermark": 0.5}
_END = 2.0**63


def cue_classes(
    labels: Sequence[int], image_ids: Sequence[str], seed: int, correlation: float, shares: NDArray[np.float64]
) -> list[int]:
    """Of which class each image gets the cue: with probability `correlation` of its own, else of a class that is drawn
    by `shares`, which may be its own too.

    shares: (C,) of the classes, adding up to 1. Where they are the classes' shares of the images, having the cue of a
    class and being of it, as two columns of 0 and 1, have a correlation coefficient of `correlation`, for every class:
    P(cue c | class c) - P(cue c | another) is `correlation`, and cues are as frequent as classes.
    """
    own = image_seeds(seed, image_ids, "cue\0own")
    drawn = np.searchsorted(
        np.cumsum(shares)[:-1], np.array(image_seeds(seed, image_ids, "cue\0drawn")) / _END, side="right"
    )
    return [
        int(label) if number / _END < correlation else int(other)
        for label, number, other in zip(labels, own, drawn, strict=True)
    ]


def cue_of(kind: Cue, class_index: int, height: int) -> tuple[Tensor, Tensor]:
    """How the cue of a class looks: colours (3, h, w) and where it is (1, h, w), float32 in [0, 1].

    A patch is a square of 2 x 2 fields, which differ for up to 4096 classes; of the first eight it has one colour. A
    watermark is the class's number in white letters.
    """
    if kind == "patch":
        first, shift = class_index % 8, [0, class_index // 8, class_index // 64, class_index // 512]
        fields = torch.tensor([PALETTE[(first + number) % 8] for number in shift]).T.reshape(3, 2, 2)
        half = max(1, round(height / 2))
        return fields.repeat_interleave(half, dim=1).repeat_interleave(half, dim=2), torch.ones(1, 2 * half, 2 * half)
    font = ImageFont.load_default(height)
    left, top, right, bottom = (round(v) for v in font.getbbox(str(class_index)))
    picture = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(picture).text((-left, -top), str(class_index), fill=255, font=font)
    where = torch.from_numpy(np.array(picture)).float()[None] / 255.0
    return torch.ones(3, *where.shape[1:]), where


def planted(
    images: Tensor, cues: Sequence[int], kind: Cue, places: Sequence[tuple[float, float]], share: float, opacity: float
) -> tuple[Tensor, Tensor]:
    """Images with their cues, and where these are: (B, 3, H, W) like the images, and (B, 1, H, W) float32 in [0, 1].

    images: (B, 3, H, W) float in [0, 1] or uint8. cues: of which class each is, negative for none. places: of each, in
    [0, 1], from the top and from the left, as shares of the room that there is. share: the cue's height over the
    shorter side. opacity: of the cue over the image. Raises ValueError where a cue is larger than an image.
    """
    out, where = to_unit(images).clone(), torch.zeros_like(images[:, :1], dtype=torch.float32)
    height = max(2, round(share * min(images.shape[2:])))
    for k, (cue, (down, across)) in enumerate(zip(cues, places, strict=True)):
        if cue < 0:
            continue
        colours, there = (part.to(images.device) for part in cue_of(kind, cue, height))
        room = images.shape[2] - there.shape[1], images.shape[3] - there.shape[2]
        if min(room) < 0:
            raise ValueError(f"{kind} of {tuple(there.shape[1:])}: larger than images of {tuple(images.shape[2:])}")
        top, left = round(down * room[0]), round(across * room[1])
        at = (k, slice(None), slice(top, top + there.shape[1]), slice(left, left + there.shape[2]))
        out[at] = torch.lerp(out[at], colours, opacity * there)
        where[at] = there
    untouched = where.amax(dim=(1, 2, 3), keepdim=True) == 0
    return torch.where(untouched, images, from_unit(out, images.dtype)), where
