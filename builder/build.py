"""Build a store: features and predictions of every image, ranking, then the maps of the ranked features.

Both passes work shard by shard and write each shard under a temporary name first. A build that was stopped
goes on with the shards that are missing and gives the same bytes as one that was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salient_imagenet_data.annotations import Annotations
from salient_imagenet_data.builder.model import RobustModel, check_classes
from salient_imagenet_data.builder.ranking import GroupBy, Ranking, class_means, rank, top_images
from salient_imagenet_data.builder.stream import batches
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.images import ImageSource
from salient_imagenet_data.manifest import Manifest
from salient_imagenet_data.masks import quantise
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store import Store, shard_count, with_verdicts
from salient_imagenet_data.store_writer import SHARD_ROWS, StoreWriter, prepare_folder

WORK = "work"


@dataclass(frozen=True)
class BuildConfig:
    """Choices of a build; the defaults are the paper's.

    top_features: K, features a class. top_images: images of a pair that count as its top.
    majority: answers for a spurious feature that make it one.
    """

    group_by: GroupBy = "prediction"
    top_features: int = 5
    top_images: int = 65
    majority: int = 3
    split: str = "train"
    batch_size: int = 64
    shard_rows: int = SHARD_ROWS


@dataclass(frozen=True)
class Pooled:
    """Pass 1 of all readable images. indices: (N,) into the source. features: (N, F) float32.

    predictions: (N,). sizes: (N, 2) width and height. failed: (source index, reason) of the others.
    """

    indices: NDArray[np.int64]
    features: NDArray[np.float32]
    predictions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    failed: list[tuple[int, str]]


def build(
    source: ImageSource,
    model: RobustModel,
    out: str | Path,
    *,
    weights_sha256: str,
    annotations: Annotations | None = None,
    config: BuildConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
) -> Store:
    """Build a store at `out` and open it.

    With `annotations`, their pairs are the features of each class; otherwise the ranking gives them and
    the store is annotated later. Raises SalientError for input that does not fit.
    """
    config, folder = config or BuildConfig(), Path(out)
    check_classes(model, source.class_names, "images")
    if annotations is not None:
        _check_range(annotations, *model.weight.shape)
    fingerprint = _fingerprint(source, model, weights_sha256, annotations, config)
    prepare_folder(folder, resume=resume, overwrite=overwrite)
    work = folder / WORK
    if (folder / MANIFEST).is_file():
        shutil.rmtree(work, ignore_errors=True)
        return Store(folder)
    _claim(work, fingerprint)

    with torch.inference_mode():
        pooled = pool(source, model, work, config, device)
        labels = np.array([source.entry(int(i)).label for i in pooled.indices], dtype=np.int64)
        _check_classes_filled(source, labels)
        ranking = _ranking(pooled, labels, model, annotations, config)
        safe = np.maximum(ranking.features, 0)[labels]
        used = (ranking.features >= 0)[labels]
        activations = np.where(used, np.take_along_axis(pooled.features, safe, axis=1), 0.0).astype(np.float32)
        grid = _grid(model, device)
        writer = StoreWriter(
            folder,
            images=len(labels),
            features=ranking.features.shape[1],
            grid=(grid[1], grid[2]),
            shard_rows=config.shard_rows,
        )
        _write_maps(writer, source, model, pooled, ranking.features[labels], activations, config, device)

    in_top = top_images(activations, labels, config.top_images) & used
    manifest = Manifest(
        class_names=source.class_names,
        images=len(labels),
        features_per_class=ranking.features.shape[1],
        grid=(grid[1], grid[2]),
        shard_rows=config.shard_rows,
        split=config.split,
        preprocessing=model.preprocessing,
        group_by=config.group_by,
        top_images=config.top_images,
        weights_sha256=weights_sha256,
        architecture=model.architecture,
        feature_count=grid[0],
        quarantined=len(pooled.failed),
        annotations_sha256=annotations.sha256 if annotations else None,
        majority=config.majority,
        versions={name: version(name) for name in ("salient-imagenet-data", "torch", "torchvision", "pillow", "zarr")},
        files={},
    )
    features = _feature_rows(ranking, source.class_names)
    if annotations is not None:
        features = with_verdicts(features, annotations.verdicts(config.majority), source.class_names)
    quarantine = [
        {"image_id": source.entry(i).image_id, "label": source.entry(i).label, "reason": reason}
        for i, reason in pooled.failed
    ]
    writer.finish(manifest, _image_rows(source, pooled, labels, model, in_top), features, quarantine)
    shutil.rmtree(work)
    return Store(folder)


def pool(source: ImageSource, model: RobustModel, work: Path, config: BuildConfig, device: str) -> Pooled:
    """Pass 1: pooled features and predictions, one file a shard of the source; finished files are kept."""
    count = shard_count(len(source), config.shard_rows)
    with progress((), total=len(source), what="features") as bar:
        for shard in range(count):
            path = work / f"features-{shard:05d}.npz"
            rows = range(shard * config.shard_rows, min((shard + 1) * config.shard_rows, len(source)))
            if not path.is_file():
                _pool_shard(source, model, rows, path, config.batch_size, device, bar.update)
            else:
                bar.update(len(rows))
    parts = [dict(np.load(work / f"features-{s:05d}.npz")) for s in range(count)]
    joined = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
    failed = list(zip(joined["failed"].tolist(), map(str, joined["reasons"]), strict=True))
    return Pooled(joined["indices"], joined["features"], joined["predictions"], joined["sizes"].reshape(-1, 2), failed)


def _pool_shard(
    source: ImageSource,
    model: RobustModel,
    rows: range,
    path: Path,
    batch_size: int,
    device: str,
    tick: Callable[[int], object],
) -> None:
    failed: list[tuple[int, ImageError]] = []
    indices: list[int] = []
    sizes: list[tuple[int, int]] = []
    features: list[NDArray[np.float32]] = []
    predictions: list[NDArray[np.int64]] = []
    for batch in batches(source, rows, model.preprocessing, batch_size, failed):
        pooled = model.maps(batch.images.to(device)).mean(dim=(2, 3))
        predictions.append(model.logits(pooled).argmax(dim=1).cpu().numpy())
        features.append(pooled.float().cpu().numpy())
        indices += batch.indices
        sizes += batch.sizes
        tick(len(batch.indices))
    partial = path.with_name(path.name + ".partial")
    width = model.weight.shape[1]
    with partial.open("wb") as file:
        np.savez(
            file,
            indices=np.array(indices, dtype=np.int64),
            sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
            features=np.concatenate([np.zeros((0, width), dtype=np.float32), *features]),
            predictions=np.concatenate([np.zeros(0, dtype=np.int64), *predictions]),
            failed=np.array([i for i, _ in failed], dtype=np.int64),
            reasons=np.array([str(e) for _, e in failed], dtype=np.str_),
        )
    partial.replace(path)


def _write_maps(
    writer: StoreWriter,
    source: ImageSource,
    model: RobustModel,
    pooled: Pooled,
    wanted: NDArray[np.int64],
    activations: NDArray[np.float32],
    config: BuildConfig,
    device: str,
) -> None:
    """Pass 2: the maps of the wanted features, (N, K) with -1 for none, of every image."""
    with progress((), total=writer.images, what="maps") as bar:
        done = set(range(shard_count(writer.images, writer.shard_rows))) - set(writer.missing())
        bar.update(sum(len(writer.rows(s)) for s in done))
        for shard in writer.missing():
            rows = writer.rows(shard)
            failed: list[tuple[int, ImageError]] = []
            maps: list[NDArray[np.uint8]] = []
            peaks: list[NDArray[np.float32]] = []
            start = rows.start
            indices = pooled.indices[rows.start : rows.stop].tolist()
            for batch in batches(source, indices, model.preprocessing, config.batch_size, failed):
                stop = start + len(batch.indices)
                channels = torch.from_numpy(wanted[start:stop]).to(device)
                every = model.maps(batch.images.to(device)).float()
                kept = every[torch.arange(len(channels), device=device)[:, None], channels.clamp_min(0)]
                kept = kept * (channels >= 0)[:, :, None, None]
                small, peak = quantise(kept.cpu().numpy())
                maps.append(small)
                peaks.append(peak)
                start = stop
                bar.update(len(batch.indices))
            if failed:
                raise SalientError(
                    f"{source.entry(failed[0][0]).image_id}: readable in the first pass but not in the second",
                    got=str(failed[0][1]),
                    then="keep the images unchanged during a build, then run it again with --overwrite",
                )
            writer.write_shard(shard, np.concatenate(maps), np.concatenate(peaks), activations[rows.start : rows.stop])


def _ranking(
    pooled: Pooled, labels: NDArray[np.int64], model: RobustModel, annotations: Annotations | None, config: BuildConfig
) -> Ranking:
    """The ranking of the images, or the annotations' pairs with their importance on these images."""
    groups = pooled.predictions if config.group_by == "prediction" else labels
    weight = model.weight.detach().cpu().numpy()
    means = class_means(pooled.features, groups, weight.shape[0])
    if annotations is None:
        return rank(means, weight, config.top_features)
    verdicts = annotations.verdicts(config.majority)
    features = np.full((weight.shape[0], max(v.feature_rank for v in verdicts)), -1, dtype=np.int64)
    for v in verdicts:
        features[v.class_index, v.feature_rank - 1] = v.feature_index
    importance = np.take_along_axis(means * weight, np.maximum(features, 0), axis=1)
    return Ranking(features, np.where(features >= 0, importance, np.nan))


def _feature_rows(ranking: Ranking, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for class_index, name in enumerate(class_names):
        for slot, feature in enumerate(ranking.features[class_index].tolist()):
            if feature < 0:
                continue
            importance = float(ranking.importance[class_index, slot])
            rows.append(
                {
                    "class_index": class_index,
                    "class_name": name,
                    "feature_index": feature,
                    "rank": slot + 1,
                    "importance": None if np.isnan(importance) else importance,
                }
            )
    return rows


def _image_rows(
    source: ImageSource, pooled: Pooled, labels: NDArray[np.int64], model: RobustModel, in_top: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    rows = []
    for row, index in enumerate(pooled.indices.tolist()):
        width, height = pooled.sizes[row].tolist()
        box = model.preprocessing.crop_box(width, height)
        rows.append(
            {
                "image_id": source.entry(index).image_id,
                "label": int(labels[row]),
                "prediction": int(pooled.predictions[row]),
                "width": width,
                "height": height,
                "crop_left": box.left,
                "crop_top": box.top,
                "crop_width": box.width,
                "crop_height": box.height,
                "in_top": in_top[row].tolist(),
            }
        )
    return rows


def _grid(model: RobustModel, device: str) -> tuple[int, int, int]:
    """(F, h, w) of the model's maps at its crop size."""
    crop = model.preprocessing.crop
    _, features, height, width = model.maps(torch.zeros(1, 3, crop, crop, device=device)).shape
    return features, height, width


def _check_range(annotations: Annotations, classes: int, features: int) -> None:
    for row, answer in enumerate(annotations.answers, start=1):
        if answer.feature_index >= features or answer.class_index >= classes:
            raise SalientError(
                f"annotations, row {row}: class {answer.class_index}, feature {answer.feature_index} not in this model",
                expected=f"class below {classes}, feature below {features}",
                then="were they made for another model?",
            )


def _check_classes_filled(source: ImageSource, labels: NDArray[np.int64]) -> None:
    given = np.bincount([source.entry(i).label for i in range(len(source))], minlength=len(source.class_names))
    read = np.bincount(labels, minlength=len(source.class_names))
    for name, total, good in zip(source.class_names, given, read, strict=True):
        if not good:
            raise SalientError(
                f"class {name!r}: no readable image",
                expected="at least one image that decodes",
                got=f"{total} files, all broken",
                then="mend or remove the folder",
            )


def _fingerprint(
    source: ImageSource, model: RobustModel, weights: str, annotations: Annotations | None, config: BuildConfig
) -> str:
    ids = hashlib.sha256()
    for index in range(len(source)):
        entry = source.entry(index)
        ids.update(f"{entry.image_id}\0{entry.label}\n".encode())
    fields = {
        "images": ids.hexdigest(),
        "weights": weights,
        "preprocessing": dataclasses.asdict(model.preprocessing),
        "annotations": annotations.sha256 if annotations else None,
        "config": dataclasses.asdict(config),
    }
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def _claim(work: Path, fingerprint: str) -> None:
    """Note what this build is made of, or check that a stopped one was made of the same."""
    work.mkdir(exist_ok=True)
    path = work / "build.json"
    if path.is_file():
        if path.read_text() != fingerprint:
            raise SalientError(
                f"{work.parent}: stopped build of other input",
                expected="the same images, weights, annotations and options",
                then="use --overwrite to start again",
            )
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_text(fingerprint)
    partial.replace(path)
