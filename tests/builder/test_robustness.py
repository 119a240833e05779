"""A build says how robust its network is: measured, recorded, told, and the same after a stop."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.builder.attacking import attack
from salient_imagenet_data.builder.build import build, build_until
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.train import TrainConfig, train
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.networks.smallnet import save_smallnet
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

NAMES = ("even", "odd")
CONFIG = BuildConfig(group_by="label", top_features=2, top_images=2, shard_rows=8)
RADIUS = 16 / 224
"""Of the attack on crops of 16."""


def checkers(folder: Path, low: int, high: int) -> Path:
    """24 images of two classes, a chequered pattern of two grays and its opposite, some pixels the other way."""
    for label, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            even = np.indices((16, 16)).sum(axis=0) % 2 == label
            even ^= np.random.default_rng([label, number]).random((16, 16)) < 0.05
            gray = np.where(even, low, high).astype(np.uint8)
            Image.fromarray(np.repeat(gray[:, :, None], 3, axis=2)).save(folder / name / f"{number}.png")
    return folder


def trained(images: Path, out: Path) -> Path:
    source = FolderSource(images)
    crops = np.stack([source.pixels(i) for i in range(len(source))])
    labels = np.array([source.entry(i).label for i in range(len(source))])
    config = TrainConfig(epsilon=0, epochs=20, batch_size=8, widths=(8, 8), learning_rate=0.05, shift=0, flip=False)
    save_smallnet(train(crops, labels, NAMES, Preprocessing(16, 16), config), out)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images and a network that reads a pattern of one step of gray, which the attack can turn: it is half the radius
    away from no pattern."""
    folder = tmp_path_factory.mktemp("fragile")
    return checkers(folder / "images", 127, 128), trained(folder / "images", folder / "w.safetensors")


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Black and white."""
    folder = tmp_path_factory.mktemp("firm")
    return checkers(folder / "images", 0, 255), trained(folder / "images", folder / "w.safetensors")


def recorded(place: Path) -> dict[str, float]:
    return Store(place).manifest.robustness


def test_a_network_that_is_not_robust_is_told_and_recorded(
    fragile: tuple[Path, Path], tmp_path: Path, run: Run
) -> None:
    images, weights = fragile
    out = tmp_path / "store"
    code, _, err = run("build", "--images", images, "--weights", weights, "--group-by", "label", "--out", out)
    assert code == 0
    (line,) = [line for line in err.splitlines() if line.startswith("warning")]
    assert line == (
        "warning: the network is not robust: right on 100% of 24 images and on 0% after an l2 attack of radius 0.071, "
        "less than 50% of that; people can hardly name what its features show"
    )
    assert recorded(out) == {
        "images": 24,
        "accuracy": 1.0,
        "attacked_accuracy": 0.0,
        "l2_radius": pytest.approx(RADIUS),
        "steps": 10,
    }
    code, printed, _ = run("info", out)
    assert code == 0 and "robustness" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("robustness")]
    assert {"images 24", "accuracy 1.0", "attacked_accuracy 0.0", "steps 10"} <= set(line.split(None, 1)[1].split(", "))


def test_a_robust_network_is_not_warned_of(firm: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    images, weights = firm
    words = ("--images", images, "--weights", weights, "--group-by", "label", "--attacked", 10)
    code, _, err = run("build", *words, "--out", tmp_path / "store")
    found = recorded(tmp_path / "store")
    assert code == 0 and "warning" not in err
    assert (found["images"], found["accuracy"], found["attacked_accuracy"]) == (10, 1.0, 1.0)


def test_a_network_that_is_mostly_wrong_is_told(images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    """Or one whose classes are not in the order of the images'."""
    code, _, err = run("build", "--images", images, "--weights", weights, "--out", tmp_path / "store")
    assert code == 0 and recorded(tmp_path / "store")["accuracy"] < 0.5
    assert "images, below 50%: are its classes those of the images?" in err


def test_the_figure_is_that_of_the_attack(
    fragile: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a radius that turns some images and others not; a random start may turn another one."""
    images, weights = fragile
    model, sha256 = load_model(weights)
    source = FolderSource(images)
    crops = np.stack([source.pixels(i) for i in range(len(source))])
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    y = torch.tensor([source.entry(i).label for i in range(len(source))])

    def kept(radius: float) -> float:
        turned = attack(model, x, y, radius, 10, torch.Generator().manual_seed(1))
        return float((model(turned).argmax(1) == y).float().mean())

    radius = min(np.linspace(0.005, 0.06, 12).tolist(), key=lambda r: abs(kept(r) - 0.5))
    monkeypatch.setattr("salient_imagenet_data.builder.robustness.RADIUS", radius / 16)
    made = build(source, model, tmp_path / "store", weights_sha256=sha256, config=CONFIG).manifest.robustness
    assert 0.2 < kept(radius) < 0.8 and made["l2_radius"] == pytest.approx(radius)
    assert made["attacked_accuracy"] == pytest.approx(kept(radius), abs=2.5 / 24)


def test_it_can_be_left_out(fragile: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    images, weights = fragile
    words = ("--images", images, "--weights", weights, "--group-by", "label", "--attacked", 0)
    code, _, err = run("build", *words, "--out", tmp_path / "store")
    assert code == 0 and "warning" not in err and recorded(tmp_path / "store") == {}


def test_known_pairs_too(store: Store, images: Path, weights: Path, answers_file: Path, tmp_path: Path) -> None:
    model, sha256 = load_model(weights)
    answers = read_annotations(answers_file)
    config = dataclasses.replace(CONFIG, attacked=8)
    made = build(FolderSource(images), model, tmp_path / "s", weights_sha256=sha256, config=config, annotations=answers)
    assert made.manifest.robustness["images"] == 8


def test_images_that_cannot_be_read_are_not_counted(
    firm: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(shutil.copytree(firm[0], tmp_path / "images"))
    for number in range(5):
        (images / "odd" / f"{number}.png").write_bytes(b"no image")
    model, sha256 = load_model(firm[1])
    made = build(FolderSource(images), model, tmp_path / "s", weights_sha256=sha256, config=CONFIG)
    assert made.manifest.robustness["images"] == 19 and made.manifest.quarantined == 5
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("left", ["whole", "empty", "of another version"])
def test_a_build_that_goes_on_measures_once_and_gives_the_same_bytes(
    fragile: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    images, weights = fragile
    model, sha256 = load_model(weights)
    source = FolderSource(images)
    build(source, model, tmp_path / "straight", weights_sha256=sha256, config=CONFIG)
    place = tmp_path / "stopped"
    build_until(source, model, place, stop_after="features", weights_sha256=sha256, config=CONFIG)
    (file,) = (place / "work").glob("robustness-*.json")
    assert json.loads(file.read_bytes()) == recorded(tmp_path / "straight")
    if left == "whole":
        monkeypatch.setattr("salient_imagenet_data.builder.robustness.worth", lambda *a, **k: 1 / 0)
    else:
        file.write_text("" if left == "empty" else '{"images": 4}')
    build(source, model, place, weights_sha256=sha256, config=CONFIG, resume=True)
    for path in (tmp_path / "straight").rglob("*"):
        assert path.is_dir() or path.read_bytes() == (place / path.relative_to(tmp_path / "straight")).read_bytes()
