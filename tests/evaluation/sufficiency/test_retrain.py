"""The retraining experiment: what each network is shown, and that it learns what is there and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.sufficiency import retrain as module
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.measure import measure
from salient_imagenet_data.evaluation.sufficiency.orders import Orders
from salient_imagenet_data.evaluation.sufficiency.picture import sheet
from salient_imagenet_data.evaluation.sufficiency.retrain import RECIPE, SHOWN, retrain
from salient_imagenet_data.evaluation.sufficiency.select import select
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run, make_store

TINY = replace(RECIPE, epochs=1, widths=(4, 6), stem_stride=2, flip=False)


def corner(x: torch.Tensor) -> torch.Tensor:
    """Looks at the upper left quarter."""
    weight = torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
    return x[:, :, :28, :28].mean((2, 3)) @ weight


@pytest.fixture(scope="module")
def orders(store: Store, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Orders:
    folder, choice = tmp_path_factory.mktemp("o") / "o", Choice(cell=2, step=98, wrong_class=False)
    return select(Classifier("m", corner), store, FolderSource(images), folder, choice, Settings(20))


def test_what_is_shown_in_training_and_in_the_test(
    store: Store, images: Path, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels that each training and each test is given are looked at."""
    given: list[tuple[np.ndarray, np.ndarray]] = []
    tested: list[np.ndarray] = []
    real, hits = module.train, module.tested_on

    def train(pixels: np.ndarray, labels: np.ndarray, *rest: Any) -> Any:
        given.append((pixels, labels))
        return real(pixels, labels, *rest)

    def tested_on(model: Any, pixels: np.ndarray, labels: np.ndarray) -> Any:
        tested.append(pixels)
        return hits(model, pixels, labels)

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "tested_on", tested_on)
    said: list[str] = []
    found = retrain(
        orders, store, FolderSource(images), TINY, share=0.1, border_pixels=4, test=Fold(1, 3), report=said.append
    )
    assert tuple(r.shown for r in found) == SHOWN == ("whole", "last", "random", "border") and len(said) == 4
    in_test = Fold(1, 3).holds(f"test {image_id}" for image_id in orders.image_ids)
    source = FolderSource(images)
    index = {source.entry(i).image_id: i for i in range(len(source))}
    whole = np.stack([store.manifest.preprocessing.apply(source.pixels(index[i])) for i in orders.image_ids])
    fill = np.rint(np.array(orders.recipe.fill) * 255)
    for r, (pixels, labels), (there, as_they_are) in zip(
        found, given, zip(tested[::2], tested[1::2], strict=True), strict=True
    ):
        assert (labels == orders.labels[~in_test]).all() and (as_they_are == whole[in_test]).all()
        assert r.accuracy.n == in_test.sum() and 0 < in_test.sum() < 40
        for changed, originals, rows in (
            (pixels, whole[~in_test], np.flatnonzero(~in_test)),
            (there, whole[in_test], np.flatnonzero(in_test)),
        ):
            kept = (changed == originals).all(axis=3)
            filled = (changed == fill).all(axis=3)
            assert (kept | filled).all()
            if r.shown == "whole":
                assert kept.all() and r.share == 1.0
            elif r.shown == "border":
                assert kept[:, :4].all() and kept[:, :, -4:].all() and filled[:, 4:-4, 4:-4].all()
                assert r.share == pytest.approx(1 - (48 / 56) ** 2)
            else:
                assert abs(float((~filled).mean()) - r.share) < 0.01 and r.share == pytest.approx(78 / 784)
                if r.shown == "last":
                    for picture, row in zip(kept, rows.tolist(), strict=True):
                        for cell in orders.order(row, row + 1)[0, -78:].tolist():
                            top, left = 2 * (cell // 28), 2 * (cell % 28)
                            assert picture[top : top + 2, left : left + 2].all()
    last, random = given[1][0], given[2][0]
    assert (last != random).any() and (random[0] != fill).any()
    patterns = (random != fill).any(axis=3)
    assert (patterns[0] != patterns[1]).any(), "a random subset of its own for each image"


def test_a_cue_in_the_border_is_learned_from_the_border_alone(tmp_path: Path, orders: Orders, store: Store) -> None:
    """The class is written into the outermost pixels: the network of the border reads it, that of a middle cannot."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    pixels = rng.integers(90, 160, (400, 56, 56, 3), dtype=np.uint8)
    pixels[labels == 1, :2] = 250
    edge = module.border(56, 2)
    config = replace(TINY, epochs=3, batch_size=20, learning_rate=0.1)
    results = {}
    for name, shown in (("border", edge), ("middle", ~edge)):
        changed = np.where(shown[..., None], pixels, np.uint8(128))
        model = module.train(changed[:300], labels[:300], ("no", "yes"), store.manifest.preprocessing, config)
        results[name] = module.tested_on(model, changed[300:], labels[300:])[0].value
    assert results["border"] > 0.95 and 0.3 < results["middle"] < 0.7


def test_what_will_not_do(store: Store, images: Path, orders: Orders) -> None:
    source = FolderSource(images)
    with pytest.raises(SalientError, match="fold 1/1 of 40 images; expected images to train on and .*; got 0 and 40"):
        retrain(orders, store, source, TINY, test=Fold(1, 1))
    with pytest.raises(SalientError, match="share of the pixels; expected above 0 and below 1; got 1"):
        retrain(orders, store, source, TINY, share=1.0)
    with pytest.raises(SalientError, match="images do not fit in memory; expected at most 0 MiB at 56 x 56"):
        retrain(orders, store, source, replace(TINY, memory_limit=1000))


def test_orders_of_a_fold_have_images_on_both_sides() -> None:
    """A fold of the images lies within no fold to test on, though 5 divides 50."""
    ids = [i for i in (f"class/{n}.png" for n in range(10_000)) if Fold(1, 50).holds([i])[0]]
    assert len(ids) > 100 and Fold(1, 5).holds(ids).all()
    assert 0.1 < Fold(1, 5).holds(ids, module.TEST).mean() < 0.3


def test_orders_of_other_images_are_refused(
    store: Store,
    images: Path,
    weights: Path,
    orders: Orders,
    tmp_path: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of fewer images, so that rows mean others: by retraining, measuring and the picture, in one line."""
    few = tmp_path / "few"
    for number, path in enumerate(sorted(images.glob("*/*"))):
        if number != 2:
            (few / path.parent.name).mkdir(parents=True, exist_ok=True)
            (few / path.parent.name / path.name).symlink_to(path)
    other = make_store(few, weights, tmp_path / "other")
    capsys.readouterr()  # what building says
    code, out, err = run("sis-retrain", other.path, orders.path, "--images", few)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert f"orders of other images than those of {other.path}; expected " in err and "in row" in err
    for refused in (
        lambda: retrain(orders, other, FolderSource(few), TINY),
        lambda: measure(Classifier("m", corner), orders, other, FolderSource(few)),
        lambda: sheet(orders, other, FolderSource(few), 0.1),
    ):
        with pytest.raises(SalientError, match="orders of other images than those of"):
            refused()
    wrong = replace(orders, recipe=replace(orders.recipe, classes_sha256="0"))
    with pytest.raises(SalientError, match="expected the same classes in the same order"):
        retrain(wrong, store, FolderSource(images), TINY)


def test_answers_leave_orders_as_they_are(
    store: Store, bare_store: Store, images: Path, orders: Orders, tmp_path: Path
) -> None:
    """What was made before anybody answered is good afterwards: nothing is made again, and no model is asked."""

    def never(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("asked again")

    choice, source = Choice(cell=2, step=98, wrong_class=False), FolderSource(images)
    select(Classifier("m", corner), bare_store, source, tmp_path / "o", choice, Settings(20))
    again = select(Classifier("m", never), store, source, tmp_path / "o", choice, Settings(20))
    assert again.recipe == orders.recipe
    assert file_sha256(bare_store.path / MANIFEST) != file_sha256(store.path / MANIFEST)


def test_the_command(store: Store, images: Path, orders: Orders, run: Run) -> None:
    how = ("--epochs", 1, "--widths", "4,6", "--stem-stride", 2, "--batch-size", 16, "--seed", 3, "--device", "cpu")
    code, out, err = run("sis-retrain", store.path, orders.path, "--images", images, *how, "--json")
    assert code == 0 and err.count("trained on ") == 4
    config = replace(RECIPE, epochs=1, widths=(4, 6), stem_stride=2, batch_size=16, seed=3)
    again = retrain(orders, store, FolderSource(images), config)
    assert json.loads(out) == json.loads(json.dumps([each.to_json() for each in again]))
    code, out, _ = run("sis-retrain", store.path, orders.path, "--images", images, *how)
    assert code == 0 and out.startswith("trained on whole, 100.0 % of the pixels") and out.count("\n") == 4
    code, _, err = run("sis-retrain", store.path, images, "--images", images)
    assert code == 2 and err.endswith("no orders there; expected orders.json; make them with `salient-imagenet sis`\n")
