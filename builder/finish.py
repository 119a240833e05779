"""From the files of the units to a store: what pass 1 found, the tables, and the shards of the maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.discovery.ranking import GroupSums, Ranking, class_means
from salient_imagenet_data.builder.units.unit import Job
from salient_imagenet_data.errors import some
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import ImageSource, ListedSource, ids_of, labels_of
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.tables import images_table
from salient_imagenet_data.store.writing import StoreWriter


@dataclass(frozen=True)
class Pooled:
    """Pass 1 of the N readable images, without their features, which stay on disk.

    indices: (N,) into the source. labels, predictions: (N,), the latter -1 for a class that the images have not. sizes:
    (N, 2) width and height. failed: (source index, reason) of the others.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int32]
    predictions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    failed: list[tuple[int, str]]

    def activations(self, job: Job, features: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, K) pooled features of each image's class, read unit by unit; 0 where `features` (C, K) is -1."""
        if job.pairs is not None:
            parts = [job.load(unit, "activations") for unit in range(job.units)]
            return np.concatenate([part["activations"] for part in parts if part])
        result = np.zeros((len(self.indices), features.shape[1]), dtype=np.float32)
        start = 0
        for unit in range(job.units):
            part = job.load(unit, "features")["features"]
            wanted = features[self.labels[start : start + len(part)]]
            values = np.take_along_axis(part, np.maximum(wanted, 0), axis=1)
            result[start : start + len(part)] = np.where(wanted >= 0, values, 0.0)
            start += len(part)
        return result


def load_pooled(job: Job) -> tuple[Pooled, NDArray[np.float64]]:
    """What pass 1 found, and the mean features of each group, (C, F), NaN for a group without an image."""
    keys = ("indices", "predictions", "sizes", "failed", "reasons")
    parts: list[list[NDArray[Any]]] = []

    def sums() -> Iterator[GroupSums]:
        for unit in range(job.units):
            part = job.load(unit, *keys, "groups", "counts", "sums")
            parts.append([part[key] for key in keys])
            yield GroupSums(part["groups"], part["counts"], part["sums"])

    means = class_means(sums(), *job.model.weight.shape)
    indices, predictions, sizes, failed, reasons = (np.concatenate(column) for column in zip(*parts, strict=True))
    labels = labels_of(job.source)[indices]
    return Pooled(
        indices, labels, predictions, sizes, list(zip(failed.tolist(), map(str, reasons), strict=True))
    ), means


def grid_of(job: Job) -> tuple[int, int]:
    """(h, w) of the maps that a job made."""
    part = next(part for unit in range(job.units) if (part := job.load(unit, "maps")))
    height, width = part["maps"].shape[2:]
    return height, width


def write_maps(writer: StoreWriter, job: Job, kept: NDArray[np.int64], activations: NDArray[np.float32]) -> None:
    """Copy maps and peaks from the units to the shards. kept: positions among the units' images, ascending."""
    buffer: dict[str, list[NDArray[Any]]] = {"maps": [], "peaks": []}
    held, shard, offset = 0, 0, 0
    todo = set(writer.missing())
    for unit in range(job.units):
        part = job.load(unit, *buffer)
        if not part:
            continue
        mine = kept[np.searchsorted(kept, offset) : np.searchsorted(kept, offset + len(part["maps"]))] - offset
        offset += len(part["maps"])
        for key, values in buffer.items():
            values.append(part[key][mine])
        held += len(mine)
        while shard * writer.shard_rows < writer.images and held >= len(writer.rows(shard)):
            rows = writer.rows(shard)
            whole = {key: np.concatenate(values) for key, values in buffer.items()}
            if shard in todo:
                writer.write_shard(
                    shard, whole["maps"][: len(rows)], whole["peaks"][: len(rows)], activations[rows.start : rows.stop]
                )
            buffer = {key: [values[len(rows) :]] for key, values in whole.items()}
            held -= len(rows)
            shard += 1


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
