"""Real small data: scenes as PNG files, a small untrained network, a store built from them.

torch is imported inside functions: the process that shares out the tests among workers imports this file too, before any of
them starts, and needs none of it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.cli import main
from salient_imagenet_data.demo.run import write_scenes
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.scenes import CLASSES, SceneSource
from salient_imagenet_data.store.reading import Store
from tests.reports import browser as browser
from tests.reports import report as report
from tests.warm import Warm

gc.disable()  # until all modules are imported: to search the growing heap for garbage takes a third of that time
CONFIG = BuildConfig(group_by="label", top_features=4, top_images=2, shard_rows=16, batch_size=5, attacked=4)


def pytest_collection_finish() -> None:
    """What was imported stays: it is set aside, where no search for garbage looks through it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 scenes, 4 a class, as a class-per-folder tree."""
    folder = tmp_path_factory.mktemp("images")
    write_scenes(SceneSource(40, seed=5), folder)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights; it sees 56 of 60 pixels, so that the crop matters."""
    import torch

    from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel, save_smallnet

    torch.manual_seed(3)
    net = SmallNet(SmallNetConfig(len(CLASSES), (8, 8, 12), 1, 2))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_smallnet(SmallNetModel(net, Preprocessing(60, 56), tuple(c.name for c in CLASSES)), path)
    return path


def make_store(images: Path, weights: Path, out: Path, annotations: Annotations | None = None) -> Store:
    """Build with the tests' configuration."""
    from salient_imagenet_data.builder.build import build
    from salient_imagenet_data.networks.robust import load_model

    model, sha256 = load_model(weights)
    return build(
        FolderSource(images), model, out, weights_sha256=sha256, config=CONFIG, annotations=annotations, overwrite=True
    )


def answers_for(store: Store) -> list[Answer]:
    """Answers that make rank 1 core, rank 2 spurious background, rank 3 core and rank 4 a separate object; class 0 gets no
    spurious feature and class 1 no core one."""
    answers = []
    for row in store.features:
        word = {1: "main_object", 2: "background", 3: "main_object", 4: "separate_object"}[row.rank]
        word = {0: "main_object", 1: "background"}.get(row.class_index, word)
        answers += [
            Answer(
                f"p{person}",
                row.class_name,
                row.class_index,
                row.feature_index,
                row.rank,
                word,
                4,
                "because, of this",
            )
            for person in range(5)
        ]
    return answers


@pytest.fixture(scope="session")
def bare_store(images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store without annotations."""
    return make_store(images, weights, tmp_path_factory.mktemp("bare") / "store")


@pytest.fixture(scope="session")
def answers_file(bare_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers") / "answers.csv"
    write_annotations(path, answers_for(bare_store))
    return path


@pytest.fixture(scope="session")
def store(images: Path, weights: Path, answers_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An annotated store. Session-wide: do not change it."""
    folder = tmp_path_factory.mktemp("annotated") / "store"
    make_store(images, weights, folder)
    return annotate(folder, read_annotations(answers_file))


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """For commands that need torch, or a store, in a process of their own."""
    from tests.kill_commands import LOADED

    process = Warm(
        *("torch", "torchvision", "datasets", "salient_imagenet_data.cli", "salient_imagenet_data.builder.build"),
        *("salient_imagenet_data.evaluation.evaluate", "salient_imagenet_data.networks.robust"),
        *("tests.kill_commands", *LOADED),
    )
    yield process
    process.close()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["salient-imagenet", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call
