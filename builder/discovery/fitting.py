"""The components of all classes from the units of a pass: some classes at a time, in bounded memory.

The pooled neurons of every image lie in the units' files. As many classes at a time as fit in memory are gathered from
them, and what comes of them is a small file of its own, which a build that goes on finds. One process does it, with one
thread for each class, so the bytes are the same whoever did the units.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from salient_imagenet_data.builder.discovery.components import Components, Scatter, components
from salient_imagenet_data.builder.discovery.ranking import Ranking
from salient_imagenet_data.builder.units.unit import Job, arrays_in, is_sound
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import PCA
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.features import Basis

MEMORY = 2**30
"""Bytes of the classes that are gathered at a time; one class takes at most 8 F^2, 34 MB with 2,048 neurons."""
_KEYS = ("classes", "places", "directions", "bias", "spread")


@dataclass(frozen=True)
class Fitted:
    """basis: of all classes. ranking: which of its features are a class's, most important first."""

    basis: Basis
    ranking: Ranking


def blocks(counts: NDArray[np.integer], neurons: int, memory: int = MEMORY) -> list[list[int]]:
    """Classes that are gathered together: as many as fit, at least one, in their order; none without an image.

    counts: (C,) images of each class.
    """
    found: list[list[int]] = []
    left = 0
    for index, count in enumerate(counts.tolist()):
        size = Scatter.size(count, neurons)
        if not count:
            continue
        if not found or size > left:
            found.append([])
            left = memory
        found[-1].append(index)
        left -= size
    return found


def fit_units(job: Job, means: NDArray[np.float64], weight: NDArray[np.float32], top: int) -> None:
    """Find the `top` components of each class from a finished pass that kept its features, and write their files.

    means: (C, F) of each class's images. weight: (C, F) of the head.
    """
    groups = [_groups_of(job, unit) for unit in range(job.units)]
    classes, neurons = weight.shape
    counts = sum((np.bincount(g[g >= 0], minlength=classes) for g in groups), np.zeros(classes, dtype=np.int64))
    todo = blocks(counts, neurons)
    with _one_thread(), progress((), total=int((counts > 0).sum()), what="components", unit="class") as bar:
        for number, block in enumerate(todo):
            name = _file(job, top, number)
            if name not in job.folder.names() or not is_sound(job.folder, name):
                found = _fit(job, groups, block, counts, means, weight, top)
                arrays = dict(zip(_KEYS, found, strict=True))
                job.folder.write(name, lambda file, arrays=arrays: np.savez(file, **arrays))  # type: ignore[misc]
            bar.update(len(block))


def fitted(job: Job, classes: int, neurons: int, top: int) -> Fitted:
    """What the files of `fit_units` say. A class without images, or with too few for `top` components, has -1 and NaN
    for those that it has not. Feature k * F + l is the component of class k in place l by variance. Raises SalientError
    where no class has any."""
    features = np.full((classes, top), -1, dtype=np.int64)
    importance = np.full((classes, top), np.nan)
    parts = []
    number = 0
    there = job.folder.names()
    while (name := _file(job, top, number)) in there:
        part = arrays_in(job.folder, name, *_KEYS)
        parts.append(part)
        number += 1
        slot = 0
        for row, (index, place) in enumerate(zip(part["classes"].tolist(), part["places"].tolist(), strict=True)):
            slot = slot + 1 if row and part["classes"][row - 1] == index else 0
            features[index, slot] = index * neurons + place
            importance[index, slot] = part["spread"][row]
    if not any(len(part["places"]) for part in parts):
        raise SalientError(
            "no component was found", expected="a class with two images or more", then="is it --group-by label?"
        )
    owners, places, directions, bias = (np.concatenate([p[key] for p in parts]) for key in _KEYS[:4])
    numbers = owners * neurons + places
    order = np.argsort(numbers)
    basis = Basis(
        PCA, classes * neurons, numbers[order], directions[order], bias[order], np.zeros(len(order), dtype=np.float64)
    )
    return Fitted(basis, Ranking(features, importance))


def _fit(
    job: Job,
    groups: list[NDArray[np.int64]],
    block: list[int],
    counts: NDArray[np.int64],
    means: NDArray[np.float64],
    weight: NDArray[np.float32],
    top: int,
) -> tuple[NDArray[np.generic], ...]:
    """Arrays of `_KEYS` of some classes: one row a component."""
    scatters = {index: Scatter(means[index], int(counts[index])) for index in block}
    for unit, group in enumerate(groups):
        mine = np.isin(group, block)
        if mine.any():
            features = job.load(unit, "features")["features"]
            for index in np.unique(group[mine]).tolist():
                scatters[index].add(features[group == index])

    def of_class(index: int) -> Components:
        scatter = scatters.pop(index)
        return components(means[index], scatter.covariance(), weight[index], top)

    with ThreadPoolExecutor(job.run.threads) as pool:
        found = list(pool.map(of_class, block))
    owners = np.repeat(np.array(block, dtype=np.int64), [len(c.places) for c in found])
    return (
        owners,
        np.concatenate([c.places for c in found]),
        np.concatenate([c.directions for c in found]),
        np.concatenate([c.bias for c in found]),
        np.concatenate([c.spread for c in found]),
    )


def _groups_of(job: Job, unit: int) -> NDArray[np.int64]:
    """(n,) the class that each image of a unit counts for, -1 for none."""
    part = job.load(unit, "indices", "predictions")
    return job.counted_for(part["indices"], part["predictions"])


def _file(job: Job, top: int, number: int) -> str:
    return f"components-{job.key}-{top}-{number:05d}.npz"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums and eigenvectors of torch on one thread each, since with more their last bits may hang on how many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
