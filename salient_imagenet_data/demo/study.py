"""The ground of a study on the embedded scenes: classifiers that lean on a cue, masks by the robust network, and the
truth, which only judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.demo.annotator import answer_all
from salient_imagenet_data.demo.run import write_scenes
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.scenes.render import SIZE
from salient_imagenet_data.store.reading import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from salient_imagenet_data.evaluation.study.ground import Ground, Part
    from salient_imagenet_data.networks.classifiers import Classifier

    Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]

FRAME = Preprocessing(SIZE, SIZE)
TRAIN_SEED, TEST_SEED = 1, 2022
"""Of the scenes that classifiers have seen; of those that they are measured on, and, one and more beyond, judged on."""


@dataclass(frozen=True)
class Counts:
    """Scenes. trained_on: the first training; tuned_on: what methods train on, scenes of that training; tested_on: what
    measures look at; judged_on: each kind of those that the truth is of. correlation: how often the cue goes with its
    class; epochs: of the first training."""

    trained_on: int = 5000
    tuned_on: int = 2000
    tested_on: int = 400
    judged_on: int = 1500
    correlation: float = 0.9
    epochs: int = 3


QUICK = Counts(trained_on=5000, tuned_on=1200, tested_on=200, judged_on=1000)
"""Fewer of all but those of the first training, so that networks lean on the cue as they do else."""


@dataclass(frozen=True)
class ScenesOpening:
    """Opens the ground in a folder, where it makes what is not there yet: two stores, and a classifier a seed."""

    folder: Path
    seeds: int
    counts: Counts = Counts()

    @property
    def about(self) -> Mapping[str, Any]:
        """The numbers of scenes."""
        return {"scenes": asdict(self.counts)}

    def __call__(self) -> Ground:
        from salient_imagenet_data.evaluation.study.ground import Ground, Start

        c = self.counts
        training = self._part("training", SceneSource(c.tuned_on, seed=TRAIN_SEED, correlation=c.correlation))
        testing = self._part("testing", SceneSource(c.tested_on, seed=TEST_SEED, correlation=c.correlation))
        starts = tuple(Start(f"seed {seed}", seed, partial(self.start, seed)) for seed in range(self.seeds))
        return Ground(training, testing, starts, Truth(c), self.about)

    def _part(self, name: str, scenes: SceneSource) -> Part:
        from salient_imagenet_data.evaluation.study.ground import Part

        store, source = scenes_store(self.folder / name, scenes)
        return Part(store, source)

    def start(self, seed: int) -> Classifier:
        """A classifier that leans on the cue, trained where it is not there."""
        from salient_imagenet_data.builder.train import TrainConfig, load_images, train
        from salient_imagenet_data.networks.classifiers import Classifier
        from salient_imagenet_data.networks.robust import load_model
        from salient_imagenet_data.networks.smallnet import save_smallnet

        path = self.folder / f"start-{seed}.safetensors"
        if not path.exists():
            c = self.counts
            config = TrainConfig(
                epsilon=0.0, epochs=c.epochs, widths=(16, 32, 64), blocks=1, stem_stride=2, shift=0, seed=seed
            )
            scenes = SceneSource(c.trained_on, seed=TRAIN_SEED, correlation=c.correlation)
            pixels, labels, _ = load_images(scenes, FRAME, config.memory_limit)
            save_smallnet(train(pixels, labels, scenes.class_names, FRAME, config), path)
        model, sha256 = load_model(path)
        return Classifier(f"seed {seed}", model, None, {"weights_sha256": sha256})


@dataclass(frozen=True)
class Truth:
    """What no user has: scenes in which the cue says nothing about the class. No method is trained on them, and no
    measure sees them."""

    counts: Counts

    @cached_property
    def pictures(self) -> dict[str, Pictures]:
        """By what they tell."""
        from salient_imagenet_data.builder.train import load_images
        from salient_imagenet_data.evaluation.study.measures import AGAIN, WITH, WITHOUT

        kinds = {WITHOUT: (1, 0.0), AGAIN: (3, 0.0), WITH: (2, self.counts.correlation)}
        found = {}
        for name, (number, correlation) in kinds.items():
            scenes = SceneSource(self.counts.judged_on, seed=TEST_SEED + number, correlation=correlation)
            pixels, labels, _ = load_images(scenes, FRAME, 1 << 30)
            found[name] = pixels, labels
        return found

    def __call__(self, network: nn.Module) -> dict[str, float]:
        from salient_imagenet_data.builder.attacking import correct

        return {name: float(correct(network, *each).mean()) for name, each in self.pictures.items()}


def scenes_store(work: Path, scenes: SceneSource) -> tuple[Store, FolderSource]:
    """A store of scenes in a folder, from there if it is there: masks by the embedded robust network, answers from the
    truth."""
    from salient_imagenet_data.builder.build import build
    from salient_imagenet_data.builder.config import BuildConfig
    from salient_imagenet_data.networks.robust import load_model

    if not (work / "done").exists():
        truth = write_scenes(scenes, work / "images")
        with as_file(files("salient_imagenet_data.scenes") / "robust.safetensors") as weights:
            robust, sha256 = load_model(weights)
            images, config = FolderSource(work / "images"), BuildConfig(attacked=0)
            store = build(images, robust, work / "store", weights_sha256=sha256, config=config, overwrite=True)
        write_annotations(work / "answers.csv", answer_all(store, truth.__getitem__))
        annotate(work / "store", read_annotations(work / "answers.csv"))
        (work / "done").touch()
    return Store(work / "store"), FolderSource(work / "images")
