from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.overlap import iou
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.store.comparing import THRESHOLDS, agreement, compare, summarise, table
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.writing import StoreWriter
from tests.conftest import answers_for


@settings(deadline=None)  # the first call may wait for a busy machine
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_agreement_against_independent_definitions(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((n, 9, 7), dtype=np.float32).round(1) for _ in range(2))
    found = agreement(a, b)
    for i in range(n):
        for j, threshold in enumerate(THRESHOLDS):
            sets = [{p for p in range(63) if float(m[i].ravel()[p]) >= threshold} for m in (a, b)]
            assert found[i, j] == pytest.approx(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
        pair = torch.stack([torch.from_numpy(m[i]).double().ravel() for m in (a, b)])
        assert found[i, 3] == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-9)
        assert found[i, 4] == pytest.approx(float((pair[0] - pair[1]).abs().mean()), abs=1e-7)


def test_identical_constant_and_empty_masks() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    assert np.allclose(agreement(ramp, ramp), [[1, 1, 1, 1, 0]])
    assert agreement(ramp, 1 - ramp)[0, 3] == pytest.approx(-1.0)
    tenth = np.full((1, 8, 8), 0.1, dtype=np.float32)
    both = agreement(tenth, tenth)[0]
    assert np.isnan(both[:4]).all() and both[4] == 0.0
    one_side = agreement(ramp, tenth)[0]
    assert one_side[:3].tolist() == [0, 0, 0] and math.isnan(one_side[3])


def test_summary_leaves_out_what_has_no_value() -> None:
    values = np.array([[1.0, np.nan, np.nan, 0.5, 0.1], [0.0, 0.5, np.nan, np.nan, 0.3]])
    assert summarise(values) == {
        "n": 2,
        "iou": {"0.25": 0.5, "0.5": 0.5, "0.75": None},
        "correlation": 0.5,
        "mean_absolute_difference": pytest.approx(0.2),
    }
    assert summarise(np.empty((0, 5)))["correlation"] is None


def write_store(
    folder: Path,
    maps: dict[str, np.ndarray],
    features: list[int],
    *,
    in_top: dict[str, list[bool]] | None = None,
    class_names: tuple[str, ...] = ("cat",),
    label: int = 0,
    origin: str = "",
    preprocessing: Preprocessing | None = None,
) -> Store:
    """A store of one filled class: maps by image id, (K, 4, 4) uint8."""
    n, k = len(maps), len(features)
    writer = StoreWriter(folder, images=n, features=k, grid=(4, 4), shard_rows=n)
    zeros = np.zeros((n, k), dtype=np.float32)
    writer.write_shard(0, np.stack(list(maps.values())), zeros, zeros)
    box = {"crop_left": 0.0, "crop_top": 0.0, "crop_width": 8.0, "crop_height": 8.0}
    images = [
        {
            "image_id": i,
            "label": label,
            "prediction": 0,
            "width": 8,
            "height": 8,
            **box,
            "in_top": (in_top or {}).get(i, [True] * k),
        }
        for i in maps
    ]
    rows = [Feature(label, class_names[label], f, r) for r, f in enumerate(features, start=1)]
    manifest = Manifest(
        class_names=class_names, images=n, features_per_class=k, grid=(4, 4), shard_rows=n, split="train",
        preprocessing=preprocessing or Preprocessing(8, 8), group_by="label", top_images=65, weights_sha256="",
        architecture="", feature_count=100, quarantined=0, annotations_sha256=None, majority=3, versions={}, files={},
        origin={"kind": origin} if origin else {},
    )  # fmt: skip
    writer.finish(manifest, images, rows, [])
    return Store(folder)


def maps_of(ids: str, k: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {i: rng.integers(0, 256, (k, 4, 4), dtype=np.uint8) for i in ids}


def reference(a: np.ndarray, b: np.ndarray) -> list[float]:
    """(4, 4) uint8 each -> IoU at 0.5 by the evaluation's metric, correlation by numpy, mean difference."""
    big = [
        torch.nn.functional.interpolate(torch.from_numpy(m / 255.0)[None, None].float(), (8, 8), mode="bilinear")[
            0, 0
        ].numpy()
        for m in (a, b)
    ]
    return [
        iou(np.where(big[0] >= 0.5, 1.0, 0.0), big[1] >= 0.5),
        float(np.corrcoef(big[0].ravel(), big[1].ravel())[0, 1]),
        float(np.abs(big[0] - big[1]).mean()),
    ]


def short(summary: dict) -> list[float]:
    return [summary["iou"]["0.5"], summary["correlation"], summary["mean_absolute_difference"]]


def test_pairs_are_joined_by_class_name_feature_and_image(tmp_path: Path) -> None:
    """Other order of images, features and classes on the other side; some of each on one side only."""
    maps_a, maps_b = maps_of("pqrs", 2, 1), maps_of("srx", 3, 2)
    a = write_store(tmp_path / "a", maps_a, [5, 9])
    b = write_store(tmp_path / "b", maps_b, [9, 7, 5], class_names=("dog", "cat"), label=1)
    result = compare(a, b)
    assert result["images"] == {"both": 2, "only_in_first": 2, "only_in_second": 1}
    assert result["pairs"] == {"both": 2, "compared": 2, "only_in_first": 0, "only_in_second": 1}
    five = [reference(maps_a[i][0], maps_b[i][2]) for i in "rs"]
    nine = [reference(maps_a[i][1], maps_b[i][0]) for i in "rs"]
    assert [(p["class_name"], p["feature_index"], p["n"]) for p in result["per_pair"]] == [("cat", 5, 2), ("cat", 9, 2)]
    assert short(result["per_pair"][0]) == pytest.approx(np.mean(five, axis=0), abs=1e-6)
    assert short(result["per_pair"][1]) == pytest.approx(np.mean(nine, axis=0), abs=1e-6)
    assert result["masks"]["n"] == 4 and short(result["masks"]) == pytest.approx(np.mean(five + nine, axis=0), abs=1e-6)
    assert result["unions"] is None and "not annotated" in table(result)


def test_what_a_release_does_not_list_does_not_count(tmp_path: Path) -> None:
    maps_a, maps_b = maps_of("pq", 2, 1), maps_of("pq", 2, 2)
    listed = {"p": [True, False], "q": [False, False]}
    b = write_store(tmp_path / "b", maps_b, [5, 9], in_top=listed)
    assert compare(write_store(tmp_path / "a", maps_a, [5, 9], in_top=listed), b)["masks"]["n"] == 4
    released = write_store(tmp_path / "r", maps_a, [5, 9], in_top=listed, origin="official release")
    for result in (compare(released, b), compare(b, released)):
        assert result["pairs"]["compared"] == 1 and result["masks"]["n"] == 1
        assert short(result["masks"]) == pytest.approx(reference(maps_a["p"][0], maps_b["p"][0]), abs=1e-6)


def test_unions_are_each_stores_own_over_what_both_know(bare_store: Store, store: Store, tmp_path: Path) -> None:
    """Rank 1 and 3 core in one store; in the other rank 3 is spurious."""
    answers = [
        dataclasses.replace(a, answer="background") if a.feature_rank == 3 else a for a in answers_for(bare_store)
    ]
    write_annotations(tmp_path / "answers.csv", answers)
    folder = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    other = annotate(folder, read_annotations(tmp_path / "answers.csv"))
    result = compare(store, other)
    assert result["masks"]["n"] == 160 and short(result["masks"]) == pytest.approx([1, 1, 0])
    expected = {}
    for kind in ("core", "spurious"):
        pairs = [(store.mask(row, kind), other.mask(row, kind)) for row in range(40)]
        found = [agreement(x[None], y[None])[0] for x, y in pairs if x is not None and y is not None]
        expected[kind] = summarise(np.array(found))
        assert 0 < len(found) < 40
    assert result["unions"] == expected and expected["core"]["correlation"] < 0.99
    assert "core masks" in table(result) and "pairs of least correlation:" in table(result)


def test_stores_that_cannot_be_compared(tmp_path: Path) -> None:
    a = write_store(tmp_path / "a", maps_of("pq", 1, 1), [5])
    with pytest.raises(SalientError, match="no image in common; got ids such as p and x"):
        compare(a, write_store(tmp_path / "b", maps_of("x", 1, 1), [5]))
    with pytest.raises(SalientError, match="p: class differs; got 'cat' and 'dog'"):
        compare(a, write_store(tmp_path / "c", maps_of("p", 1, 1), [5], class_names=("dog",)))
    with pytest.raises(SalientError, match="masks cover another part of an image"):
        compare(a, write_store(tmp_path / "d", maps_of("p", 1, 1), [5], preprocessing=Preprocessing(9, 8)))
    nothing = compare(a, write_store(tmp_path / "e", maps_of("p", 1, 1), [6]))
    assert nothing["masks"]["n"] == 0 and nothing["per_pair"] == [] and "-" in table(nothing)
