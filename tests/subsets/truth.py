"""A store of a subset, answers about it, and what a few lines of numpy say of a network on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.subsets.networks import logits_of


def build(run: Run, images: Path, weights: Path, out: Path, *more: object, split: str = "train") -> tuple[Store, str]:
    how = ("--split", split, "--weights", weights, "--out", out, "--attacked", 0)
    code, _, err = run("build", "--images", images, *how, *more)
    assert code == 0, err
    return Store(out), err


@dataclass(frozen=True)
class Truth:
    """What a few lines of numpy say of a network and a folder. labels: among the folder's classes. over_all: -1 for
    another of ImageNet's."""

    labels: NDArray[np.int64]
    over_all: NDArray[np.int64]
    among: NDArray[np.int64]


def truth(net: torch.nn.Module, folder: Path, names: Sequence[str]) -> Truth:
    said, logits = logits_of(net, folder)  # type: ignore[arg-type]
    columns = [wnids().index(name) for name in sorted(names)]
    places = {column: place for place, column in enumerate(columns)}
    labels = np.array([places[wnids().index(name)] for name in said])
    over_all = np.array([places.get(int(k), -1) for k in logits.argmax(axis=1)])
    return Truth(labels, over_all, logits[:, columns].argmax(axis=1))


def averaged(hits: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    return float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))


def answers(store: Store, people: int = 3) -> list[Answer]:
    """Rank 1 core and rank 2 spurious, of every class, under ImageNet's numbers."""
    words = {1: "main_object", 2: "background"}
    return [
        Answer(f"p{person}", f.class_name, wnids().index(f.class_name), f.feature_index, f.rank, words[f.rank], 4, "so")
        for f in store.features
        if f.rank in words
        for person in range(people)
    ]
