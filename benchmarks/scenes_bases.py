"""Neurons or components, where the truth is known: what either finds in the scenes, and what SpuFix does with it.

    python benchmarks/scenes_bases.py --work /tmp/bases

builds two stores of the demo's scenes with its robust network, one of neurons and one of components, lets the truth
answer about both, and prints what was found and how well the masks cover what is there. Then it takes off the logits
of the demo's two classifiers what either store calls spurious, and measures them on scenes of another seed: with the
cue in 90 % of its class's, without any such link, and by the spurious score, for which the images of a class's cue are
scenes of other classes that show it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import click
import torch

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.builder.attacking import correct
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.train import load_images
from salient_imagenet_data.demo.annotator import answer_all
from salient_imagenet_data.demo.run import NETWORKS, SCENES, SEED
from salient_imagenet_data.demo.truth import find_cues, score_masks
from salient_imagenet_data.evaluation.mitigation.spufix import spufix
from salient_imagenet_data.evaluation.spurious_score import spurious_score
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.scenes import CLASSES, SceneSource
from salient_imagenet_data.scenes.render import Scene
from salient_imagenet_data.store.reading import Store

OTHERS = 1000
"""Scenes of another seed, of either kind."""
BASES = ("neurons", "pca")


def store_of(work: Path, scenes: SceneSource, basis: str) -> Store:
    """A store of the scenes, annotated by the truth."""
    with as_file(files("salient_imagenet_data.scenes") / "robust.safetensors") as weights:
        model, sha256 = load_model(weights)
    config = BuildConfig(attacked=0)
    build(scenes, model, work / basis, weights_sha256=sha256, config=config, basis=basis, overwrite=True)
    write_annotations(work / f"{basis}.csv", answer_all(Store(work / basis), scene_of(scenes)))
    return annotate(work / basis, read_annotations(work / f"{basis}.csv"))


def scene_of(scenes: SceneSource) -> Callable[[str], Scene]:
    """The scene of an image id."""
    places = {scenes.entry(index).image_id: index for index in range(len(scenes))}
    return lambda image_id: scenes.scene(places[image_id])


def cues_alone(scenes: SceneSource) -> MemorySource:
    """Scenes that show the cue of another class, as images of that class's spurious feature."""
    images, labels = [], []
    names = [c.name for c in CLASSES if c.cue is not None]
    of_cue = {c.cue: names.index(c.name) for c in CLASSES if c.cue is not None}
    for index in range(len(scenes)):
        scene = scenes.scene(index)
        if scene.cue is not None and CLASSES[scene.label].cue != scene.cue:
            images.append(scene.pixels)
            labels.append(of_cue[scene.cue])
    return MemorySource(images, labels, names)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
def main(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    scenes = SceneSource(SCENES, seed=SEED, correlation=0.9)
    stores = {basis: store_of(work, scenes, basis) for basis in BASES}
    print("| features | cues found | false alarms | spurious | core masks: AUROC, IoU | background | separate object |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for basis, store in stores.items():
        cues, alarms = find_cues(store.features)
        spurious = sum(f.kind == "spurious" for f in store.features)
        masks = score_masks(store, scene_of(scenes))
        cells = [f"{m.whole.auroc:.3f}, {m.whole.iou:.3f}" if m.whole.n else "none" for m in masks.values()]
        found = f"{sum(c.found for c in cues)} of {len(cues)}"
        print(f"| {basis} | {found} | {len(alarms)} | {spurious} | {' | '.join(cells)} |")

    seen, apart = (SceneSource(OTHERS, seed=SEED + 1, correlation=c) for c in (0.9, 0.0))
    alone = cues_alone(apart)
    print("\n| classifier | with the cue | without | AUROC | average precision | cue alone called the class |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in NETWORKS:
        for basis in (None, *BASES):
            with as_file(files("salient_imagenet_data.scenes") / f"{name}.safetensors") as weights:
                model = load_model(weights)[0]
            classifier = Classifier(name, model, model.preprocessing)
            if basis is not None:
                spufix(classifier, stores[basis], scenes)
            score = spurious_score(classifier, seen, alone)
            right = []
            for source in (seen, apart):
                pixels, labels, _ = load_images(source, model.preprocessing, 1 << 30)
                right.append(f"{correct(model, pixels, labels).mean():.3f}")
            called = sum(c.called_spurious * c.spurious for c in score.classes) / sum(c.spurious for c in score.classes)
            what = name if basis is None else f"{name}, SpuFix by {basis}"
            figures = f"{score.auroc.words} | {score.average_precision.words} | {called:.3f}"
            print(f"| {what} | {' | '.join(right)} | {figures} |")


if __name__ == "__main__":
    main()
