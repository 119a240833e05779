"""Other backgrounds for the images of a training, by the masks that it has."""

from __future__ import annotations

import torch
from torch import Tensor

from salient_imagenet_data.evaluation.run.images import ItemBatch
from salient_imagenet_data.loaders.augment.choices import Background
from salient_imagenet_data.loaders.augment.presets import augmentation
from salient_imagenet_data.names import CORE, IMAGE, IMAGE_ID, KINDS, LABEL, MASK_COLUMN


def with_other_backgrounds(
    name: Background,
    batch: ItemBatch,
    pixels: Tensor,
    labels: Tensor,
    masks: Tensor,
    known: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Images (B, 3, S, S) float32 in [0, 1], half of those with a mask under an `augmentation`.

    batch: whose ids decide, with a number of the generator, which images are changed, and which other one of the batch
    gives its background. labels: (B,). masks, known: (B, 1, S, S) float32; an image of which nothing is known has no
    mask and stays, and so do pixels of which nothing is known.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    has = known.flatten(1).any(dim=1)
    nothing = torch.zeros_like(masks)
    core = torch.where(known > 0, masks, 1.0) * has[:, None, None, None]
    sample = {IMAGE: pixels, IMAGE_ID: batch.image_ids, LABEL: labels, MASK_COLUMN[CORE]: core}
    given = {MASK_COLUMN[kind]: nothing for kind in KINDS} | {f"has_{kind}": has for kind in KINDS} | sample
    found: Tensor = augmentation(name, pixels.shape[-1], seed=seed)(given)[IMAGE]
    return found
