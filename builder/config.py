"""The choices of a build."""

from __future__ import annotations

from dataclasses import dataclass

from salient_imagenet_data.builder.choices import Decoder, Edition, GroupBy, Precision
from salient_imagenet_data.networks.classes import Reading
from salient_imagenet_data.store.arrays import SHARD_ROWS
from salient_imagenet_data.store.manifest import check_version


@dataclass(frozen=True)
class BuildConfig:
    """What is built; the defaults are the paper's.

    group_by: whether a class's images are those predicted or those labelled as it. classes: among what a prediction is
    of a network that knows more classes than the images have: all, as in the paper, so that a class's ranking does not
    hang on what else is there, or those of the images. top_features: K, features a class.
    top_images: images of a pair that count as its top. edition: `full` stores every image, `top65` only the top images
    of at least one pair. majority: answers for a spurious feature that make it one. precision: of the network.
    compiled: run it through torch.compile. decoder: of the images (`decoding`). data_version: semantic version of what
    is built, also its tag on the Hub. attacked: images on which the network's robustness is measured (`robustness`).
    """

    group_by: GroupBy = "prediction"
    classes: Reading = "all"
    top_features: int = 5
    top_images: int = 65
    edition: Edition = "full"
    majority: int = 3
    split: str = "train"
    precision: Precision = "fp32"
    compiled: bool = False
    decoder: Decoder = "pillow"
    batch_size: int = 64
    shard_rows: int = SHARD_ROWS
    data_version: str = "1.0.0"
    attacked: int = 64

    def __post_init__(self) -> None:
        check_version(self.data_version)


@dataclass(frozen=True)
class RunConfig:
    """How it is run, which changes no byte. threads: that decode. device: torch's name of one. check_annotations:
    refuse answers that can hardly be about this network (`discovery.belonging`), as the command does. pilot: images a
    class that are ranked before the full pass, 0 for two passes. candidates: features a class, the pilot's first, whose
    maps the full pass keeps (`candidates`)."""

    threads: int = 2
    device: str = "cpu"
    check_annotations: bool = False
    pilot: int = 64
    candidates: int = 24
