"""Subsets of ImageNet by wnid folders, with networks that know all thousand classes: built, evaluated, mitigated."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.subsets import TEN, knowing_network, logits_of, write_network, write_tree


@dataclass(frozen=True)
class Layout:
    """names: the class folders. folder: of the images below the root, for `--split`. file: what an image is called.
    beside: files that the published archive has beside the folders."""

    names: Sequence[str]
    folder: str
    file: str
    beside: Sequence[str] = ()


LAYOUTS = {
    "imagenette": Layout(TEN, "train", "{wnid}_{k}.JPEG", ("noisy_imagenette.csv",)),
    "imagenet-100": Layout(wnids()[3::10], "train", "{wnid}_{k}.JPEG", ("Labels.json",)),
    "the 232 of the release": Layout(wnids()[1:929:4], "train", "{wnid}_{k}.JPEG"),
    "imagenet-r": Layout(wnids()[2::5], ".", "art_{k}.jpg", ("README.txt",)),
    "imagenet-a": Layout(wnids()[4::5], ".", "0.00{k}_digital clock _ dial_0.86.jpg", ("README.txt",)),
    "hard imagenet": Layout(wnids()[400:550:10], "val", "ILSVRC2012_val_{k:08d}_{wnid}.JPEG"),
    "rival10, two a class": Layout(wnids()[250:450:10], "train", "{wnid}_{k}.JPEG"),
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each layout, two images a class, six of Imagenette's."""
    made = {}
    for number, (name, layout) in enumerate(LAYOUTS.items()):
        root = tmp_path_factory.mktemp(f"tree{number}")
        for place, wnid in enumerate(layout.names):
            count = 6 if layout.names == TEN else 2
            write_tree(root / layout.folder, [wnid], count, layout.file, first=place * count)
        for other in layout.beside:
            (root / other).write_text("{}")
        made[name] = root
    return made


def build(run: Run, images: Path, weights: Path, out: Path, *more: object, split: str = "train") -> tuple[Store, str]:
    code, _, err = run("build", "--images", images, "--split", split, "--weights", weights, "--out", out, *more)
    assert code == 0, err
    return Store(out), err


@dataclass(frozen=True)
class Truth:
    """What a few lines of numpy say of a network and a folder. labels: among the folder's classes. over_all: -1 for
    another of ImageNet's."""

    labels: NDArray[np.int64]
    over_all: NDArray[np.int64]
    among: NDArray[np.int64]


def truth(net: torch.nn.Module, folder: Path, names: Sequence[str]) -> Truth:
    said, logits = logits_of(net, folder)  # type: ignore[arg-type]
    columns = [wnids().index(name) for name in sorted(names)]
    places = {column: place for place, column in enumerate(columns)}
    labels = np.array([places[wnids().index(name)] for name in said])
    over_all = np.array([places.get(int(k), -1) for k in logits.argmax(axis=1)])
    return Truth(labels, over_all, logits[:, columns].argmax(axis=1))


def averaged(hits: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    return float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_with_a_network_of_a_thousand_classes(
    name: str, trees: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    layout, net = LAYOUTS[name], knowing_network(LAYOUTS[name].names, 2)
    weights, folder = write_network(tmp_path / "w.safetensors", net), trees[name] / layout.folder
    split = "train" if layout.folder == "." else layout.folder
    store, err = build(run, trees[name], weights, tmp_path / "store", "--group-by", "label", split=split)
    assert store.class_names == tuple(sorted(layout.names))
    found = truth(net, folder, layout.names)
    assert store.rows.labels.tolist() == found.labels.tolist()
    assert store.rows.predictions.tolist() == found.over_all.tolist()
    record = store.manifest.network["classes"]
    columns = [wnids().index(n) for n in store.class_names]
    assert (record["of"], record["by"], record["outputs"]) == (1000, "name", columns)
    assert f"{len(columns)} of the network's 1000 outputs" in err

    write_annotations(tmp_path / "answers.csv", answers(store))
    assert run("apply", tmp_path / "store", tmp_path / "answers.csv")[0] == 0
    command = ["evaluate", tmp_path / "store", "--images", trees[name], "--weights", weights, "--no-controls", "--json"]
    code, out, err = run(*command)
    assert code == 0, err
    (result,) = json.loads(out).values()
    wanted = {
        "all": averaged(found.over_all == found.labels, found.labels),
        "store": averaged(found.among == found.labels, found.labels),
    }
    assert {k: v["value"] for k, v in result["by_reading"].items()} == pytest.approx(wanted)
    assert result["clean_accuracy"]["value"] == pytest.approx(wanted["all"])
    assert (result["outputs"], result["reading"]) == (1000, "all")
    assert result["outside"] == int((found.over_all < 0).sum())


@pytest.fixture(scope="module")
def nette(trees: dict[str, Path]) -> Path:
    return trees["imagenette"]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of `knowing_network`, which says what its outputs are."""
    return write_network(tmp_path_factory.mktemp("net") / "thousand.safetensors", knowing_network())


def importances(folder: Path, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """(10, F) mean feature of each group's images times the head's row of the class."""
    from PIL import Image

    net, files = knowing_network(), sorted(folder.glob("*/*.*"))
    x = torch.from_numpy(np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        features = net.maps(x).mean(dim=(2, 3)).double().numpy()
    rows = net.head.weight.detach().double().numpy()[[wnids().index(n) for n in TEN]]
    means = [features[groups == label].mean(axis=0) if (groups == label).any() else 0 * rows[0] for label in range(10)]
    return np.stack(means) * rows


@pytest.mark.parametrize("reading", ["all", "store"])
def test_a_ranking_by_prediction_on_a_subset(
    reading: str, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    store, err = build(run, nette, thousand, tmp_path / "store", "--classes", reading)
    found = truth(knowing_network(), nette / "train", TEN)
    outside = int((found.over_all < 0).sum())
    assert outside > 3
    mine = found.over_all if reading == "all" else found.among
    assert store.rows.predictions.tolist() == mine.tolist()
    told = {"all": outside, "store": 0}[reading]
    assert store.manifest.network["predictions"] == {"among": reading, "images": 60, "outside": told}
    line = f"{outside} of 60 images are predicted as classes that the store has not, kept as -1; they rank no class"
    assert (line in err) == (reading == "all")
    wanted = importances(nette / "train", mine)
    for feature in store.features:
        ranked = np.argsort(-wanted[feature.class_index], kind="stable")
        assert feature.feature_index == ranked[feature.rank - 1]
        assert feature.importance == pytest.approx(wanted[feature.class_index, feature.feature_index], rel=1e-4)


def answers(store: Store, people: int = 3) -> list[Answer]:
    """Rank 1 core and rank 2 spurious, of every class, under ImageNet's numbers."""
    words = {1: "main_object", 2: "background"}
    return [
        Answer(f"p{person}", f.class_name, wnids().index(f.class_name), f.feature_index, f.rank, words[f.rank], 4, "so")
        for f in store.features
        if f.rank in words
        for person in range(people)
    ]


@pytest.fixture(scope="module")
def answered(nette: Path, thousand: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers about Imagenette's pairs as a file about ImageNet has them: by its class numbers, other classes beside."""
    from salient_imagenet_data.builder.build import build as build_store
    from salient_imagenet_data.builder.config import BuildConfig
    from salient_imagenet_data.images.folder import FolderSource
    from salient_imagenet_data.networks.robust import load_model

    folder = tmp_path_factory.mktemp("answers")
    source = FolderSource(nette / "train")
    model, sha256 = load_model(thousand, class_names=source.class_names)
    store = build_store(
        source, model, folder / "store", weights_sha256=sha256, config=BuildConfig(group_by="label", top_features=2)
    )
    others = [Answer(f"p{k}", "n02119789", 277, 3, 1, "main_object", 4, "") for k in range(3)]
    others += [Answer(f"p{k}", "n02119022", 278, 4, 1, "background", 4, "") for k in range(3)]
    write_annotations(folder / "answers.csv", others[:3] + answers(store) + others[3:])
    return folder / "answers.csv"


def test_answers_about_a_thousand_classes_on_a_tree_of_ten(
    answered: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    store, err = build(run, nette, thousand, tmp_path / "a", "--annotations", answered, "--group-by", "label")
    line = "2 of 12 classes of the answers are not here, and 6 answers about them are left out: kit fox, red fox"
    assert line in err
    assert [f.kind for f in store.features] == ["core", "spurious"] * 10
    assert [f.class_name for f in store.features[::2]] == list(TEN)
    build(run, nette, thousand, tmp_path / "b", "--group-by", "label", "--top-features", 2)
    code, out, err = run("apply", tmp_path / "b", answered)
    assert code == 0 and line in err and "10 core, 10 spurious, 0 without answers" in out
    assert [f.feature_index for f in Store(tmp_path / "b").features] == [f.feature_index for f in store.features]


@pytest.fixture(scope="module")
def store(answered: Path, nette: Path, thousand: Path) -> Path:
    """An annotated store of Imagenette's layout, beside its answers."""
    from salient_imagenet_data.annotation.applying import annotate
    from salient_imagenet_data.annotation.files import read_annotations
    from salient_imagenet_data.annotation.restricting import of_classes

    place = answered.parent / "store"
    annotate(place, of_classes(read_annotations(answered), Store(place).class_names).annotations)
    return place


def test_both_readings_with_controls(store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run) -> None:
    command = ["evaluate", store, "--images", nette, "--weights", thousand, "--sigma", "0.5", "--top-k", "0"]
    code, out, err = run(*command, "--out", tmp_path / "all")
    assert code == 0, err
    assert "It answers among its 1000 classes; the store has not 990 of them, and" in out
    code, out, err = run(*command, "--classes", "store", "--out", tmp_path / "store")
    assert code == 0, err
    assert "It answers among the store's 10 classes alone, of the 1000 that it knows." in out
    results = {
        name: json.loads((tmp_path / name / "report.json").read_text())["models"][0] for name in ("all", "store")
    }
    assert results["all"]["by_reading"] == results["store"]["by_reading"]
    names = [[c["name"] for c in results[n]["conditions"]] for n in results]
    assert names[0] == names[1] and any("random" in name for name in names[0])
    # Among fewer classes nobody is wrong more often, under no condition.
    pairs = [
        (a["accuracy"]["value"], s["accuracy"]["value"])
        for a, s in zip(*(results[n]["conditions"] for n in results), strict=True)
    ]
    assert all(a <= s for a, s in pairs) and any(a < s for a, s in pairs)
    # The probabilities of the two files are of one softmax: among all, and renewed among ten.
    from salient_imagenet_data.evaluation.run.predictions import read_predictions

    files = {n: read_predictions(next((tmp_path / n / "predictions").glob("*.parquet")), 10) for n in results}
    over_all, among = (files[n].conditions["clean"] for n in ("all", "store"))
    assert over_all.classes.shape[1] == 1000 and among.classes.shape[1] == 10
    table = np.zeros(over_all.classes.shape)
    np.put_along_axis(table, over_all.classes, over_all.probabilities.astype(float), axis=1)
    ten = np.zeros(among.classes.shape)
    np.put_along_axis(ten, among.classes, among.probabilities.astype(float), axis=1)
    inside = table[:, :10].sum(axis=1, keepdims=True)
    assert np.allclose(ten[inside[:, 0] > 1e-3], (table[:, :10] / inside)[inside[:, 0] > 1e-3], atol=1e-4)
    assert over_all.other_reading is not None and (over_all.other_reading == among.predicted).all()
    assert among.other_reading is not None and (among.other_reading == over_all.predicted).all()
    # Scored again without the network it says the same; beside the other reading it is refused.
    code, out, _ = run("score", store, files["all"].path, "--json")
    assert code == 0 and next(iter(json.loads(out).values()))["by_reading"] == results["all"]["by_reading"]
    code, _, err = run("score", store, files["all"].path, files["store"].path)
    assert code == 2 and ("different classes" in err or "of one model" in err)
    code, _, err = run(*command, "--classes", "store", "--out", tmp_path / "all")
    assert code == 2 and "reading differs" in err


def test_info_says_which_outputs_are_the_stores(store: Path, run: Run) -> None:
    code, out, _ = run("info", store)
    assert code == 0 and "classes by name, 10 of the network's 1000 outputs: 0 n01440764 tench," in out
    code, out, _ = run("info", store, "--json")
    assert json.loads(out)["network"]["classes"]["outputs"] == [wnids().index(n) for n in TEN]


def test_pairs_of_the_training_images_on_the_validation_set(
    store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    """In one command and one pass, on fewer classes and in another order of folders' numbers."""
    val = write_tree(tmp_path / "val", TEN[3:8], 3, "ILSVRC2012_val_{k:08d}_{wnid}.JPEG", first=50)
    for number, folder in enumerate(sorted(val.iterdir())):  # ids are unique over classes
        for k, file in enumerate(sorted(folder.iterdir())):
            file.rename(folder / f"ILSVRC2012_val_{10 * number + k:08d}.JPEG")
    command = ["build", "--images", val, "--split", "val", "--out", tmp_path / "v", "--pairs-of", store]
    code, _, err = run(*command, "--weights", thousand)
    assert code == 0, err
    assert "5 classes of store are not here: tench, English springer, cassette player, golf ball, parachute" in err
    train, made = Store(store), Store(tmp_path / "v")
    assert made.class_names == TEN[3:8] and made.manifest.split == "val" and made.manifest.annotations_sha256
    for mine in made.features:
        theirs = next(f for f in train.features if (f.class_name, f.rank) == (mine.class_name, mine.rank))
        same = ("feature_index", "kind", "cue", "votes_main_object", "votes_background", "reasons")
        assert [getattr(mine, n) for n in same] == [getattr(theirs, n) for n in same] and mine.kind is not None
    assert len(made.features) == 10 and made.manifest.network["pairs_of"]["images"] == 60
    # The maps are those of the features, measured apart.
    from PIL import Image

    net, files = knowing_network(), sorted(val.glob("*/*.JPEG"))
    x = torch.from_numpy(np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        maps = net.maps(x).numpy()
    for row in range(len(made)):
        pair = next(f for f in made.features if f.class_index == made.rows[row].label and f.rank == 2)
        wanted = maps[row, pair.feature_index]
        assert np.abs(made.maps[row][1] / 255 - wanted / max(wanted.max(), 1e-12)).max() <= 0.5 / 255 + 1e-4
        assert made.activations[row, 1] == pytest.approx(wanted.mean(), rel=1e-4)
    assert run("evaluate", tmp_path / "v", "--images", val, "--weights", thousand, "--no-controls")[0] == 0

    other = write_network(tmp_path / "other.safetensors", knowing_network(TEN[1:]))
    code, _, err = run(*command, "--weights", other, "--overwrite")
    assert code == 2 and "the pairs of store were found with another network" in err
    assert run(*command, "--weights", other, "--overwrite", "--trust-annotations")[0] == 0
    code, _, err = run(*command, "--weights", thousand, "--annotations", "official")
    assert code == 2 and "give --annotations or --pairs-of, not both" in err
    none = write_tree(tmp_path / "none", ["n02119789"], 1, "{wnid}_{k}.JPEG")
    code, _, err = run("build", "--images", none, "--out", tmp_path / "n", "--pairs-of", store, "--weights", thousand)
    assert code == 2 and "no pairs of these classes; expected classes such as kit fox" in err


@pytest.mark.parametrize("reading", ["all", "store"])
def test_a_head_is_retrained_among_all_classes_or_the_stores(
    reading: str, store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "w.safetensors"
    command = ["retrain-head", store, "--images", nette, "--weights", thousand, "--classes", reading, "--out", out]
    code, said, err = run(*command, "--decay", "0.01")
    assert code == 0 and "10 of the network's 1000 outputs" in err, err
    before, after = load_file(thousand), load_file(out)
    changed = set((before["head.weight"] != after["head.weight"]).any(dim=1).nonzero().flatten().tolist())
    ten, neighbour = {wnids().index(n) for n in TEN}, wnids().index("n01443537")
    assert len(changed & ten) >= 5  # where all is right already, next to nothing changes
    assert neighbour in changed if reading == "all" else changed <= ten
    code, said, _ = run("evaluate", store, "--images", nette, "--weights", out, "--no-controls", "--json")
    (result,) = json.loads(said).values()
    assert result["outputs"] == 1000
    if reading == "all":  # it learned that nothing here is a goldfish
        assert result["clean_accuracy"]["value"] > 0.95


@pytest.mark.parametrize("reading", ["all", "store"])
def test_fine_tuning_keeps_all_outputs(
    reading: str, store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "w.safetensors"
    command = ["finetune", store, "--images", nette, "--weights", thousand, "--classes", reading, "--out", out]
    code, _, err = run(*command, "--loss", "none", "--weight-decay", "0")
    assert code == 0, err
    before, after = load_file(thousand)["head.bias"], load_file(out)["head.bias"]
    assert after.shape == (1000,)
    neighbour = wnids().index("n01443537")
    assert (before[neighbour] != after[neighbour]) == (reading == "all")


def test_where_a_thousand_class_network_looks(store: Path, nette: Path, thousand: Path, run: Run) -> None:
    code, out, err = run("align", store, "--images", nette, "--weights", thousand, "--json", "--skip-missing")
    assert code == 0, err
    figures = next(iter(json.loads(out).values()))
    assert figures["iou"]["n"] > 50 and np.isfinite(figures["mass"]["value"])


@pytest.mark.parametrize("name", ["build", "evaluate", "align", "retrain-head", "finetune", "sis"])
def test_what_outputs_are_called_is_said_to_each_command(
    name: str, store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    """The file's own names are set aside: three are too few, and a thousand in another order are other outputs."""
    first = [] if name == "build" else [store]
    out = [] if name == "align" else ["--out", tmp_path / "out.safetensors"]
    command = [name, *first, "--images", nette, "--weights", thousand, *out, "--class-names", tmp_path / "names.txt"]
    (tmp_path / "names.txt").write_text("tench\ngoldfish\nchurch\n")
    code, said, err = run(*command)
    assert code and "names of other outputs; expected 1000 names; got 3" in said + err
    (tmp_path / "names.txt").write_text("\n".join(["mine", *wnids()[1:]]))
    code, said, err = run(*command)
    assert (
        code and "an output for class 0, 'n01440764'; got 991 outputs that fit no class, such as 'mine'" in said + err
    )


def test_sufficient_pixels_of_a_thousand_class_network(
    store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    command = ["sis", store, "--images", nette, "--weights", thousand, "--out", tmp_path / "sis", "--tau", "0.5"]
    code, out, err = run(*command, "--cell", "8", "--step", "4", "--json")
    assert code == 0 and "10 of the network's 1000 outputs" in err, err
    (figures,) = json.loads(out).values()
    assert figures["images"] == 60 and figures["accuracy"]["value"] > 0.95  # among the ten


MODELS = """
import torch
from tests.subsets import knowing_network
from salient_imagenet_data.imagenet import classes
def bare():
    return knowing_network()
def named():
    net = knowing_network()
    net.class_names = list(classes().values())
    return net
def function():
    net = knowing_network()
    return lambda x: net(x)
"""


def test_a_function_of_more_classes_than_the_store(
    store: Path, nette: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "subset_models.py").write_text(MODELS)
    (tmp_path / "names.txt").write_text("\n".join(wnids()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["evaluate", store, "--images", nette, "--no-controls", "--json"]
    models = [f"subset_models:{name}" for name in ("bare", "named", "function")]
    code, out, err = run(*command, "--model", models[0])
    assert code == 2 and "expected (batch, 10) logits; got (60, 1000); name its outputs with --class-names" in err
    code, named, err = run(*command, "--model", models[1])
    assert code == 0, err
    found = [json.loads(named)]
    for model in (models[0], models[2]):
        code, out, err = run(*command, "--model", model, "--class-names", "names.txt")
        assert code == 0, err
        found.append(json.loads(out))
    truth_ = truth(knowing_network(), nette / "train", TEN)
    for result in found:
        (one,) = result.values()
        assert one["clean_accuracy"]["value"] == pytest.approx(
            averaged(truth_.over_all == truth_.labels, truth_.labels)
        )
        assert one["model"]["classes"]["of"] == 1000
    code, _, err = run(*command, "--model", models[0], "--class-names", "nowhere.txt")
    assert code == 2 and "nowhere.txt: no list of class names" in err


def test_a_timm_network_without_labels_has_imagenets_in_their_order(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
    from safetensors.torch import save_file

    from salient_imagenet_data.errors import SalientError
    from salient_imagenet_data.networks.opening import open_network

    torch.manual_seed(0)
    net = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    opened = open_network("timm:test_resnet", ("church", "n01440764"), tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        theirs, ours = net((x - opened.model.net.mean) / opened.model.net.std), opened.model(x)  # type: ignore[union-attr]
    assert torch.equal(ours[:, :2], theirs[:, [497, 0]]) and torch.equal(ours[:, 2:4], theirs[:, [1, 2]])
    among = opened.among("store").model(x)
    assert torch.equal(among, theirs[:, [497, 0]])
    with pytest.raises(SalientError, match="names none; expected names for its 1000 outputs, or 2 of them as there"):
        open_network("timm:test_resnet", ("mine", "n01440764"), tmp_path / "w.safetensors")
    named = open_network(
        "timm:test_resnet",
        ("mine", "n01440764"),
        tmp_path / "w.safetensors",
        outputs=("mine", *wnids()[1:999], wnids()[0]),
    )
    assert named.class_map is not None and named.class_map.outputs == (0, 999)
    with pytest.raises(SalientError, match="names of other outputs; expected 1000 names; got 2"):
        open_network("timm:test_resnet", ("mine",), tmp_path / "w.safetensors", outputs=("mine", "other"))


def test_the_pages_commands_run_as_they_are_pasted(
    thousand: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "subsets.md").read_text()
    commands = [line for block in page.split("```")[1::2] for line in block.strip().splitlines()]
    assert len(commands) == 8 and all(command.startswith("salient-imagenet ") for command in commands)
    for place, wnid in enumerate(TEN):
        write_tree(tmp_path / "imagenette" / "train", [wnid], 4, "{wnid}_{k}.JPEG")
        write_tree(tmp_path / "imagenette" / "val", [wnid], 2, "ILSVRC2012_val_{k:08d}.JPEG", first=10 + 2 * place)
    write_network(tmp_path / "robust.safetensors", knowing_network())
    monkeypatch.chdir(tmp_path)
    words = {"1": "main_object", "2": "background"}
    said = {}
    for command in commands:
        code, out, err = run(*shlex.split(command)[1:])
        assert code == 0, (command, err)
        said[command.split()[1]] = out
        if " sheets " in command:  # what a person does between
            with (tmp_path / "sheets" / "answers.csv").open() as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                row |= {"annotator": "me", "answer": words.get(row["feature_rank"], "main_object")}
            with (tmp_path / "answers.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    assert "classes by name, 10 of the network's 1000 outputs: 0 n01440764 tench, 217 n02102040 English" in said["info"]
    assert [path.name for path in sorted(Path("sheets").glob("*.png"))][2] == "0002-cassette_player.png"
    report = Path("report/index.html").read_text()
    assert "cassette player" in report and "n02979186" not in report
    assert Store("val_store").manifest.split == "val" and len(Store("val_store")) == 20
    assert {f.kind for f in Store("val_store").features} == {"core", "spurious"}
