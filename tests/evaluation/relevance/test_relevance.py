"""A class with a mark that is planted in two places: the clusters are the places, from the command to the page."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.relevance.measuring import SIDE, pooled
from salient_imagenet_data.evaluation.relevance.records import Asked, Relevance
from salient_imagenet_data.evaluation.relevance.relevance import relevance
from salient_imagenet_data.evaluation.relevance.table import read_flags
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.opening import open_networks
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel, save_smallnet
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

IMAGES = 16
FIRST, SECOND = "marked/0", "marked/1"
"""How ids of the images of one place begin."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`images/marked`: dark noise with an orange square top left in ten images, a blue one bottom right in six.
    `images/plain`: three of noise. And a network without training, and its store."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    for name, count in (("marked", IMAGES), ("plain", 3)):
        (folder / "images" / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(100, 130, (64, 64, 3), dtype=np.uint8)
            place = slice(6, 22) if k < 10 else slice(42, 58)
            if name == "marked":
                pixels[place, place] = (255, 200, 120) if k < 10 else (120, 200, 255)
            Image.fromarray(pixels).save(folder / "images" / name / f"{int(k >= 10)}{k:02d}.png")
    torch.manual_seed(1)
    net = SmallNet(SmallNetConfig(2, (8, 12), 1, 2))
    net.head.weight.data.abs_()
    save_smallnet(SmallNetModel(net, Preprocessing(64, 64), ("marked", "plain")), folder / "net.safetensors")
    torch.manual_seed(2)
    net = SmallNet(SmallNetConfig(2, (8, 10), 1, 2))
    save_smallnet(SmallNetModel(net, Preprocessing(64, 64), ("marked", "plain")), folder / "other.safetensors")
    model, sha256 = load_model(folder / "net.safetensors")
    config = BuildConfig(group_by="label", top_features=3, top_images=2, attacked=0)
    build(FolderSource(folder / "images"), model, folder / "store", weights_sha256=sha256, config=config)
    return folder


def classifier_of(planted: Path, name: str = "net.safetensors") -> Classifier:
    (opener,) = open_networks(Store(planted / "store"), weights=[str(planted / name)]).values()
    return opener()


@pytest.fixture(scope="module")
def found(planted: Path) -> Relevance:
    asked = Asked(by="maps")
    return relevance(classifier_of(planted), planted / "store", planted / "images", asked=asked, settings=Settings(5))


def test_clusters_are_the_places_of_the_mark(found: Relevance) -> None:
    marked, plain = found.classes
    assert [len(c.items) for c in marked.clusters] == [10, 6]
    for cluster, begins in zip(marked.clusters, (FIRST, SECOND), strict=True):
        assert {marked.image_ids[item][: len(begins)] for item in cluster.items} == {begins}
    first, second = (c.mean_map for c in marked.clusters)
    for cluster in marked.clusters:
        here = np.isin(np.arange(IMAGES), cluster.items)
        for n in cluster.nominated + cluster.lacking:
            assert n.inside == pytest.approx(marked.measured.units[here, n.unit].mean(), rel=1e-5)
            assert n.outside == pytest.approx(marked.measured.units[~here, n.unit].mean(), rel=1e-5)
        assert all(n.inside > n.outside for n in cluster.nominated)
        assert all(n.inside < n.outside for n in cluster.lacking)
    assert marked.clusters[0].nominated and marked.clusters[1].lacking
    half = SIDE // 2
    assert first[:half, :half].sum() > 2 * first[half:, half:].sum()
    assert second[half:, half:].sum() > 2 * second[:half, :half].sum()
    assert plain.clusters == () and plain.sorts == "3 images are too few to look for clusters"


def test_the_relevance_of_units_is_their_value_times_their_weight(planted: Path, found: Relevance) -> None:
    """As the network itself computes it, and as the ranking of the store has it; maps add up to it."""
    store, (model, _) = Store(planted / "store"), load_model(planted / "net.safetensors")
    source = FolderSource(planted / "images")
    index = {source.entry(i).image_id: i for i in range(len(source))}
    for one in found.classes:
        pixels = np.stack([source.pixels(index[image_id]) for image_id in one.image_ids])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0
        with torch.no_grad():
            pooled_values = model.maps(images).mean(dim=(2, 3))
        wanted = (pooled_values * model.weight[one.label]).numpy()
        assert np.allclose(one.measured.units, wanted, atol=1e-5)
        assert np.allclose(one.measured.maps.sum(axis=(1, 2)), wanted.sum(axis=1), rtol=2e-2)
        features = [f for f in store.features if f.class_index == one.label]
        ranked = one.strongest(3)
        assert [unit for unit, _ in ranked] == [f.feature_index for f in features]
        assert np.allclose([value for _, value in ranked], [f.importance for f in features], atol=1e-5)
        for k, f in enumerate(features):
            assert one.measured.own.shape[2:] == store.maps[0].shape[1:]
            own = one.measured.own[:, k].sum(axis=(1, 2))
            assert np.allclose(own, pooled_values[:, f.feature_index], rtol=5e-2, atol=1e-4)


def test_pooling_keeps_the_sum_and_the_place() -> None:
    maps = torch.zeros(1, 6, 6)
    maps[0, 1, 5], maps[0, 4, 0] = 3.0, 2.0
    assert pooled(maps, (2, 2)).tolist() == [[[0.0, 3.0], [2.0, 0.0]]]


def test_the_command_writes_what_it_prints(planted: Path, found: Relevance, tmp_path: Path, run: Run) -> None:
    common = ("relevance", planted / "store", "--images", planted / "images", "--weights", planted / "net.safetensors")
    common = (*common, "--by", "maps")
    code, out, err = run(*common, "--out", tmp_path / "r", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said == json.loads((tmp_path / "r/relevance.json").read_text())
    assert said["store_sha256"] == hashlib.sha256((planted / "store/manifest.json").read_bytes()).hexdigest()
    assert (said["store"], said["fold"], said["seed"]) == ("store", "1/1", 0)
    assert said["own"] is True and [c["class"] for c in said["classes"]] == ["marked", "plain"]
    assert [len(c["images"]) for c in said["classes"][0]["clusters"]] == [10, 6]
    page = (tmp_path / "r/index.html").read_text()
    assert "0000.png" in page and "0001.png" not in page and found.classes[0].sorts in page
    with Image.open(tmp_path / "r/pictures/0000.png") as picture:
        assert picture.size == (7 * 128 + 6 * 8, 2 * 168 + 8)
    table = list(csv.DictReader((tmp_path / "r/agreement.csv").read_text().splitlines()))
    assert [(row["class"], row["rank"]) for row in table] == [(c, r) for c in ("marked", "plain") for r in "123"]
    marked = found.classes[0]
    flags = read_flags(tmp_path / "r", Store(planted / "store"))
    low = sum(row["low"] == "1" for row in table)
    assert flags.told(tmp_path / "r", Store(planted / "store")) == (
        f"{tmp_path / 'r'}: relevance of 6 of 6 features, {low} with low agreement"
    )
    for row, feature in zip(table, marked.ranked, strict=False):
        a = marked.agreements[feature.slot]
        flag = flags.of[0, feature.feature_index]
        assert (flag.words, flag.low, flag.images) == (a.words, a.low, a.correlation.n)
        assert row["flag"] == a.words and row["low"] == str(int(a.low))
        assert float(row["correlation"]) == pytest.approx(a.correlation.value, abs=2e-3)
    with np.load(tmp_path / "r/maps/0000.npz", allow_pickle=False) as arrays:
        assert arrays["maps"].shape == (IMAGES, SIDE, SIDE) and arrays["own"].shape[:2] == (IMAGES, 3)
        assert arrays["image_ids"].tolist() == list(marked.image_ids)
        assert arrays["clusters"].tolist() == [int(i.startswith(SECOND)) for i in marked.image_ids]
        assert arrays["features"].tolist() == [f.feature_index for f in marked.ranked]
    for name in ("pictures/0001.png", "maps/0007.npz"):  # such as no run wrote
        (tmp_path / "r" / name).write_text("mine")
    (tmp_path / "ids.txt").write_text(found.classes[1].image_ids[0])  # plain
    without = ("--leave-out", tmp_path / "ids.txt")
    code, out, _ = run(*common, "--out", tmp_path / "r", "--class", "marked", "--fold", "1/1", "--seed", 3, *without)
    left = {name: sorted(path.name for path in (tmp_path / "r" / name).iterdir()) for name in ("maps", "pictures")}
    assert left == {"maps": ["0000.npz", "0007.npz"], "pictures": ["0000.png", "0001.png"]}
    assert json.loads((tmp_path / "r/relevance.json").read_text())["seed"] == 3
    words, _, out = out.partition("\n\n")
    assert words.startswith("1 image left out on request (ids ") and words in (tmp_path / "r/index.html").read_text()
    assert code == 0 and out.startswith("marked: 16 images, ") and "plain" not in out
    assert f"  cluster 2: 6 images, such as {marked.image_ids[marked.clusters[1].items[0]]}" in out


def test_files_that_it_did_not_make_are_left(planted: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "relevance.json").write_text("mine")
    given = ("relevance", planted / "store", "--images", planted / "images", "--weights", planted / "net.safetensors")
    code, _, err = run(*given, "--out", tmp_path)
    assert code == 2 and (tmp_path / "relevance.json").read_text() == "mine"
    assert err == (
        f"Error: {tmp_path}/relevance.json: exists, and no page of this command beside it; give another --out\n"
    )


def test_options_that_clusters_hang_on(planted: Path, run: Run) -> None:
    common = ("relevance", planted / "store", "--images", planted / "images", "--class", "marked", "--json")
    own = ("--weights", planted / "net.safetensors")
    maps = json.loads(run(*common, *own, "--by", "maps")[1])["classes"][0]
    three = json.loads(run(*common, *own, "--clusters", 3)[1])["classes"][0]
    assert len(three["clusters"]) == 3 and three["sorts"] == "3 clusters, as was asked" and three["chance"] is None
    units = json.loads(run(*common, *own)[1])["classes"][0]
    assert units["eigenvalues"] != maps["eigenvalues"]
    code, _, err = run(*common, *own, "--clusters", 51)
    assert code == 2 and "expected 2 to 50, half of the images of a class; got 51" in err


def test_another_network_has_clusters_but_no_agreement(planted: Path, run: Run) -> None:
    common = ("relevance", planted / "store", "--images", planted / "images", "--class", "marked")
    code, out, err = run(*common, "--weights", planted / "other.safetensors", "--json")
    said = json.loads(out)
    name = str(planted / "other.safetensors")
    note = (
        f"{name} is not the store's network: its units are no features of it, so agreement of maps and relevance is "
        "left out"
    )
    assert code == 0 and note in err and said["notes"] == [note] and said["own"] is False
    (one,) = said["classes"]
    assert one["agreement"] == [] and one["clusters"] and "rank" not in one["units"][0]


def test_names_of_outputs_say_whose_weights_are_a_class_s(planted: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "names.txt").write_text("plain\nmarked\n")
    given = ("--images", planted / "images", "--weights", planted / "net.safetensors", "--class", "plain", "--json")
    code, out, _ = run("relevance", planted / "store", *given, "--class-names", tmp_path / "names.txt")
    (swapped,) = json.loads(out)["classes"]
    kept = json.loads(run("relevance", planted / "store", *given)[1])["classes"][0]
    assert code == 0 and [u["relevance"] for u in swapped["units"]] != [u["relevance"] for u in kept["units"]]


def test_what_cannot_be_asked_is_one_line(planted: Path, run: Run) -> None:
    common = ("relevance", planted / "store", "--images", planted / "images")
    code, _, err = run(*common, "--weights", planted / "net.safetensors", "--class", "striped")
    assert code == 2 and err == "Error: no class 'striped' in the store; expected one of marked, plain, ...\n"
    asked = Asked(per_class=4)
    kept = relevance(classifier_of(planted), planted / "store", planted / "images", ["marked"], asked, Settings(4))
    assert len(kept.classes[0].rows) == 4 and kept.classes[0].clustering is None
    with pytest.raises(SalientError, match="^mine: its head and last grid are not known; expected a network of a libr"):
        relevance(Classifier("mine", lambda x: x), planted / "store", planted / "images")
    with pytest.raises(SalientError, match="cannot be told apart"):
        relevance(classifier_of(planted), planted / "store", planted / "images", [], Asked(clusters=1))
