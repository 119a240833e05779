"""How many latents of an autoencoder are positive: whether it can be what it was read as, before the images go through.

A rectified autoencoder that was trained to be sparse has few positive latents on an image. Where many are, a top-k one
may have been read as rectified, or one of another layer or network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from salient_imagenet_data.builder.config import RunConfig
from salient_imagenet_data.builder.discovery.sparse import Sparse
from salient_imagenet_data.builder.robustness import BATCH, here, keep, kept, sample_of
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.networks.devices import move
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.places import Folder

IMAGES = 64
MANY = 0.08
"""Share of positive latents above which it is asked whether the autoencoder is a rectified one. Trained on a network's
neurons, sparse rectified ones have 0.03 to 0.05, top-k ones 0.10 and more (`benchmarks/autoencoders.py`)."""
AT_ONCE = 4096
"""Latents that are worked out together: 67 MB of 2,048 neurons."""


@dataclass(frozen=True)
class Active:
    """images: how many were looked at. positive: the share of latents that are positive on an image, the mean over
    images; never: that of latents that are positive on none. Both to four digits."""

    images: int
    positive: float
    never: float

    def line(self, place: str, latents: int) -> str:
        """What a person should hear of it."""
        words = f"{place}: {self.positive:.1%} of {latents} latents are positive on an image, {self.never:.1%} on none"
        words += f" of {self.images} images"
        if self.positive > MANY:
            return f"warning: {words}: many for a sparse, rectified one; is it a top-k one, or of another layer?"
        if self.never == 1.0:
            return f"warning: {words}: is it of another layer, or another network?"
        return words


def active_of(
    source: ImageSource, model: RobustModel, sparse: Sparse, run: RunConfig, folder: Folder, key: str
) -> Active | None:
    """Of an autoencoder of all its latents, on the images that the network's robustness is measured on; None where none
    can be read. A build that goes on finds it in the folder of its units."""
    name = f"latents-{key}.json"
    if (found := kept(folder, name, Active)) is not None:
        return found
    images, _ = sample_of(source, model, IMAGES)
    if not len(images):
        return None
    device = here(run.device)
    move(model, device)
    assert isinstance(model, nn.Module)
    pooled = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            x = unit_images(torch.from_numpy(images[start : start + BATCH]).to(device), torch.channels_last)
            pooled.append(model.maps_and_features(x)[1].double().cpu().numpy())
    r, basis = np.concatenate(pooled), sparse.basis
    counts, ever = np.zeros(len(r)), 0
    for start in range(0, basis.count, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        positive = r @ basis.directions[part].T.astype(np.float64) + basis.bias[part] > 0.0
        counts += positive.sum(axis=1)
        ever += int(positive.any(axis=0).sum())
    shares = float(counts.mean() / basis.count), 1.0 - ever / basis.count
    return keep(folder, name, Active(len(images), *(round(share, 4) for share in shares)))
