"""Relevance where the truth is known: what clusters find in the scenes, and what agreement says of maps.

    python benchmarks/scenes_relevance.py --demo demo

takes what `salient-imagenet demo` left, measures each class on at most 60 of its scenes, and prints three tables.

Clusters: of the scenes of a class with a cue, those that do not show it are about one in twenty; for each way of
clustering, the cluster in which they are most frequent, how many of them it has, and the chance of its gap.

A mark: a classifier is trained on scenes without any link between cue and class, of which every disk shows a small
patch in the lower right corner, and no other scene does. Of other scenes every second one of each class shows it: how
many disks and others are called disks with and without it, and how the clusters of the disks divide them.

Agreement: for each feature, how well its activation map, its relevance, and what its relevance has beyond that of the
class's other features tell the cells of the object or the cue from the others (AUROC, mean over scenes), beside their
agreement; and over features the rank correlation of agreement with the activation map's AUROC.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from salient_imagenet_data.builder.attacking import correct
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.train import TrainConfig, load_images, train
from salient_imagenet_data.evaluation.numbers.overlap import auroc
from salient_imagenet_data.evaluation.numbers.ranks import spearman
from salient_imagenet_data.evaluation.relevance.choices import BYS
from salient_imagenet_data.evaluation.relevance.records import Asked, OfClass
from salient_imagenet_data.evaluation.relevance.relevance import relevance
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.loaders.augment.cues import OPACITY, SHARE, planted
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.opening import open_networks
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.networks.smallnet import save_smallnet
from salient_imagenet_data.scenes import CLASSES, SceneSource
from salient_imagenet_data.scenes.render import Scene
from salient_imagenet_data.store.reading import Store

PER_CLASS, MARKED = 60, 2000
FRAME = Preprocessing(64, 64)
DISK = next(index for index, c in enumerate(CLASSES) if c.name == "disk")
GOOD = 0.85
"""AUROC from which a map is said to lie where it should."""


def scene_of(scenes: SceneSource) -> Callable[[str], Scene]:
    """The scene of an image id, which ends in its number."""
    return lambda image_id: scenes.scene(int(image_id.rpartition("-")[2]))


def clusters(one: OfClass, shown: NDArray[np.bool_]) -> str:
    """The cluster with the largest share of images that do not show the cue, and the units that it lacks, with what the
    store calls them."""
    shares = [float((~shown[list(c.items)]).mean()) for c in one.clusters]
    best = one.clusters[int(np.argmax(shares))]
    without = ~shown[list(best.items)]
    assert one.clustering is not None
    words = f"{int(without.sum())} of {len(best.items)}, all are {int((~shown).sum())} of {len(shown)}"
    kinds = {unit: f.kind or "" for unit, f in one.features.items()}
    lacks = ", ".join(f"{n.unit} {kinds.get(n.unit, '')}".strip() for n in best.lacking)
    return f"{words} (p {one.clustering.chance:.2f}); lacks {lacks or 'none'}"


def cells(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """(H, W) -> (side, side): cells that are more than half in the mask."""
    size = len(mask) // side
    result: NDArray[np.bool_] = mask.reshape(side, size, side, size).mean(axis=(1, 3)) > 0.5
    return result


def lies(maps: NDArray[np.floating], scenes: list[Scene], kind: str | None, cue: str | None) -> float:
    """Mean AUROC of maps (N, h, w) against the object, or the class's cue where it is shown."""
    found = []
    for one, scene in zip(maps, scenes, strict=True):
        truth = cells(scene.spurious if kind == SPURIOUS else scene.core, len(one))
        if (kind != SPURIOUS or scene.cue == cue) and truth.any() and not truth.all():
            found.append(auroc(one.astype(np.float64), truth))
    return float(np.mean(found)) if found else float("nan")


def marked(seed: int, disks: bool) -> tuple[MemorySource, NDArray[np.bool_]]:
    """Scenes without a link between cue and class, and which have the mark: all disks, or every second of each
    class."""
    scenes = SceneSource(MARKED, seed=seed, correlation=0.0)
    labels = np.array([scenes.entry(index).label for index in range(len(scenes))])
    there = labels == DISK if disks else np.arange(len(scenes)) // len(CLASSES) % 2 == 0
    pixels = np.stack([scenes.pixels(index) for index in range(len(scenes))])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    cues = np.where(there, DISK, -1).tolist()
    images, _ = planted(images, cues, "patch", [(1.0, 1.0)] * len(scenes), SHARE["patch"], OPACITY["patch"])
    made = list(images.permute(0, 2, 3, 1).contiguous().numpy())
    return MemorySource(made, labels.tolist(), scenes.class_names), there


def mark(work: Path) -> None:
    """Train on marked scenes, and print what the clusters of the disks are."""
    source, _ = marked(11, disks=True)
    config = TrainConfig(epsilon=0.0, epochs=6, widths=(24, 48, 96), stem_stride=2, shift=0, flip=False)
    pixels, labels, _ = load_images(source, FRAME, config.memory_limit)
    model = train(pixels, labels, source.class_names, FRAME, config)
    save_smallnet(model, work / "marked.safetensors")
    robust, sha256 = load_model(work / "marked.safetensors")
    everywhere, shown = marked(12, disks=False)
    store = build(
        everywhere, robust, work / "store", weights_sha256=sha256, config=BuildConfig(group_by="label", attacked=0)
    )
    tested, truth, _ = load_images(everywhere, FRAME, config.memory_limit)
    disks = correct(model, tested, np.full(len(truth), DISK, dtype=np.int64))
    for words, which in (("with the mark", shown), ("without it", ~shown)):
        own, other = disks[which & (truth == DISK)].mean(), disks[which & (truth != DISK)].mean()
        print(f"called disks, {words}: {own:.3f} of the disks, {other:.3f} of the other scenes")
    (opener,) = open_networks(store, weights=[str(work / "marked.safetensors")]).values()
    for by in BYS:
        asked = Asked(by=by, per_class=PER_CLASS)
        (one,) = relevance(opener(), store, everywhere, [CLASSES[DISK].name], asked, Settings(32)).classes
        print(f"by {by}: {one.sorts}")
        for number, cluster in enumerate(one.clusters, start=1):
            has = shown[np.array(one.rows)[list(cluster.items)]]
            look = ", ".join(f"unit {n.unit} ({n.inside:.2f} here, {n.outside:.2f})" for n in cluster.nominated)
            print(f"  cluster {number}: {int(has.sum())} of {len(has)} have the mark; look at {look or 'none'}")


@click.command()
@click.option("--demo", type=click.Path(path_type=Path), required=True)
def main(demo: Path) -> None:
    torch.set_num_threads(1)
    store = Store(demo / "store")
    scene = scene_of(SceneSource(len(store), seed=2022))
    (opener,) = open_networks(store, weights=[str(demo / "robust.safetensors")]).values()
    found = {
        by: relevance(opener(), store, demo / "images", (), Asked(by=by, per_class=PER_CLASS), Settings(32)).classes
        for by in BYS
    }
    print("| class | cue | without it, in the cluster with most, by place | by units |\n| --- | --- | --- | --- |")
    for by_maps, by_units in zip(found["maps"], found["units"], strict=True):
        cue = CLASSES[by_maps.label].cue
        if cue is not None:
            shown = np.array([scene(image_id).cue == cue for image_id in by_maps.image_ids])
            print(f"| {by_maps.name} | {cue} | {clusters(by_maps, shown)} | {clusters(by_units, shown)} |")
    print()
    with tempfile.TemporaryDirectory() as work:
        mark(Path(work))
    print("\n| class | rank | kind | activation map | relevance | beyond the others' | agreement | others' | flag |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for one in found["maps"]:
        scenes = [scene(image_id) for image_id in one.image_ids]
        own = one.measured.own / np.maximum(one.measured.own.sum(axis=(2, 3), keepdims=True), 1e-12)
        maps = store.maps[np.array(one.rows)]
        for place, f in enumerate(one.ranked):
            beyond = own[:, place] - np.delete(own, place, axis=1).mean(axis=1)
            where = [lies(m, scenes, f.kind, CLASSES[one.label].cue) for m in (maps[:, f.slot], own[:, place], beyond)]
            a = one.agreements[f.slot]
            rows.append((*where, a.correlation.value, a.iou.value, float(a.low)))
            numbers = " | ".join(f"{v:.2f}" for v in (*where, a.correlation.value, a.other_correlation.value))
            kind = f"{f.kind}, {f.cue.replace('_', ' ')}" if f.cue else f.kind
            print(f"| {one.name} | {f.rank} | {kind} | {numbers} | {'low' if a.low else ''} |")
    table = np.array(rows)
    off, low = table[:, 0] < GOOD, table[:, 5] > 0
    print(
        f"\n{len(table)} features; activation maps below {GOOD}: {off.sum()}, of which flagged {int((off & low).sum())}"
    )
    print(f"flagged: {int(low.sum())}, of which relevance lies off: {int((low & (table[:, 1] < GOOD)).sum())}")
    print(f"means: activation maps {table[:, 0].mean():.3f}, relevance {table[:, 1].mean():.3f}")
    print(f"rank correlation of agreement with the activation map's AUROC: {spearman(table[:, 3], table[:, 0]):.2f}")
    print(f"and of IoU with it: {spearman(table[:, 4], table[:, 0]):.2f}")


if __name__ == "__main__":
    main()
