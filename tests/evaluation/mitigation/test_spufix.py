"""What spufix takes off a logit: by hand, by the components of a store themselves, and in another network."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.spufix import affine, matched_directions, spufix
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier, Normalised
from salient_imagenet_data.networks.opening import open_network, open_networks
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.conftest import CONFIG, Run, answers_for


@pytest.fixture(scope="module")
def pca(images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of components with answers: ranks 1 and 3 core, 2 spurious; class 0 all core, class 1 all spurious."""
    folder = tmp_path_factory.mktemp("pca")
    model, sha256 = load_model(weights)
    made = build(FolderSource(images), model, folder / "s", weights_sha256=sha256, config=CONFIG, basis="pca")
    write_annotations(folder / "answers.csv", answers_for(made))
    return annotate(folder / "s", read_annotations(folder / "answers.csv"))


def crops(store: Store, images: Path, preprocessing: Preprocessing) -> torch.Tensor:
    source = FolderSource(images)
    pixels = np.stack([preprocessing.apply(source.pixels(i)) for i in range(len(source))])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def test_by_hand() -> None:
    """Two neurons, of which the feature follows the second alone, downwards: a unit vector along it, of either sign."""
    contributions = np.array([[1.0, 0.0], [1.0, 2.0], [-1.0, 0.0], [-1.0, 2.0]])
    activations = np.array([[3.0, 5.0], [1.0, 5.0], [3.0, 5.0], [1.0, 5.0]])
    found = matched_directions(activations, contributions)
    assert np.allclose(found, [[0, 0], [-1, 0]])
    weight, mean = np.array([2.0, 4.0]), np.array([0.0, 0.25])
    matrix, bias = affine(found[:, :1], weight, mean)
    # psi - mean psi = (2 r1, 4 r2 - 1), and beta = <1, d> <d, that> = 4 r2 - 1.
    assert np.allclose(matrix, [[0, 4]]) and np.allclose(bias, [-1])
    oblique = np.array([[1.0, np.sqrt(0.5)], [0.0, np.sqrt(0.5)]])
    matrix, bias = affine(oblique, np.ones(2), np.zeros(2))
    # (x, y) = (x - y) (1, 0) + y (1, 1): the parts of the two directions, as much as they add to the sum x + y.
    assert np.allclose(matrix @ [5.0, 2.0] + bias, [3.0, 4.0])
    twice, _ = affine(np.array([[1.0, 1.0], [0.0, 0.0]]), np.ones(2), np.zeros(2))
    assert np.allclose(twice @ [6.0, 1.0], [3.0, 3.0]), "the same direction twice is taken off once"


def test_in_the_stores_own_network_the_components_are_taken_off(pca: Store, images: Path, weights: Path) -> None:
    (opener,) = open_networks(pca, weights=[str(weights)]).values()
    classifier = opener()
    x = crops(pca, images, pca.manifest.preprocessing)
    with torch.inference_mode():
        before = classifier.model(x).numpy()
    network, taken = spufix(classifier, pca, images)
    with torch.inference_mode():
        after = network(x).numpy()
    labels, expected = pca.rows.labels, before.copy()
    spurious = pca.kind_table[SPURIOUS]
    assert spurious.sum() == taken.directions == 11 and taken.classes == 9 and taken.without == 0
    lost = np.maximum(pca.activations, 0.0) * spurious[labels]
    expected[np.arange(40), labels] -= lost.sum(axis=1)
    assert np.allclose(after[np.arange(40), labels], expected[np.arange(40), labels], atol=1e-6)
    assert lost.max() > 1e-3 and np.array_equal(after[:, 0], before[:, 0]), "class 0 has no spurious feature"
    mine = labels != 0
    assert taken.images == mine.sum() == 36 and taken.loss == pytest.approx(lost[mine].sum(axis=1).mean(), rel=1e-4)


def other_network(seed: int = 1) -> Classifier:
    torch.manual_seed(seed)
    net = torchvision.models.resnet18(num_classes=10)
    model = Normalised(net, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)).eval().requires_grad_(False)
    return Classifier("resnet18", model, Preprocessing(64, 64))


def test_another_network_by_the_formula_of_the_paper(store: Store, images: Path) -> None:
    """A store of neurons; the directions of a class are oblique, and its images those of the fold."""
    classifier, fold = other_network(), Fold(1, 2)
    plain = copy.deepcopy(classifier.model.net)
    network, taken = spufix(classifier, store, images, settings=Settings(fold=fold))
    x = crops(store, images, Preprocessing(64, 64))
    rows = np.flatnonzero(fold.holds(store.rows.image_ids.to_pylist()))
    with torch.inference_mode():
        standing = (x - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.25])[:, None, None]
        before, after = plain(standing).double().numpy(), network(x).double().numpy()
        plain.fc = torch.nn.Identity()
        pooled = plain(standing).double().numpy()
    weight = network.net.fc.weight.double().numpy()
    expected, directions = before.copy(), 0
    for label in range(10):
        slots = np.flatnonzero(store.kind_table[SPURIOUS][label])
        mine = rows[store.rows.labels[rows] == label]
        psi = pooled * weight[label]
        mean = psi[mine].mean(axis=0)
        columns = []
        for slot in slots:
            alpha = store.activations[mine, slot].astype(np.float64)
            column = sum(a * (psi[i] - mean) for a, i in zip(alpha, mine, strict=True))
            if len(mine) > 1 and np.ptp(alpha) > 0:
                columns.append(column / np.linalg.norm(column))
        if not columns:
            continue
        d = np.stack(columns, axis=1)
        directions += d.shape[1]
        for i in range(40):
            parts = np.linalg.lstsq(d, psi[i] - mean, rcond=None)[0]
            expected[i, label] -= np.maximum(d.sum(axis=0) * parts, 0.0).sum()
    assert taken.directions == directions and 9 <= directions + taken.without == store.kind_table[SPURIOUS].sum() + 0
    assert np.allclose(after, expected, atol=1e-4) and np.abs(after - before).max() > 1e-3


def test_the_file_is_read_by_evaluate_and_by_nothing_that_wants_a_linear_head(
    pca: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "fixed.safetensors"
    code, told, err = run("spufix", pca.path, "--images", images, "--weights", weights, "--out", out, "--device", "cpu")
    assert code == 0, err
    assert told.startswith(f"wrote {out}: 11 directions of 9 classes, found on 36 images, whose logits fall by ")
    (opener,) = open_networks(pca, weights=[str(weights)]).values()
    expected, _ = spufix(opener(), pca, images)
    read = open_network(None, pca.class_names, out)
    assert read.details["spufix"] == {"directions": 11, "classes": 9}
    x = crops(pca, images, pca.manifest.preprocessing)
    with torch.inference_mode():
        assert torch.equal(read.model(x), expected(x))
    given = ("--images", images, "--weights", out)
    code, told, err = run("evaluate", pca.path, *given, "--no-controls")
    assert code == 0, err
    code, _, err = run("build", *given, "--out", tmp_path / "s")
    assert (
        code == 2 and "its head is corrected by spufix, so no longer linear; build a store with the network as" in err
    )
    code, _, err = run("retrain-head", pca.path, *given, "--out", tmp_path / "h.safetensors")
    assert code == 2 and "its head has a correction of `spufix`" in err and "give the network that spufix" in err


def test_a_network_of_a_library_with_its_classes_in_another_order(
    pca: Store, images: Path, tmp_path: Path, run: Run
) -> None:
    """The file's outputs keep their own order, and the correction is of the right ones."""
    torch.manual_seed(5)
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=10)
    torch.save(net.state_dict(), tmp_path / "r.pt")
    (tmp_path / "names.txt").write_text("\n".join(reversed(pca.class_names)))
    opened = ("--model", "torchvision:shufflenet_v2_x0_5", "--class-names", tmp_path / "names.txt")
    out = tmp_path / "f.safetensors"
    code, _, err = run("spufix", pca.path, "--images", images, *opened, "--weights", tmp_path / "r.pt", "--out", out)
    assert code == 0, err
    tensors = load_file(out)
    assert torch.equal(tensors["fc.weight"], net.fc.weight)
    expected = [9 - label for label in range(10) for _ in range(int(pca.kind_table[SPURIOUS][label].sum()))]
    assert tensors["fc.spufix_outputs"].tolist() == expected
    before = open_network(
        "torchvision:shufflenet_v2_x0_5", pca.class_names, tmp_path / "r.pt", outputs=tuple(reversed(pca.class_names))
    )
    after = open_network("torchvision:shufflenet_v2_x0_5", pca.class_names, out)
    x = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        change = before.model(x) - after.model(x)
    assert torch.equal(change[:, 0], torch.zeros(3)) and (change >= 0).all() and (change > 0).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.spufix_bias"), "not one whole correction of a head; expected spufix_weight, spufix_bias"),
        (lambda t: t.update({"body.spufix_bias": t["head.spufix_bias"].clone()}), "not one whole correction of a head"),
        (lambda t: t.update({"head.spufix_outputs": t["head.spufix_outputs"] + 5}), "a correction that does not fit 'head'"),
        (lambda t: t.update({"head.spufix_weight": t["head.spufix_weight"][:, :5].clone()}), "a correction that does not fit 'head'"),
    ],
)  # fmt: skip
def test_damaged_corrections_are_refused(
    pca: Store, images: Path, weights: Path, tmp_path: Path, run: Run, change: object, message: str
) -> None:
    from safetensors import safe_open

    out = tmp_path / "fixed.safetensors"
    assert run("spufix", pca.path, "--images", images, "--weights", weights, "--out", out)[0] == 0
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(out)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, out, metadata)
    with pytest.raises(SalientError, match=message):
        open_network(None, pca.class_names, out)


def test_stores_that_say_nothing(bare_store: Store, pca: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    (opener,) = open_networks(pca, weights=[str(weights)]).values()
    with pytest.raises(SalientError, match="not annotated"):
        spufix(opener(), bare_store, images)
    copied = Path(shutil.copytree(pca.path, tmp_path / "s"))
    some = [a for a in answers_for(pca) if a.class_index == 0]
    write_annotations(tmp_path / "a.csv", some)
    annotate(copied, read_annotations(tmp_path / "a.csv"))
    with pytest.raises(SalientError, match="no spurious feature, so nothing to take off"):
        spufix(opener(), copied, images)
    with pytest.raises(SalientError, match="cannot be trained; expected a network"):
        spufix(Classifier("f", lambda x: x), pca, images)
