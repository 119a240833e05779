"""What a study stands on: images to train on and others to measure on, networks to begin with, and a truth or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Part:
    """Images of a store. fold: which of them, left_out: but for these."""

    store: Store
    source: ImageSource
    fold: Fold = WHOLE
    left_out: LeftOut = NOTHING

    def within(self, settings: Settings) -> Settings:
        """Settings that go through these images."""
        return replace(settings, fold=self.fold, left_out=self.left_out)

    def few(self, of: int) -> Part:
        """One in `of` of them."""
        return replace(self, fold=Fold(self.fold.number, self.fold.of * of))


@dataclass(frozen=True)
class Start:
    """A network that every method begins with. seed: of what the methods draw. opened: opens it anew, as it was."""

    name: str
    seed: int
    opened: Callable[[], Classifier]


@dataclass(frozen=True)
class Ground:
    """training: what methods train on. testing: what measures look at. truth: of a network, by `measures.WITHOUT`,
    `AGAIN` and `WITH`; None where nobody knows it. about: what is written down of all this, JSON-ready."""

    training: Part
    testing: Part
    starts: tuple[Start, ...]
    truth: Callable[[nn.Module], dict[str, float]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def check_masks(store: Store) -> None:
    """Raises SalientError for a store in which nothing could be measured: without core or spurious features."""
    for kind in KINDS:
        if not store.has(kind).any():
            raise SalientError(
                f"{store.path}: nothing to study",
                expected="answers that make some features core and some spurious",
                got=f"no {kind} feature",
                then="see `salient-imagenet label` and `salient-imagenet apply`",
            )
