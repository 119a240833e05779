"""How robust the network of a build is: a short attack on a few of its images, before they all go through it.

Maps of a network that is not robust are made all the same; people can hardly name what they show [Engstrom et al. 2019;
Singla and Feizi 2022].
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.worth import CLEAN, KEPT, STEPS, worth
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.images.reading import read_ahead
from salient_imagenet_data.images.source import ImageSource, picture_of
from salient_imagenet_data.networks.devices import check_device, move
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.places import Folder

Record = TypeVar("Record")

RADIUS = 1.0 / 224
"""l2 radius of the attack, pixels in [0, 1], by side of the crop: 1 at 224, a third of what published networks with an
epsilon of 3 were trained against. The same change of each pixel at any side."""
BATCH = 8
"""Images that are attacked at a time, whatever the build's own batches: the figure is the same for all."""


@dataclass(frozen=True)
class Robustness:
    """accuracy: share of `images` that is classified right. attacked_accuracy: the same after `steps` steps of an
    attack inside an l2 ball of `l2_radius`, pixels in [0, 1]."""

    images: int
    accuracy: float
    attacked_accuracy: float
    l2_radius: float
    steps: int

    def warnings(self) -> list[str]:
        """A line for each bound that is not reached."""
        found = []
        if self.accuracy < CLEAN:
            found.append(
                f"warning: the network is right on {self.accuracy:.0%} of {self.images} images, below {CLEAN:.0%}: are "
                "its classes those of the images?"
            )
        if self.attacked_accuracy < KEPT * self.accuracy:
            found.append(
                f"warning: the network is not robust: right on {self.accuracy:.0%} of {self.images} images and on "
                f"{self.attacked_accuracy:.0%} after an l2 attack of radius {self.l2_radius:.2g}, less than {KEPT:.0%} "
                "of that; people can hardly name what its features show"
            )
        return found


def robustness_of(
    source: ImageSource, model: RobustModel, config: BuildConfig, run: RunConfig, folder: Folder, key: str
) -> Robustness | None:
    """Of the network on `config.attacked` images; None for 0. A build that goes on finds it in the folder of its units.

    On the device of the build, or the CPU where this process has no such device.
    """
    if not config.attacked:
        return None
    name = f"robustness-{key}.json"
    if (found := kept(folder, name, Robustness)) is not None:
        return found
    images, labels = sample_of(source, model, config.attacked)
    if not len(images):
        return None
    move(model, here(run.device))
    assert isinstance(model, nn.Module)
    radius = RADIUS * model.preprocessing.crop
    measured = worth(model, images, labels, radius, seen=False, attacked=len(images), batch_size=BATCH)
    return keep(folder, name, Robustness(len(images), measured.clean, measured.robust, radius, STEPS))


def kept(folder: Folder, name: str, kind: type[Record]) -> Record | None:
    """A small record that a build that was stopped has left in the folder of its units; None where there is none."""
    if name not in folder.names():
        return None
    try:
        with folder.open(name) as file:
            return kind(**json.load(file))
    except (ValueError, TypeError):  # a power cut may leave a file empty: it is measured again
        return None


def keep(folder: Folder, name: str, record: Record) -> Record:
    """The record, and leave it there."""
    folder.write(name, lambda file: file.write(json.dumps(asdict(record)).encode()))  # type: ignore[call-overload]
    return record


def sample_of(source: ImageSource, model: RobustModel, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Crops (n, S, S, 3) uint8 and labels (n,) of `count` readable images, or of all where there are fewer."""
    crops, labels = list[NDArray[np.uint8]](), list[int]()
    for index, crop in _crops(source, model):
        if len(crops) == count:
            break
        if not isinstance(crop, ImageError):
            crops.append(crop)
            labels.append(source.entry(index).label)
    size = model.preprocessing.crop
    return np.array(crops, dtype=np.uint8).reshape(-1, size, size, 3), np.array(labels, dtype=np.int64)


def _crops(source: ImageSource, model: RobustModel) -> Iterator[tuple[int, NDArray[np.uint8] | ImageError]]:
    order = np.random.default_rng(0).permutation(len(source)).tolist()
    return read_ahead(order, lambda i: model.preprocessing.apply_to_picture(picture_of(source, i)), window=BATCH)


def here(device: str) -> str:
    """The device of the build, or the CPU where this process has no such device."""
    try:
        return check_device(device)
    except SalientError:  # of a worker elsewhere
        return "cpu"
