"""A head fitted on the images of a build: the same as by another way, kept, found again, and used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.builder.probe import DECAYS, Sums, choose, solve
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.source import index_by_id
from salient_imagenet_data.networks.opening import open_network, open_networks
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


def clouds(rng: np.random.Generator, counts: tuple[int, ...], width: int = 6) -> tuple[Any, Any]:
    """Features around a centre of each class, and labels."""
    centres = 2 * np.random.default_rng(9).normal(size=(len(counts), width))
    labels = np.repeat(np.arange(len(counts)), counts)
    return (centres[labels] + rng.normal(size=(len(labels), width)) + 3).astype(np.float32), labels


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_closed_form_is_the_weighted_least_squares_solution(with_bias: bool) -> None:
    """Against numpy's least squares on all images at once, the decay as rows beneath them."""
    counts = (40, 25, 8)
    x, labels = clouds(np.random.default_rng(0), counts)
    held, truth = clouds(np.random.default_rng(1), (20, 20, 20))
    sums = Sums(1.0 / np.array(counts), x.shape[1])
    for part in np.array_split(np.random.default_rng(2).permutation(len(x)), 4):
        sums.add(x[part], labels[part])
    head = solve(sums, held, truth, with_bias=with_bias)
    weight = 1.0 / np.array(counts)[labels] / 3
    mean = weight @ x if with_bias else np.zeros(x.shape[1])
    variance = float(weight @ (x - mean) ** 2 @ np.ones(x.shape[1])) / x.shape[1]
    design = np.hstack([x, np.ones((len(x), 1))]) if with_bias else x.astype(float)
    penalty = np.sqrt(head.decay * variance) * np.eye(x.shape[1], design.shape[1])
    rows = np.vstack([design * np.sqrt(weight)[:, None], penalty])
    target = np.vstack([np.eye(3)[labels] * np.sqrt(weight)[:, None], np.zeros((x.shape[1], 3))])
    found = np.linalg.lstsq(rows, target, rcond=None)[0]
    assert np.allclose(head.weight / head.scale, found[: x.shape[1]].T, atol=1e-8)
    assert np.allclose(head.bias / head.scale, found[-1] if with_bias else 0.0, atol=1e-8)
    assert head.decay in DECAYS and head.scale > 1
    right = ((held @ head.weight.T + head.bias).argmax(axis=1) == truth).mean()
    assert head.accuracy == right and right > 0.8


def test_features_that_do_not_vary_make_no_head() -> None:
    sums = Sums(np.ones(2), 3)
    sums.add(np.ones((4, 3)), np.array([0, 0, 1, 1]))
    with pytest.raises(SalientError, match="probe: no head can be fitted; expected features that vary"):
        solve(sums, np.ones((0, 3)), np.zeros(0, dtype=np.int64))


def test_images_are_chosen_by_class_and_held_out_apart() -> None:
    ids = [f"a{i}" for i in range(50)] + [f"b{i}" for i in range(3)] + ["c"]
    labels = np.array([0] * 50 + [1] * 3 + [2])
    fit, held = choose(ids, labels, 40, 0)
    assert np.bincount(labels[fit]).tolist() == [36, 2, 1] and np.bincount(labels[held], minlength=3).tolist() == [
        4,
        1,
        0,
    ]
    assert not set(fit) & set(held) and choose(ids, labels, 40, 0)[0].tolist() == fit.tolist()
    assert choose(ids, labels, 40, 1)[0].tolist() != fit.tolist()
    turned = [ids[i] for i in range(53, -1, -1)]  # the same images in another order
    assert {turned[i] for i in choose(turned, labels[::-1].copy(), 40, 0)[0]} == {ids[i] for i in fit}


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """Weights of a vision transformer without a head."""
    timm = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=0)
    save_file(net.state_dict(), tmp_path / "backbone.safetensors")
    return tmp_path / "backbone.safetensors"


def test_a_backbone_without_a_head_makes_a_store_by_a_probe(
    backbone: Path, images: Path, run: Run, tmp_path: Path
) -> None:
    given = ("build", "--images", images, "--weights", backbone, "--architecture", "timm:test_vit", "--device", "cpu")
    small = ("--group-by", "label", "--top-images", "3", "--attacked", "0", "--resize", "160", "--crop", "160")
    code, _, err = run(*given, "--out", tmp_path / "none")
    assert code == 2 and err.splitlines()[-1] == (
        "Error: timm:test_vit (backbone.safetensors): a backbone without a head; "
        "build --probe FILE fits one on the images and keeps it there"
    )
    probe = tmp_path / "probe.safetensors"
    code, _, err = run(*given, *small, "--probe", probe, "--out", tmp_path / "store")
    assert code == 0, err
    store = Store(tmp_path / "store")
    note = store.manifest.network["probe"]
    assert f"probe {probe}: a head fitted on {note['fitted_on']} images, " in err
    assert f"{note['accuracy']:.1%} right on {note['held_out']} held out" in err
    assert note["class_names"] == list(store.class_names) and note["spec"] == "timm:test_vit"
    assert note["fitted_on"] + note["held_out"] + note["unreadable"] <= 300 * len(store.class_names)
    # The network with its head is read back from the file alone, and is the one that the store was built with.
    opened = open_network(None, store.class_names, probe)
    assert opened.details["network_sha256"] == store.manifest.network["network_sha256"]
    assert opened.details["probe"] == note and opened.class_names == store.class_names
    # Another build finds the probe and makes the same store; one of other images does not take it.
    before = probe.stat().st_mtime_ns
    code, _, err = run(*given, *small, "--probe", probe, "--out", tmp_path / "again")
    assert code == 0 and probe.stat().st_mtime_ns == before
    assert Store(tmp_path / "again").manifest.made_of == store.manifest.made_of
    code, _, err = run(*given, "--probe", probe, "--out", tmp_path / "other", "--resize", "170", "--crop", "160")
    assert code == 2 and err.splitlines()[-1] == (
        f"Error: {probe}: not a probe of these images and this network; got another preprocessing; "
        "give --probe another name"
    )
    # As `evaluate --weights FILE` opens it: in the store's crop, with the predictions of the build.
    (opener,) = open_networks(store, (), (str(probe),)).values()
    classifier = opener()
    assert classifier.preprocessing == store.manifest.preprocessing
    source, row = FolderSource(images), store.rows[4]
    crop = classifier.preprocessing.apply(source.pixels(index_by_id(source)[row.image_id]))
    with torch.inference_mode():
        logits = classifier.model(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)
    assert int(logits.argmax()) == row.prediction


def test_a_probe_knows_the_images_it_was_fitted_on(images: Path, run: Run, tmp_path: Path) -> None:
    """Classes that any features tell apart: a random network's probe is right on nearly all images held out."""
    timm = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
    from PIL import Image

    rng = np.random.default_rng(0)
    for label, colour in enumerate(((250, 30, 30), (30, 250, 30), (30, 30, 250))):
        (tmp_path / "tree" / f"c{label}").mkdir(parents=True)
        for number in range(10):
            noise = np.clip(np.array(colour) + rng.normal(0, 8, (64, 64, 3)), 0, 255)
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "tree" / f"c{label}" / f"{label}{number}.png")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "w.safetensors")
    code, _, err = run(
        "build", "--images", tmp_path / "tree", "--weights", tmp_path / "w.safetensors", "--architecture",
        "timm:test_resnet", "--probe", tmp_path / "p.safetensors", "--out", tmp_path / "s", "--attacked", "0",
        "--resize", "64", "--crop", "64",
    )  # fmt: skip
    assert code == 0, err
    store = Store(tmp_path / "s")
    assert store.manifest.network["probe"]["accuracy"] == 1.0
    assert (store.rows.predictions == store.rows.labels).mean() == 1.0


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("p.pt", "p.pt: weights are written as safetensors"),
        ("none/p.safetensors", "none: no such folder; expected the folder of --probe; make it first"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    out: str, message: str, backbone: Path, images: Path, run: Run, tmp_path: Path
) -> None:
    code, _, err = run(
        "build", "--images", images, "--weights", backbone, "--architecture", "timm:test_vit",
        "--probe", tmp_path / out, "--out", tmp_path / "s",
    )  # fmt: skip
    assert code == 2 and message in err.splitlines()[-1] and not (tmp_path / "s").exists()


def test_a_network_of_ones_own_gets_no_new_head(weights: Path, images: Path, run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        "build", "--images", images, "--weights", weights, "--probe", tmp_path / "p.safetensors", "--out", tmp_path / "s"
    )  # fmt: skip
    assert code == 2 and err.splitlines()[-1].endswith(
        "no new head can be put on it; expected a network of timm or torchvision"
    )


def test_a_folder_of_other_classes_is_ranked_by_the_features_of_a_network_with_a_probe(
    images: Path, run: Run, tmp_path: Path
) -> None:
    """Spuriosity of any data set [Moayeri et al. 2023]: scenes sorted into two classes, a network whose own head knows
    seven. The ranking against z-scores of features that are computed here."""
    timm = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
    for path in sorted(images.glob("*/*")):
        copy = (
            tmp_path / "photos" / ("round" if path.parent.name in ("disk", "ring", "crescent") else "edged") / path.name
        )
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=7).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    probe, where = tmp_path / "p.safetensors", tmp_path / "s"
    code, _, err = run(
        "build", "--images", tmp_path / "photos", "--weights", tmp_path / "w.safetensors", "--architecture",
        "timm:test_resnet", "--probe", probe, "--group-by", "label", "--top-features", 2, "--top-images", 2, "--out", where,
        "--attacked", "0", "--resize", "64", "--crop", "64",
    )  # fmt: skip
    assert code == 0, err
    bare = Store(where)
    assert bare.class_names == ("edged", "round")
    answers = [
        Answer(f"p{k}", f.class_name, f.class_index, f.feature_index, f.rank, "background", 4, "so")
        for f in bare.features
        for k in range(5)
    ]
    write_annotations(tmp_path / "answers.csv", answers)
    assert run("apply", where, tmp_path / "answers.csv")[0] == 0
    code, out, err = run("groups", where, "--out", tmp_path / "groups.csv")
    assert code == 0 and "40 images: 4 groups of 2 classes" in out, err
    store = Store(where)
    found = [line.split(",") for line in (tmp_path / "groups.csv").read_text().splitlines()[1:]]
    source = FolderSource(tmp_path / "photos")
    places = index_by_id(source)
    crops = np.stack([store.manifest.preprocessing.apply(source.pixels(places[cells[0]])) for cells in found])
    opened = open_network(None, store.class_names, probe).model
    with torch.inference_mode():
        x = (torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255 - opened.mean) / opened.std
        features = net.forward_head(net.forward_features(x), pre_logits=True).numpy().astype(np.float64)
    for label in (0, 1):
        mine = [i for i, cells in enumerate(found) if int(cells[1]) == label]
        chosen = [f.feature_index for f in store.features if f.class_index == label]
        values = features[np.ix_(mine, chosen)]
        z = ((values - values.mean(0)) / values.std(0)).mean(1)
        assert np.allclose([float(found[i][3]) for i in mine], z, atol=1e-3)
        assert {found[i][4] for i in np.array(mine)[np.argsort(z)[len(mine) - len(mine) // 2 :]]} == {"shown"}
    picture = ("--most-spurious", "--least-spurious", "--out", tmp_path / "ends.png")
    code, out, err = run("look", where, "--images", tmp_path / "photos", "-n", 1, *picture)
    assert code == 0 and "4 photographs of 2 of 2 classes" in out, err
