"""One pass and a bit: a guess at each class's features before all images are ranked. Pure functions on arrays.

A pilot over a fixed sample ranks features, and each class's first ones are its candidates: the full pass keeps the maps
of these, and from them the features of the final ranking are picked. What the guess missed goes through the network
again, in the batches in which a second pass over all kept images would have it, so the bytes are those of two passes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.folds import lowest_of_each

PILOT_UNIT = 1024
"""Images of a unit of the pilot, which is small beside a pass and is shared out too."""


def pilot_rows(image_ids: Iterable[str], labels: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """Ascending rows of `count` images of each class (`lowest_of_each`): the same whatever else is run."""
    return np.sort(lowest_of_each(image_ids, labels, count))


def most_kept(labels: NDArray[np.integer], most: int | None) -> int:
    """Images that a second pass has at most. labels: (N,). most: images of a class that are kept, None for all."""
    counts = np.bincount(labels)
    return int(counts.sum() if most is None else np.minimum(counts, most).sum())


def slots(features: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C, K) place of each feature among its class's candidates, -1 where it is not among them.

    features: (C, K), -1 for none. candidates: (C, M), -1 for none.
    """
    same = (features[:, :, None] == candidates[:, None, :]) & (features >= 0)[:, :, None]
    return np.where(same.any(axis=2), same.argmax(axis=2), -1)


def missed(features: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(C,) whether a feature of a class is not among its candidates. Shapes as for `slots`."""
    return np.asarray(((slots(features, candidates) < 0) & (features >= 0)).any(axis=1))


def go_again(
    lacking: NDArray[np.bool_], together: NDArray[np.integer], *, shard_rows: int, batch_size: int
) -> NDArray[np.bool_]:
    """(M,) which of M kept images a second pass must take, always whole batches of it.

    lacking: (M,) whether the image's class lacks a candidate (`missed`). together: (M,) images of its batch in the full
    pass. What a network makes of an image may differ in the last bit with the size of its batch, so a batch that had
    another size is taken too. Batches do not reach over units of `shard_rows`.
    """
    row = np.arange(len(lacking))
    within = row % shard_rows
    unit_size = np.minimum(shard_rows, len(lacking) - (row - within))
    size = np.minimum(batch_size, unit_size - (within - within % batch_size))
    batch = row // shard_rows * (-(-shard_rows // batch_size)) + within // batch_size
    bad = np.bincount(batch, lacking | (together != size))
    result: NDArray[np.bool_] = bad[batch] > 0
    return result


def ends_of(again: NDArray[np.bool_], shard_rows: int) -> NDArray[np.int64]:
    """(U,) where the units of a second pass end that takes some of M images, from the units of one that takes all."""
    sizes = np.bincount(np.flatnonzero(again) // shard_rows)
    return np.cumsum(sizes[sizes > 0])
