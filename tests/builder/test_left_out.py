"""A build without some images: ranked and topped as if they were not there, with their maps all the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.store.reading import Store
from tests.conftest import CONFIG, Run


@pytest.fixture(scope="module")
def few(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LeftOut]:
    """A tree without one image of every other class, and those images."""
    folder, left_out = tmp_path_factory.mktemp("few"), []
    for number, path in enumerate(sorted(images.glob("*/*"))):
        if number % 8 == 1:
            left_out.append(path.relative_to(images).with_suffix("").as_posix())
            continue
        copy = folder / path.relative_to(images)
        copy.parent.mkdir(exist_ok=True)
        copy.symlink_to(path)
    return folder, LeftOut(frozenset(left_out))


def made(
    images: Path, weights: Path, out: Path, left_out: LeftOut, config: BuildConfig = CONFIG, **how: object
) -> Store:
    model, sha256 = load_model(weights)
    source = FolderSource(images)
    return build(source, model, out, weights_sha256=sha256, config=config, left_out=left_out, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("basis", [None, "pca"])
@pytest.mark.parametrize("group_by", ["label", "prediction"])
def test_features_and_top_images_are_those_of_a_tree_without_them(
    basis: str | None,
    group_by: object,
    images: Path,
    weights: Path,
    few: tuple[Path, LeftOut],
    tmp_path: Path,
) -> None:
    config = dataclasses.replace(CONFIG, group_by=group_by, attacked=0)  # type: ignore[arg-type]
    folder, left_out = few
    assert len(left_out.ids) == 5
    store = made(images, weights, tmp_path / "a", left_out, config, basis=basis)
    bare = made(folder, weights, tmp_path / "b", LeftOut(), config, basis=basis)
    whole = made(images, weights, tmp_path / "c", LeftOut(), config, basis=basis)
    assert [(f.class_index, f.feature_index) for f in store.features] == [
        (f.class_index, f.feature_index) for f in bare.features
    ]
    importance = [f.importance for f in store.features]
    assert importance == pytest.approx([f.importance for f in bare.features], rel=1e-5)
    assert importance != pytest.approx([f.importance for f in whole.features], rel=1e-5)
    assert len(store) == len(whole) == 40 and len(bare) == 35
    kept = [row for row in range(40) if store.rows[row].image_id not in left_out.ids]
    assert np.array_equal(store.rows.in_top[kept], bare.rows.in_top)
    assert not store.rows.in_top[np.setdiff1d(np.arange(40), kept)].any()
    assert np.abs(store.maps[kept].astype(int) - bare.maps[:].astype(int)).max() <= 1
    facts = left_out.facts(store.rows.image_ids.to_pylist())
    assert facts is not None and store.manifest.left_out == dataclasses.asdict(facts) and facts.images == 5
    assert whole.manifest.left_out == {} and store.manifest.made_of != whole.manifest.made_of


def test_a_pilot_and_an_edition_of_top_images_leave_them_out_too(
    images: Path, weights: Path, few: tuple[Path, LeftOut], tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, edition="top65", attacked=0)
    store = made(images, weights, tmp_path / "a", few[1], config, run=RunConfig(pilot=1, candidates=5))
    bare = made(few[0], weights, tmp_path / "b", LeftOut(), config)
    assert store.rows.image_ids.to_pylist() == bare.rows.image_ids.to_pylist()
    assert [f.feature_index for f in store.features] == [f.feature_index for f in bare.features]


def test_a_stopped_build_does_not_go_on_with_other_images_left_out(
    images: Path, weights: Path, few: tuple[Path, LeftOut], tmp_path: Path, run: Run
) -> None:
    out, ids = tmp_path / "s", tmp_path / "ids.txt"
    ids.write_text("\n".join([*few[1].ids, "elsewhere"]))
    where = ("build", "--images", images, "--weights", weights, "--out", out, "--group-by", "label", "--attacked", 0)
    code, _, err = run(*where, "--leave-out", ids, "--stop-after", "features")
    assert code == 0 and f"1 image to leave out is not in {images}: elsewhere\n" in err
    code, _, err = run(*where, "--resume")
    assert code == 2 and "images, weights, annotations and options" in err
    code, _, err = run(*where, "--leave-out", ids, "--resume")
    assert code == 0 and "5 images left out on request (ids " in err and "), of ranking and top images\n" in err
    code, said, _ = run("info", out)
    (line,) = (line for line in said.splitlines() if line.startswith("left_out "))
    assert line.split(maxsplit=1)[1].startswith("5 images left out on request (ids ")
    ids.write_text("elsewhere\n")
    code, _, err = run(*where, "--leave-out", ids, "--overwrite")
    assert code == 2 and f"none of the 1 images to leave out is in {images}; expected ids such as " in err


def test_images_to_leave_out_of_which_none_is_there_are_refused_before_the_work(
    images: Path, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(SalientError, match="none of the 1 images to leave out is in the images; expected ids such as"):
        made(images, weights, tmp_path / "a", LeftOut(frozenset({"elsewhere"})))
    assert not (tmp_path / "a").exists()


def test_a_class_of_which_all_are_left_out_has_no_features(images: Path, weights: Path, tmp_path: Path) -> None:
    source = FolderSource(images)
    mine = frozenset(source.entry(i).image_id for i in range(len(source)) if source.entry(i).label == 3)
    store = made(images, weights, tmp_path / "a", LeftOut(mine), dataclasses.replace(CONFIG, attacked=0))
    assert {f.class_index for f in store.features} == set(range(10)) - {3}
    with pytest.raises(
        SalientError, match="field left_out; expected nothing, or images, a whole number from 1, and sha256"
    ):
        dataclasses.replace(store.manifest, left_out={"images": 0, "sha256": "a" * 64})
