"""How a store's images are gone through, the same for all that runs a network over them. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.joining import Missing
from salient_imagenet_data.networks.classes import Reading
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut


@dataclass(frozen=True)
class Settings:
    """batch_size: images at a time; where nothing is trained it changes the speed only. workers: processes that read
    images, likewise. seed: of all random numbers. device: torch's name. top_k: classes that are kept of each answer,
    None: all. missing: what becomes of images that are not there or do not decode (`found`). fold: the part of the
    store's images that is used. left_out: of these, those that count for nothing. classes: among what a network
    answers that knows more classes than the store: all its outputs, or the store's classes."""

    batch_size: int = 64
    workers: int = 0
    seed: int = 0
    device: str = "cpu"
    top_k: int | None = 5
    missing: Missing = "error"
    fold: Fold = WHOLE
    left_out: LeftOut = NOTHING
    classes: Reading = "all"


DEFAULT = Settings()
SMALL = Settings(batch_size=32)
"""Where gradients take their share of the memory."""
