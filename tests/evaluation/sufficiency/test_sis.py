"""sis as a command: several models, their ensemble and dropout, orders that are kept, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.evaluation.sufficiency.orders import read_orders
from salient_imagenet_data.evaluation.sufficiency.picture import sheet
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel, save_smallnet
from salient_imagenet_data.scenes import CLASSES
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

HOW = ("--cell", 14, "--step", 4, "--fold", "1/3", "--tau", 0.3)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two networks with random weights, surer of their answers than such networks are, but not of a gray image's."""
    folder, paths = tmp_path_factory.mktemp("networks"), []
    for seed in (3, 9):
        torch.manual_seed(seed)
        net = SmallNet(SmallNetConfig(len(CLASSES), (6, 8), 1, 2))
        net.head.weight.data *= 60.0
        gray = net.eval().maps(torch.full((1, 3, 56, 56), 0.35)).mean(dim=(2, 3))
        net.head.bias.data = -(gray @ net.head.weight.T)[0].detach()  # the fill alone is no class in particular
        paths.append(folder / f"{seed}.safetensors")
        save_smallnet(SmallNetModel(net, Preprocessing(60, 56), tuple(c.name for c in CLASSES)), paths[-1])
    return paths[0], paths[1]


def test_models_their_ensemble_and_dropout(
    store: Store, images: Path, networks: tuple[Path, Path], tmp_path: Path, run: Run
) -> None:
    given = (
        store.path,
        "--images",
        images,
        "--weights",
        networks[0],
        "--weights",
        networks[1],
        "--name",
        "a",
        "--name",
        "b",
    )
    where = ("--out", tmp_path / "out", "--picture", tmp_path / "sheet.png")
    both = ("--ensemble", "--input-dropout", 0.3)
    code, out, err = run("sis", *given, *where, *HOW, *both, "--json")
    assert code == 0, err
    found = json.loads(out)
    names = ["a", "a with input dropout", "b", "b with input dropout", "ensemble of 2"]
    assert code == 0 and list(found) == names and "sheet.png" in err
    assert json.loads((tmp_path / "out" / "sufficiency.json").read_text()) == found
    folders = sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir())
    assert folders == ["a", "a-with-input-dropout", "b", "b-with-input-dropout", "ensemble-of-2"]
    orders = {name: read_orders(tmp_path / "out" / folder) for name, folder in zip(names, folders, strict=True)}
    assert {len(o) for o in orders.values()} == {found["a"]["images"]} and 0 < found["a"]["images"] < 40
    assert len({o.recipe.fill for o in orders.values()}) == 1
    confidences = {name: o.confidence[:, -1].round(5).tolist() for name, o in orders.items()}
    assert len({str(values) for values in confidences.values()}) == 5
    expected = sheet(orders["a"], store, FolderSource(images), 0.3)
    assert (np.asarray(Image.open(tmp_path / "sheet.png")) == np.asarray(expected)).all()
    # Another threshold and border ask nothing of the orders, which are read.
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("order/c/0/0")}
    again = ("--tau", 0.5, "--border", 6)
    code, out, _ = run("sis", *given, "--out", tmp_path / "out", *HOW, *again)
    assert code == 0 and out.startswith("a: ") and "with a confidence of at least 0.5" in out
    assert times and times == {p: p.stat().st_mtime_ns for p in times}
    code, _, err = run("sis", *given, "--out", tmp_path / "out", *HOW, "--no-wrong-class")
    assert code == 2 and "orders made otherwise; wrong_class differs; expected False; got True" in err
    code, out, _ = run("sis", *given, "--out", tmp_path / "out", *HOW, "--no-wrong-class", "--overwrite", "--json")
    assert code == 0 and json.loads(out)["a"]["wrong_class"] is None


def test_a_picture_that_cannot_be_written_is_told_before_the_work(
    store: Store, images: Path, weights: Path, networks: tuple[Path, Path], tmp_path: Path, run: Run
) -> None:
    thesis = tmp_path / "thesis.png"
    thesis.write_bytes(b"years of work")
    given = (store.path, "--images", images, "--weights", weights)
    for command in (("sis", *given, "--out", tmp_path / "o"), ("certify", *given)):
        for picture, words in (
            (thesis, "exists; expected a new file; choose another --picture or use --overwrite-picture"),
            (tmp_path / "no" / "a.png", "no such folder; expected the folder of --picture; make it first"),
        ):
            code, out, err = run(*command, "--picture", picture)
            assert code == 2 and words in err and out == "" and err.count("\n") == 1
    assert thesis.read_bytes() == b"years of work" and not (tmp_path / "o").exists()
    given = (store.path, "--images", images, "--weights", networks[0], "--out", tmp_path / "o", "--fold", "1/3")
    how = ("--step", 600, "--picture", thesis, "--overwrite-picture")
    code, out, err = run("sis", *given, *how, "--tau", 1)
    assert code == 0 and "no picture: no answer has a confidence of 1 to show; choose a lower --tau" in err
    assert out and thesis.read_bytes() == b"years of work"
    code, out, err = run("sis", *given, *how, "--tau", 0.3)
    assert code == 0 and f"wrote {thesis}" in err and thesis.read_bytes()[1:4] == b"PNG"
    assert "too few, so that intervals are too narrow" in out


def test_what_a_sheet_shows(store: Store, images: Path, networks: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    given = (store.path, "--images", images, "--weights", networks[0], "--name", "a", "--out", tmp_path / "o")
    assert run("sis", *given, "--fold", "1/3", "--step", 600, "--tau", 0.3)[0] == 0
    orders = read_orders(tmp_path / "o" / "a")
    picture = np.asarray(sheet(orders, store, FolderSource(images), 0.3))
    classes = min(6, len(np.unique(orders.labels[orders.confidence[:, 0] >= 0.3])))
    assert picture.shape == (classes * (40 + 128) + (classes - 1) * 8, 6 * 136 - 8, 3)


def test_what_is_refused_before_anything_is_made(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    given = (store.path, "--images", images, "--weights", weights, "--out", tmp_path / "o")
    for more, words in (
        (("--ensemble",), "ensemble; expected two or more models; got 1"),
        (("--input-dropout", 1.5), "input dropout; expected a probability above 0 and below 1; got 1.5"),
        (("--tau", 0), "threshold; expected above 0 and at most 1; got 0"),
        (("--fill", "1,2"), "fill; expected three numbers in [0, 1]; got 1, 2"),
        (("--fill", "red"), "expected numbers with commas between, got 'red'"),
        (("--cell", 5), "cell; expected a divisor of the crop of 56 pixels; got 5"),
        (("--border", 28), "border; expected 1 to 27 pixels; got 28"),
        (("--selection", "backward", "--step", 2), "backward selection masks one cell at a time"),
    ):
        code, out, err = run("sis", *given, *more)
        assert code == 2 and words in err and out == "" and err.count("\n") == 1, err
        assert not list(tmp_path.rglob("*.zarr"))
