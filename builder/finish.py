"""From the files of the units to a store: what pass 1 found, the tables, and the shards of the maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.discovery.candidates import missed, slots
from salient_imagenet_data.builder.discovery.ranking import GroupSums, Ranking, class_means
from salient_imagenet_data.builder.units.unit import Arrays, Job
from salient_imagenet_data.errors import many, some
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import ImageSource, ListedSource, ids_of, labels_of
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.store.arrays import shard_count
from salient_imagenet_data.store.features import Basis, Feature
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.tables import images_table
from salient_imagenet_data.store.writing import StoreWriter

MAP_KEYS = ("maps", "peaks")


@dataclass(frozen=True)
class Pooled:
    """Pass 1 of the N readable images, without their features, which stay on disk.

    indices: (N,) into the source. labels, predictions: (N,), the latter -1 for a class that the images have not. sizes:
    (N, 2) width and height. together: (N,) images of the batch that each was in. failed: (source index, reason) of the
    others.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int32]
    predictions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    together: NDArray[np.int32]
    failed: list[tuple[int, str]]

    def activations(self, job: Job, features: NDArray[np.int64], basis: Basis | None = None) -> NDArray[np.float32]:
        """(N, K) pooled features of each image's class, read unit by unit; 0 where `features` (C, K) is -1.

        basis: what they are made of, None for neurons. Of a unit whose candidates have them all, not every feature is
        read: they are most of what there is to read.
        """
        if not job.keep_features:
            parts = [job.load(unit, "activations") for unit in range(job.units)]
            return np.concatenate([part["activations"] for part in parts if part])
        lacking = np.ones(len(features), dtype=np.bool_) if job.pairs is None else missed(features, job.pairs)
        result = np.zeros((len(self.indices), features.shape[1]), dtype=np.float32)
        start = 0
        for unit in range(job.units):
            end = start + len(job.load(unit, "indices")["indices"])
            labels = self.labels[start:end]
            if job.pairs is None or lacking[labels].any():
                values = job.load(unit, "features")["features"]
                mine = features[labels]
                result[start:end] = _picked(values, mine) if basis is None else basis.activations(values, mine)
            elif start < end:
                values = job.load(unit, "activations")["activations"]
                result[start:end] = _picked(values, slots(features, job.pairs)[labels])
            start = end
        return result


def load_pooled(job: Job) -> tuple[Pooled, NDArray[np.float64]]:
    """What pass 1 found, and the mean features of each group, (C, job.width), NaN for a group without an image."""
    keys = ("indices", "predictions", "sizes", "together", "failed", "reasons")
    parts: list[list[NDArray[Any]]] = []

    def sums() -> Iterator[GroupSums]:
        for unit in range(job.units):
            part = job.load(unit, *keys, "groups", "counts", "sums")
            parts.append([part[key] for key in keys])
            yield GroupSums(part["groups"], part["counts"], part["sums"])

    means = class_means(sums(), job.model.weight.shape[0], job.width)
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    indices, predictions, sizes, together, failed, reasons = columns
    labels, why = labels_of(job.source)[indices], list(zip(failed.tolist(), map(str, reasons), strict=True))
    return Pooled(indices, labels, predictions, sizes, together, why), means


class MapRows:
    """Maps and peaks of images in order, so many at a time as are asked for. parts: of some images each."""

    def __init__(self, parts: Iterable[Arrays]) -> None:
        self._parts = iter(parts)
        self._held: list[Arrays] = []

    def take(self, count: int) -> Arrays:
        """Of the next `count` images, at least one."""
        while sum(len(part["maps"]) for part in self._held) < count:
            self._held.append(next(self._parts))
        whole = {key: np.concatenate([part[key] for part in self._held]) for key in MAP_KEYS}
        self._held = [{key: values[count:] for key, values in whole.items()}]
        return {key: values[:count] for key, values in whole.items()}


@dataclass(frozen=True)
class FoundMaps:
    """Where the maps of the M images of a store are.

    first: the full pass over N readable images, with maps of candidates or of none. second: of some images, once more.
    kept: (M,) positions among the N, ascending. again: (M,) whether `second` has the image. slots: (M, K) where `first`
    has the maps of the others, -1 for a map of zeros; None where `second` has all.
    """

    first: Job
    second: Job
    kept: NDArray[np.int64]
    again: NDArray[np.bool_]
    slots: NDArray[np.int64] | None

    def grid(self) -> tuple[int, int]:
        """(h, w) of the maps."""
        height, width = next(_maps_in(self.second if self.slots is None else self.first))["maps"].shape[2:]
        return height, width

    def __iter__(self) -> Iterator[Arrays]:
        """Maps and peaks, those of some images at a time, in order."""
        if self.slots is None:
            yield from _maps_in(self.second)
            return
        others, begin, offset = MapRows(_maps_in(self.second)), 0, 0
        for part in _maps_in(self.first):
            end = int(np.searchsorted(self.kept, offset + len(part["maps"])))
            mine, again = self.kept[begin:end] - offset, self.again[begin:end]
            chosen = {key: _picked(values[mine], self.slots[begin:end]) for key, values in part.items()}
            if again.any():
                for key, values in others.take(int(again.sum())).items():
                    chosen[key][again] = values
            yield chosen
            begin, offset = end, offset + len(part["maps"])


def _picked(values: NDArray[Any], slots: NDArray[np.int64]) -> NDArray[Any]:
    """values: (B, M, ...). slots: (B, K) into M, -1 for zeros. Returns (B, K, ...)."""
    where = slots.reshape(*slots.shape, *[1] * (values.ndim - 2))
    return np.where(where >= 0, np.take_along_axis(values, np.maximum(where, 0), axis=1), 0)


def _maps_in(job: Job) -> Iterator[Arrays]:
    """Maps and peaks of a job's images, a unit at a time; a unit without a readable image has none."""
    return (part for unit in range(job.units) if (part := job.load(unit, *MAP_KEYS)))


def write_maps(writer: StoreWriter, parts: Iterable[Arrays], activations: NDArray[np.float32]) -> None:
    """Write the shards that are missing. parts: maps and peaks of all images of the store, in order."""
    found, todo = MapRows(parts), set(writer.missing())
    for shard in range(shard_count(writer.images, writer.shard_rows)):
        rows = writer.rows(shard)
        part = found.take(len(rows))
        if shard in todo:
            writer.write_shard(shard, part["maps"], part["peaks"], activations[rows.start : rows.stop])


def feature_rows(ranking: Ranking, class_names: tuple[str, ...]) -> list[Feature]:
    """The features of the classes, without answers."""
    rows = []
    for class_index, name in enumerate(class_names):
        for slot, feature in enumerate(ranking.features[class_index].tolist()):
            if feature < 0:
                continue
            importance = float(ranking.importance[class_index, slot])
            rows.append(Feature(class_index, name, feature, slot + 1, None if np.isnan(importance) else importance))
    return rows


def without_features(store: Store) -> str:
    """One line that names the classes whose images have no masks, and what to do; empty where every class has some."""
    have = {feature.class_index for feature in store.features}
    lost = [name for index, name in enumerate(display_names(store.class_names)) if index not in have]
    if not lost:
        return ""
    if "pairs_of" in store.manifest.network:
        why = f"{store.manifest.network['pairs_of']['store']}, whose pairs these are, has none of them"
    elif store.manifest.annotations_sha256 is not None:
        why = "no answer is about them"
    elif store.manifest.group_by == "prediction":
        why = "no image was predicted as one of them: build with --group-by label, or use a network that knows them"
    else:
        why = "their images were ranked, and nothing was found"
    return f"{len(lost)} of {len(store.class_names)} classes have no features, so no masks: {some(lost, 20)}; {why}"


def among(model: RobustModel, config: BuildConfig, predictions: NDArray[np.int64]) -> dict[str, Any]:
    """What a manifest keeps of predictions (N,) where the network knows more classes than the images; else nothing."""
    if model.class_map is None or not model.class_map.subset:
        return {}
    outside = int((predictions < 0).sum())
    return {"predictions": {"among": config.classes, "images": len(predictions), "outside": outside}}


def fewer_features(store: Store, asked: int) -> str:
    """One line about classes that have some features, but fewer than were asked for; empty where there are none, or
    where answers or another store's pairs say which there are."""
    if "pairs_of" in store.manifest.network or store.manifest.annotations_sha256 is not None:
        return ""
    few = [count for count in Counter(feature.class_index for feature in store.features).values() if count < asked]
    if not few:
        return ""
    whole = many(len(store.class_names), "class", "classes")
    return f"{len(few)} of {whole} have fewer than {asked} features, {min(few)} at least: there are no more"


def predicted_outside(store: Store) -> str:
    """One line about images that are predicted as what the store has not; empty where there are none, or none could
    be."""
    found = store.manifest.network.get("predictions", {})
    if not found.get("outside"):
        return ""
    ranks = "they rank no class" if store.manifest.group_by == "prediction" else "the ranking goes by labels"
    return (
        f"{found['outside']} of {found['images']} images are predicted as classes that the store has not, kept as -1; "
        f"{ranks}"
    )


def image_table(
    source: ImageSource,
    pooled: Pooled,
    kept: NDArray[np.int64],
    preprocessing: Preprocessing,
    in_top: NDArray[np.bool_],
) -> Any:
    """images.parquet of the kept images, as an Arrow table."""
    ids = ids_of(source).take(pa.array(pooled.indices[kept]))
    labels, predictions, sizes = pooled.labels[kept], pooled.predictions[kept], pooled.sizes[kept]
    return images_table(ids, labels, predictions, sizes, in_top[kept], preprocessing)


def quarantine_rows(source: ImageSource, pooled: Pooled) -> list[dict[str, Any]]:
    """Rows of quarantine.parquet: images that could not be decoded, then files passed over, which have no label."""
    passed = source.passed_over.items if isinstance(source, ListedSource) else ()
    return [
        *(
            {"image_id": source.entry(i).image_id, "label": source.entry(i).label, "reason": reason}
            for i, reason in pooled.failed
        ),
        *({"image_id": path, "label": None, "reason": f"passed over: {reason}"} for path, reason in passed),
    ]
