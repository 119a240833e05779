"""Certificates of a store's masks, against plain loops in NumPy; the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.certificates.certify import answered, certify, images_of
from salient_imagenet_data.evaluation.certificates.choices import Asked
from salient_imagenet_data.evaluation.plan.regions import RegionOfStore, labels_of
from salient_imagenet_data.evaluation.run.images import partner_rows
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel, save_smallnet
from salient_imagenet_data.scenes import CLASSES
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


class OnColours(nn.Module):
    """A classifier that is linear in the pixels, seen at 14 x 14; its weights are fitted to the tests' images."""

    def __init__(self, images: Tensor, labels: np.ndarray, classes: int) -> None:
        super().__init__()
        x = self.features(images).numpy()
        targets = 6.0 * np.eye(classes)[labels]
        solved = x.T @ np.linalg.solve(x @ x.T + 0.5 * np.eye(len(x)), targets)
        self.weight = nn.Parameter(torch.from_numpy(solved).float())

    @staticmethod
    def features(images: Tensor) -> Tensor:
        return F.avg_pool2d(images - 0.5, 4).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images) @ self.weight


@pytest.fixture(scope="module")
def pixels(store: Store, images: Path) -> np.ndarray:
    """(N, 3, S, S) float32 of the rows of the store."""
    source = FolderSource(images)
    index = {source.entry(i).image_id: i for i in range(len(source))}
    crops = [store.manifest.preprocessing.apply(source.pixels(index[row.image_id])) for row in store.rows]
    return np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255.0


@pytest.fixture(scope="module")
def model(store: Store, pixels: np.ndarray) -> OnColours:
    return OnColours(torch.from_numpy(pixels), store.rows.labels.astype(int), len(store.class_names))


def test_own_masks_against_plain_loops(store: Store, images: Path, pixels: np.ndarray, model: OnColours) -> None:
    """Of images answered right: the pixels of the mask that reach the threshold, all others gray."""
    weight = model.weight.detach().numpy().astype(np.float64)

    def probabilities(image: np.ndarray) -> np.ndarray:
        small = image.reshape(3, 14, 4, 14, 4).mean(axis=(2, 4)) - 0.5
        logits = small.ravel() @ weight
        e = np.exp(logits - logits.max())
        return e / e.sum()

    found = certify(Classifier("colours", model), store, images, Asked(alpha=0.7), Settings(batch_size=7))
    answers = [probabilities(image).argmax() for image in pixels]
    right = [row for row, record in enumerate(store.rows) if answers[row] == record.label]
    assert found.images == 40 and found.right == len(right) and 30 < len(right) <= 40
    for kind in ("core", "spurious"):
        rates: dict[int, list[tuple[float, bool, bool, float]]] = {}
        empty = 0
        for row in right:
            label, mask = int(store.rows.labels[row]), store.mask(row, kind)
            if mask is None:
                continue
            inside = mask >= 0.5
            if not inside.any():
                empty += 1
                continue
            whole, part = probabilities(pixels[row]), probabilities(np.where(inside, pixels[row], 0.5))
            bar, wrong = 0.7 * whole[label], np.delete(part, label).max()
            rate = min(1.0, part[label] / whole[label]), part[label] >= bar, wrong >= bar, inside.mean()
            rates.setdefault(label, []).append(rate)
        expected = np.mean([np.mean(each, axis=0) for each in rates.values()], axis=0)
        of = found.kinds[kind]  # type: ignore[index]
        own = of.masks["own"]
        values = own.completeness.value, own.certified.value, own.wrong.value, of.area.value
        assert values == pytest.approx(expected, rel=1e-4)
        assert (of.images, of.empty) == (sum(map(len, rates.values())), empty) and own.completeness.classes == len(
            rates
        )
        assert own.completeness.low <= own.completeness.value <= own.completeness.high
        # Found by searching, never worse than the mask it began with; and the control is as large as the mask.
        searched = of.masks["searched"]
        assert searched.completeness.value >= own.completeness.value and searched.wrong.value >= own.wrong.value
        assert of.over["searched"].value <= 0.0 < of.over["random"].n


def test_controls_are_of_the_same_size(store: Store, images: Path, model: OnColours) -> None:
    """What was seen: gray is everywhere but in the mask, and elsewhere as many pixels are left."""
    joined = images_of(store, images, Settings())
    classifier = Classifier("colours", model)
    (batch,) = answered(classifier, joined, None, Asked(steps=2), Settings(batch_size=64), keep=True)
    core = batch.tried["core"]
    gray = {name: (shown == 0.5).all(dim=1) for name, shown in core.shown.items()}
    left = {name: (~each).flatten(1).sum(dim=1).numpy() for name, each in gray.items()}
    sizes = np.rint(core.areas * 56 * 56)
    for name in ("own", "other", "random", "searched"):
        assert np.abs(left[name] - sizes).max() <= 3, name  # a pixel of the image may be gray itself
    partner = partner_rows(joined, RegionOfStore("core", store.kind_table["core"][labels_of(store)]), 0)
    for place, position in enumerate(core.positions):
        mask = store.mask(int(joined.rows[position]), "core")
        assert mask is not None and not (~gray["own"][place].numpy() & (mask < 0.5)).any()
        other = store.mask(int(partner[joined.rows[position]]), "core")
        shown = ~gray["other"][place].numpy()  # the largest values of the other mask
        assert other is not None and other[shown].min() >= np.sort(other, axis=None)[-int(sizes[place])] - 1e-6
    assert (gray["random"] != gray["own"]).any(dim=(1, 2)).all()


def test_what_changes_and_what_does_not(store: Store, images: Path, model: OnColours) -> None:
    def completeness(asked: Asked, **settings: object) -> dict[str, float]:
        given = Settings(fold=Fold(1, 3), **settings)  # type: ignore[arg-type]
        found = certify(Classifier("c", model), store, images, asked, given)
        return {name: mask.completeness.value for name, mask in found.kinds["core"].masks.items()}

    first = completeness(Asked(steps=2))
    assert first == pytest.approx(completeness(Asked(steps=2), batch_size=5), rel=1e-5)
    assert list(first) == ["own", "other", "random", "searched"]
    other = completeness(Asked(steps=0), seed=1)
    assert list(other) == ["own", "other", "random"]
    assert other["own"] == pytest.approx(first["own"]) and other["random"] != first["random"]
    for asked in (Asked(fill="swap", steps=0), Asked(fill="blur_3", steps=0), Asked(threshold=0.2, steps=0)):
        assert completeness(asked)["own"] != pytest.approx(first["own"], rel=1e-3)
    assert completeness(Asked(grid=14, steps=2))["searched"] != pytest.approx(first["searched"], rel=1e-4)


def test_what_is_refused(store: Store, bare_store: Store, images: Path, model: OnColours) -> None:
    with pytest.raises(SalientError, match="not annotated, so no feature is core or spurious yet"):
        certify(Classifier("c", model), bare_store, images)
    with pytest.raises(SalientError, match="the model has no gradient; search with 0 steps"):
        certify(Classifier("c", lambda x: model(x).detach()), store, images)
    for given, words in (
        ({"alpha": 0.0}, "alpha; expected above 0 and at most 1; got 0"),
        ({"threshold": 1.5}, "threshold of the masks; expected above 0"),
        ({"steps": -1}, "search; expected 0 or more steps"),
        ({"fill": "missing"}, "missing: paints nothing"),
        ({"fill": "pink"}, "corruption 'pink' is not known"),
    ):
        with pytest.raises(SalientError, match=re.escape(words)):
            Asked(**given)  # type: ignore[arg-type]


def test_the_command_and_its_picture(store: Store, images: Path, tmp_path: Path, run: Run) -> None:
    torch.manual_seed(3)
    net = SmallNet(SmallNetConfig(len(CLASSES), (6, 8), 1, 2)).eval()
    weights = tmp_path / "net.safetensors"
    save_smallnet(SmallNetModel(net, store.manifest.preprocessing, tuple(c.name for c in CLASSES)), weights)
    given = (store.path, "--images", images, "--weights", weights, "--name", "net", "--steps", 2, "--fold", "1/1")
    code, out, err = run("certify", *given, "--picture", tmp_path / "sheet.png", "--json")
    assert code == 0 and "sheet.png" in err, err
    found = json.loads(out)["net"]
    assert 0 < found["right"] < found["images"] == 40 and next(iter(found["kinds"]["core"]["masks"])) == "own"
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert picture.shape[1] == 6 * 136 - 8 and (picture.shape[0] + 8) % (40 + 128 + 8) == 0
    code, out, _ = run("certify", *given)
    assert (
        code == 0
        and out.startswith(f"net: 40 images, {found['right']} answered right")
        and "as many, searched for" in out
    )
    code, out, err = run("certify", *given, "--fill", "missing")
    assert code == 2 and out == "" and err.count("\n") == 1 and "paints nothing" in err
