"""Orders on disk: whole or not at all, gone on with, and never of anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.sufficiency import orders as module
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.orders import Orders, read_orders
from salient_imagenet_data.evaluation.sufficiency.select import select, wrong_classes
from salient_imagenet_data.evaluation.sufficiency.selection import gradient_selection
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.store.reading import Store
from tests.evaluation.runs import pixels_of

CHOICE = Choice(step=56 * 14)
"""Four steps."""


GRAY = replace(CHOICE, fill=(0.5, 0.5, 0.5))


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_IMAGES", 9)
        yield


@pytest.fixture(scope="module")
def finished(
    small_shards: None, store: Store, images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Orders of all images, with a gray fill. Module-wide: copy it."""
    folder = tmp_path_factory.mktemp("finished") / "o"
    made(store, images, weights, folder, GRAY)
    return folder


def made(store: Store, images: Path, weights: Path, folder: Path, choice: Choice = CHOICE, **options: Any) -> Orders:
    overwrite = bool(options.pop("overwrite", False))
    classifier = Classifier("m", options.pop("model", None) or load_model(weights)[0])
    settings = Settings(**{"batch_size": 4, **options})
    return select(classifier, store, FolderSource(images), folder, choice, settings, overwrite=overwrite)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Failing(nn.Module):
    """A network that fails after some images, as a power cut would."""

    def __init__(self, weights: Path, after: int) -> None:
        super().__init__()
        self.model, self.left = load_model(weights)[0].requires_grad_(False), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= len(x)
        if self.left < 0:
            raise KeyboardInterrupt
        result: torch.Tensor = self.model(x)
        return result


def test_what_is_stored_is_what_is_selected(bare_store: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    """A store without answers will do. Order, confidence and wrong class of single images, by hand."""
    found = made(bare_store, images, weights, tmp_path / "o")
    assert len(found) == 40 and found.rows.tolist() == list(range(40))
    assert found.image_ids == bare_store.rows.image_ids.to_pylist()
    assert found.recipe.step == 784 and found.recipe.cells == 56 * 56 and found.confidence.shape == (40, 5)
    source = FolderSource(images)
    colours = [pixels_of(bare_store, source, row).double().mean((1, 2)) for row in range(40)]
    assert np.allclose(found.recipe.fill, torch.stack(colours).mean(0), atol=1e-6)
    model = load_model(weights)[0].requires_grad_(False)
    for row in (0, 8, 9, 39):  # of row 8, alone in its batch, both orders are made together
        x = pixels_of(bare_store, source, row)[None]
        answer, wrong = found.classes[row].tolist()
        assert answer == int(model(x).argmax()) and wrong not in (answer, found.labels[row])
        for target, confidence in ((answer, found.confidence), (wrong, found.wrong_confidence)):
            again = gradient_selection(model, x, torch.tensor([target]), torch.tensor(found.recipe.fill), step=784)
            assert np.allclose(again.confidence[0], confidence[row], atol=2e-3)
            if target == answer:
                ours, theirs = set(found.order(row, row + 1)[0, :784].tolist()), set(again.order[0, :784].tolist())
                assert len(ours & theirs) >= 775, "but for ties that rounding breaks"
    assert sorted(found.order(3, 4)[0].tolist()) == list(range(56 * 56))


def test_a_stopped_run_goes_on(finished: Path, store: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(store, images, weights, tmp_path / "o", GRAY, model=Failing(weights, 200))
    assert LOCK not in contents(tmp_path / "o")
    with pytest.raises(SalientError, match="orders that were not finished; run the same `salient-imagenet sis` again"):
        read_orders(tmp_path / "o")
    before = contents(tmp_path / "o")
    assert "orders.zarr/order/c/0/0" in before and "orders.zarr/order/c/4/0" not in before
    times = (tmp_path / "o" / "orders.zarr/order/c/0/0").stat().st_mtime_ns
    made(store, images, weights, tmp_path / "o", GRAY, model=Failing(weights, 10**9))
    assert (tmp_path / "o" / "orders.zarr/order/c/0/0").stat().st_mtime_ns == times, "made again"
    assert contents(tmp_path / "o") == contents(finished)


@pytest.mark.parametrize("name", ["order/c/1/0", "confidence/c/4/0", "classes/c/0/0", "order/zarr.json"])
@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "gone"])
def test_a_damaged_file_is_told_and_made_again(
    finished: Path, store: Store, images: Path, weights: Path, tmp_path: Path, name: str, how: str
) -> None:
    shutil.copytree(finished, tmp_path / "o")
    before, file = contents(tmp_path / "o"), tmp_path / "o" / "orders.zarr" / name
    data = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
    else:
        data[len(data) // 3] ^= 0xFF
        file.write_bytes({"empty": b"", "cut": data[:-3], "flipped": data}[how])
    if how != "flipped":
        with pytest.raises(SalientError, match=f"{name}: (missing|not whole); expected"):
            read_orders(tmp_path / "o")
        made(store, images, weights, tmp_path / "o", GRAY)
        assert contents(tmp_path / "o") == before
    elif "zarr.json" not in name:
        with pytest.raises(SalientError, match="damaged orders; got"):
            read_orders(tmp_path / "o").order(0, 40)


def test_what_is_not_of_this_run_is_left_alone(
    finished: Path, store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("years of work")
    with pytest.raises(SalientError, match=r"theirs: not orders of ours; expected an empty folder.*got thesis.txt"):
        made(store, images, weights, tmp_path / "theirs", overwrite=True)
    assert contents(tmp_path / "theirs") == {"thesis.txt": b"years of work"}
    shutil.copytree(finished, tmp_path / "o")
    before, first = contents(finished), store.rows[0].image_id
    for choice, settings, key in (
        (replace(GRAY, step=500), {}, "step differs; expected 500; got 784"),
        (GRAY, {"seed": 1}, "seed differs; expected 1; got 0"),
        (GRAY, {"fold": Fold(1, 2)}, "images differs"),
        (
            GRAY,
            {"left_out": LeftOut(frozenset([first, "of no store"]))},
            "left_out differs; expected {'images': 1, 'sha",
        ),
        (CHOICE, {}, "fill differs"),
    ):
        with pytest.raises(
            SalientError, match=f"orders made otherwise; {key}.*choose another --out or use --overwrite"
        ):
            made(store, images, weights, tmp_path / "o", choice, **settings)
    assert contents(tmp_path / "o") == before
    other = made(store, images, weights, tmp_path / "o", replace(GRAY, wrong_class=False), seed=1, overwrite=True)
    assert other.recipe.seed == 1 and np.isnan(other.wrong_confidence).all() and (other.classes[:, 1] == -1).all()
    (tmp_path / "o" / "orders.json").write_text(json.dumps({"format": "salient-imagenet orders 99"}))
    with pytest.raises(SalientError, match="not a description of orders; expected salient-imagenet orders 1; got .*99"):
        read_orders(tmp_path / "o")
    with pytest.raises(SalientError, match="no orders there; expected orders.json"):
        read_orders(tmp_path / "nowhere")


def test_backward_selection_of_cells_is_stored_likewise(
    store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    found = made(store, images, weights, tmp_path / "o", Choice("backward", cell=14), fold=Fold(1, 4))
    assert found.recipe.step == 1 and found.confidence.shape[1] == 17 and found.recipe.cells == 16
    assert (np.sort(found.order(0, len(found)), axis=1) == np.arange(16)).all()


def test_wrong_classes() -> None:
    answered, labels = np.array([0, 1, 2] * 40), np.array([0, 2, 1] * 40)
    found = wrong_classes(answered, labels, 4, list(range(120)))
    assert (found != answered).all() and (found != labels).all() and set(found) == {0, 1, 2, 3}
    assert wrong_classes(np.array([0, 1]), np.array([1, 1]), 2, [5, 6]).tolist() == [1, 0]
