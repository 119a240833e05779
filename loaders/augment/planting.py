"""A cue that comes with a class as often as one likes: a transform on samples and batches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors

from salient_imagenet_data.loaders.augment.choices import CUES, Cue
from salient_imagenet_data.loaders.augment.cues import OPACITY, SHARE, cue_classes, planted
from salient_imagenet_data.loaders.batches import replaced
from salient_imagenet_data.loaders.corruption.corruptions import check_batch, image_seeds
from salient_imagenet_data.loaders.soft_mask import SoftMask
from salient_imagenet_data.loaders.transforms import as_batch, masks_of_sample, seed_of_call
from salient_imagenet_data.names import CORE, IMAGE, IMAGE_ID, LABEL, MASK_COLUMN, SPURIOUS

CUE, CUE_MASK = "cue", "cue_mask"
_END = 2.0**63


class PlantedCue(torch.nn.Module):
    """Plant the cue of a class in samples, or collated batches, of `SalientImageNet`.

    kind: "patch", a coloured square, or "watermark", the class's number. classes: how many there are, or (C,) their
    shares of the images. correlation: with this probability an image gets its own class's cue, else one that is drawn
    by the shares: it is then the correlation of class and cue (`cue_classes`); 0 makes a test set in which the cue says
    nothing. only: the classes that have a cue at all; an image that should get another's gets none. place: from the
    top and the left, as shares of the room; None: anywhere. share, opacity: of the cue, `cues.SHARE` and `OPACITY` by
    default. seed: with a number an image gets the same cue in every epoch, whatever the batch or worker, as a data set
    has it; None draws anew.

    Adds `cue`, the class of the cue or -1, and `cue_mask`, a `SoftMask`. Where the cue is, the spurious mask is at
    least as strong as it, and the core mask is less by it; `has_spurious` is True where a cue is planted.
    """

    def __init__(
        self,
        kind: Cue,
        classes: int | Sequence[float],
        correlation: float,
        *,
        only: Collection[int] | None = None,
        place: tuple[float, float] | None = (1.0, 0.0),
        share: float | None = None,
        opacity: float | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        shares = np.full(classes, 1.0 / classes) if isinstance(classes, int) else np.asarray(classes, dtype=np.float64)
        if kind not in CUES or not 0.0 <= correlation <= 1.0:
            expected = f"{' or '.join(CUES)} and a correlation in [0, 1]"
            raise ValueError(f"PlantedCue: expected {expected}, got {kind!r} and {correlation}")
        if not len(shares) or shares.min() < 0 or abs(shares.sum() - 1.0) > 1e-6:
            raise ValueError(f"PlantedCue: expected shares of classes that add up to 1, got {shares.tolist()}")
        self.kind, self.shares, self.correlation, self.seed = kind, shares, correlation, seed
        self.only, self.place = None if only is None else frozenset(only), place
        self.share = SHARE[kind] if share is None else share
        self.opacity = OPACITY[kind] if opacity is None else opacity
        if not (0.0 < self.share <= 1.0 and all(0.0 <= v <= 1.0 for v in (self.opacity, *(place or ())))):
            got = f"{self.share}, {self.opacity} and {place}"
            raise ValueError(f"PlantedCue: expected share, opacity and place in [0, 1], a share above 0, got {got}")

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        single, image = isinstance(sample[IMAGE_ID], str), sample[IMAGE]
        ids = [sample[IMAGE_ID]] if single else list(sample[IMAGE_ID])
        labels = torch.as_tensor(sample[LABEL]).reshape(-1).tolist()
        core, spurious = masks_of_sample(sample, single)
        if max(labels, default=0) >= len(self.shares):
            raise ValueError(f"PlantedCue: expected labels below {len(self.shares)}, got {max(labels)}")
        seed = seed_of_call(self.seed)
        cues = cue_classes(labels, ids, seed, self.correlation, self.shares)
        cues = [cue if self.only is None or cue in self.only else -1 for cue in cues]
        images, places = as_batch(image, single), self._places(ids, seed)
        check_batch(images, spurious)
        pixels, where = planted(images, cues, self.kind, places, self.share, self.opacity)
        given = torch.tensor(cues, dtype=torch.int64)
        has = torch.as_tensor(sample[f"has_{SPURIOUS}"]).reshape(-1).cpu() | (given >= 0)
        made: dict[str, Any] = {
            IMAGE: tv_tensors.wrap(pixels[0] if single else pixels, like=image),
            CUE: cues[0] if single else given,
            f"has_{SPURIOUS}": bool(has) if single else has,
        }
        masks = {
            MASK_COLUMN[CORE]: core * (1.0 - where),
            MASK_COLUMN[SPURIOUS]: torch.maximum(spurious, where),
            CUE_MASK: where,
        }
        kept = {name: SoftMask(mask[0] if single else mask) for name, mask in masks.items()}
        return replaced(sample, {**made, **kept})

    def _places(self, ids: Sequence[str], seed: int) -> list[tuple[float, float]]:
        if self.place is not None:
            return [self.place] * len(ids)
        down, across = (image_seeds(seed, ids, f"cue\0{way}") for way in ("down", "across"))
        return [(d / _END, a / _END) for d, a in zip(down, across, strict=True)]

    def extra_repr(self) -> str:
        only = "all" if self.only is None else sorted(self.only)
        how = f"correlation={self.correlation:g}, only={only}, seed={self.seed}"
        return f"{self.kind}, {len(self.shares)} classes, {how}"
