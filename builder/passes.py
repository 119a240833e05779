"""Which images go through the network: a pilot, the full pass, and what must go again.

Without known pairs the features of a class are those of the final ranking, which only the full pass gives. It keeps the
maps of a pilot's candidates, and a second pass takes the images of classes whose features these lack.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.discovery.candidates import (
    PILOT_UNIT,
    ends_of,
    go_again,
    missed,
    most_kept,
    pilot_rows,
    slots,
)
from salient_imagenet_data.builder.discovery.fitting import Fitted, fit_units, fitted
from salient_imagenet_data.builder.discovery.known import Known
from salient_imagenet_data.builder.discovery.ranking import rank
from salient_imagenet_data.builder.discovery.wanted import Wanted
from salient_imagenet_data.builder.finish import FoundMaps, Pooled, load_pooled
from salient_imagenet_data.builder.units.engine import Engine
from salient_imagenet_data.builder.units.unit import Job, even_ends
from salient_imagenet_data.errors import some
from salient_imagenet_data.images.source import ImageSource, id_chunks, labels_of
from salient_imagenet_data.names import PCA, WORK
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.places import Folder
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.claiming import Claim
from salient_imagenet_data.store.features import Basis


@dataclass(frozen=True)
class Given:
    """All that a build is given, after it has been checked."""

    source: ImageSource
    model: RobustModel
    place: Folder
    weights_sha256: str
    annotations: Annotations | None
    known: Known | None
    wanted: Wanted
    config: BuildConfig
    run: RunConfig
    engine: Engine
    claim: Claim
    left_out: LeftOut = NOTHING


def full_pass(this: Given, known: NDArray[np.int64] | None) -> Job:
    """All images once, done. known: (C, K) features of each class, whose maps are kept; else those of candidates are,
    and the pooled features of every image."""
    kept_maps = known
    if known is None and this.wanted.kind == PCA:
        tell(this, "no pilot: components are known when all images have been seen, so those that are kept go twice")
    elif known is None:
        kept_maps = _candidates(this)
    rows, ends = np.arange(len(this.source)), even_ends(len(this.source), this.config.shard_rows)
    first = _job(this, "features", rows, ends, kept_maps, keep_features=known is None, basis=this.wanted.basis)
    this.engine.run(first)
    return first


def found_components(this: Given, first: Job, means: NDArray[np.float64]) -> Fitted:
    """The components of each class, found by the leader from a finished pass. means: (C, F) of each class's images."""
    weight, top = weight_of(this.model), this.config.top_features
    classes, neurons = weight.shape
    if this.engine.leader:
        fit_units(first, means, weight, top)
    this.engine.wait()
    return fitted(first, classes, neurons, top)


def second_pass(
    this: Given,
    first: Job,
    pooled: Pooled,
    kept: NDArray[np.int64],
    features: NDArray[np.int64],
    basis: Basis | None = None,
) -> FoundMaps:
    """What must go again, done, and where the maps of the store then are.

    kept: (M,) positions among the readable images of those that the store has, ascending. features: (C, K), of a basis
    or neurons.
    """
    labels, config = pooled.labels[kept], this.config
    again = np.full(len(kept), first.pairs is None)
    if first.pairs is not None and first.keep_features:  # candidates, not known pairs
        lack = missed(features, first.pairs)
        sizes = pooled.together[kept]
        again = go_again(lack[labels], sizes, shard_rows=config.shard_rows, batch_size=config.batch_size)
        if again.any():
            names = [name for name, no in zip(this.source.class_names, lack.tolist(), strict=True) if no]
            why = f": no candidates were features of {some(names)}" if names else ""
            tell(this, f"{again.sum()} of {len(kept)} images go through the network again{why}")
    rows = pooled.indices[kept[again]]
    second = _job(this, "maps", rows, ends_of(again, config.shard_rows), features, must_read=True, basis=basis)
    this.engine.run(second)
    places = None if first.pairs is None else slots(features, first.pairs)[labels]
    return FoundMaps(first, second, kept, again, places)


def _candidates(this: Given) -> NDArray[np.int64] | None:
    """(C, M) features of each class that a pilot ranks first, -1 where it met no image of one; None without a pilot,
    where it would be more than half of the images that it may save from going twice."""
    run, config, labels = this.run, this.config, labels_of(this.source)
    if not run.pilot:
        return None
    rows = pilot_rows(chain.from_iterable(id_chunks(this.source)), labels, run.pilot)
    twice = most_kept(labels, config.top_images * config.top_features if config.edition == "top65" else None)
    if 2 * len(rows) > twice:
        saved = f"a pilot of {len(rows)} would save {twice} from it at most"
        tell(this, f"few images: all go through the network, and those that are kept go again, as {saved}")
        return None
    job = _job(this, "pilot", rows, even_ends(len(rows), PILOT_UNIT), None, basis=this.wanted.basis)
    this.engine.run(job)
    return rank(load_pooled(job)[1], contributions(this), max(run.candidates, config.top_features)).features


def _job(
    this: Given,
    name: str,
    rows: NDArray[np.int64],
    ends: NDArray[np.int64],
    pairs: NDArray[np.int64] | None,
    *,
    keep_features: bool = False,
    must_read: bool = False,
    basis: Basis | None = None,
) -> Job:
    """Its key covers the images of each unit and the features whose maps are kept, and so what decided these."""
    key = hashlib.sha256(this.claim.key.encode())
    for numbers in (rows, ends, np.zeros((0, 0)) if pairs is None else pairs):
        key.update(f"{numbers.shape}".encode() + numbers.astype("<i8").tobytes())
    if basis is not None:
        key.update(basis.sha256.encode())
    return Job(
        this.place.child(WORK),
        key.hexdigest()[:12],
        name,
        this.source,
        this.model,
        this.config,
        this.run,
        rows,
        ends,
        pairs,
        keep_features=keep_features,
        must_read=must_read,
        basis=basis,
        left_out=this.left_out,
    )


def tell(this: Given, text: str) -> None:
    """A line to stderr, by the leader; none for an empty text."""
    if text and this.engine.leader:
        print(text, file=sys.stderr)


def contributions(this: Given) -> NDArray[np.float32]:
    """What a unit of each feature adds to each class's logit: (C, F) of the head for neurons, (C, R) through the
    decoder for the latents of an autoencoder."""
    weight, sparse = weight_of(this.model), this.wanted.sparse
    if sparse is None:
        return weight
    found: NDArray[np.float32] = (weight.astype(np.float64) @ sparse.decoder.T.astype(np.float64)).astype(np.float32)
    return found


def weight_of(model: RobustModel) -> NDArray[np.float32]:
    """(C, F) of the head."""
    weight: NDArray[np.float32] = model.weight.detach().float().cpu().numpy()
    return weight
