from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.build import build, build_until
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.writing import StoreWriter
from tests.conftest import CONFIG, Run
from tests.warm import Warm


@pytest.fixture(name="command")
def _command(request: pytest.FixtureRequest) -> Run:
    """The command line; `run` is another function here."""
    found: Run = request.getfixturevalue("run")
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run(images: Path, weights: Path, out: Path, **options: object) -> Store:
    model, sha256 = load_model(weights)
    return build(FolderSource(images), model, out, weights_sha256=sha256, config=CONFIG, **options)  # type: ignore[arg-type]


def test_against_a_float64_reference_of_the_whole_method(bare_store: Store, images: Path, weights: Path) -> None:
    """Ranking exactly, maps to half a step, activations to float32: images one by one, in float64, with plain loops."""
    model, _ = load_model(weights)
    net = model.double()
    source = FolderSource(images)
    maps = []
    with torch.inference_mode():
        for index in range(len(source)):
            image = (
                Image.fromarray(source.pixels(index)).resize((60, 60), Image.Resampling.BILINEAR).crop((2, 2, 58, 58))
            )
            x = torch.from_numpy(np.asarray(image).astype(np.float64) / 255.0).permute(2, 0, 1)[None]
            maps.append(net.maps(x)[0].numpy())
    labels = [source.entry(i).label for i in range(len(source))]
    weight = net.weight.numpy()
    for c in range(10):
        mine = [i for i in range(len(source)) if labels[i] == c]
        scores = [
            (-sum(float(maps[i][j].mean()) * float(weight[c, j]) for i in mine) / len(mine), j)
            for j in range(weight.shape[1])
        ]
        expected = sorted(scores)[:4]
        rows = [f for f in bare_store.features if f.class_index == c]
        assert [f.feature_index for f in rows] == [j for _, j in expected]
        assert [f.importance for f in rows] == pytest.approx([-s for s, _ in expected], rel=1e-4)
        for slot, (_, j) in enumerate(expected):
            best = sorted(mine, key=lambda i: (-maps[i][j].mean(), i))[:2]
            assert [i for i in mine if bare_store.rows[i].in_top[slot]] == sorted(best)
            for i in mine:
                peak = maps[i][j].max()
                reference = maps[i][j] / peak if peak > 0 else np.zeros((7, 7))
                assert np.abs(bare_store.maps[i, slot] / 255.0 - reference).max() <= 0.51 / 255
                assert bare_store.peaks[i, slot] == pytest.approx(peak, rel=1e-4, abs=1e-6)
                assert bare_store.activations[i, slot] == pytest.approx(maps[i][j].mean(), rel=1e-4, abs=1e-6)


def test_predictions_and_provenance(bare_store: Store, images: Path, weights: Path) -> None:
    model, sha256 = load_model(weights)
    source = FolderSource(images)
    crops = np.stack([model.preprocessing.apply(source.pixels(i)) for i in range(len(source))])
    with torch.inference_mode():
        expected = model(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255).argmax(1).tolist()
    assert [r.prediction for r in bare_store.rows] == expected
    m = bare_store.manifest
    assert (m.weights_sha256, m.architecture, m.feature_count, m.group_by) == (
        sha256,
        "smallnet-8-8-12-b1-s2",
        12,
        "label",
    )


def test_killed_and_resumed_gives_the_same_bytes(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path, warm: Warm
) -> None:
    """SIGKILL at several moments of a real process, then --resume."""
    expected = tree(bare_store.path)
    out = tmp_path / "store"
    command = ("-m", "tests.builder.units.slow_build", images, weights, out)
    killed = 0
    for marker in (
        "work/robustness-*.json",
        "work/features-*-00001.npz",
        "work/maps-*-00001.npz",
        "maps.zarr/maps/c/1/0/0/0",
        "images.parquet",
    ):
        process = warm.start(*command, env={**os.environ, "SLOW": "0.15"})
        while process.poll() is None and not list(out.glob(marker)):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
        with pytest.raises(SalientError, match=r"not a finished store.*a build that was stopped"):
            Store(out)
    assert killed == 5
    run(images, weights, out, resume=True)
    assert tree(out) == expected
    run(images, weights, out, resume=True)
    assert tree(out) == expected


def test_resume_with_other_input_is_refused(images: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    model, sha256 = load_model(weights)
    other = dataclasses.replace(CONFIG, majority=5)
    build_until(FolderSource(images), model, out, stop_after="features", weights_sha256=sha256, config=other)
    before = tree(out)
    with pytest.raises(SalientError, match="stopped build of other input; expected the same images.*got other config;"):
        run(images, weights, out, resume=True)
    assert tree(out) == before


@pytest.mark.parametrize("name", ["features-*-00001.npz", "maps-*-00000.npz"])
@pytest.mark.parametrize("how", ["emptied", "cut", "changed"])
def test_a_damaged_unit_is_done_again(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    out = tmp_path / "store"
    monkeypatch.setattr(StoreWriter, "finish", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(images, weights, out)
    monkeypatch.undo()
    (unit,) = (out / "work").glob(name)
    data = bytearray(unit.read_bytes())
    data[len(data) // 3] ^= 1
    unit.write_bytes({"emptied": b"", "cut": bytes(data[:-9]), "changed": bytes(data)}[how])
    run(images, weights, out, resume=True)
    assert tree(out) == tree(bare_store.path)


def test_a_unit_damaged_while_a_build_runs_is_named(images: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    model, sha256 = load_model(weights)
    plain = model.logits

    def late(features: torch.Tensor) -> torch.Tensor:
        for unit in (out / "work").glob("features-*-00000.npz"):
            unit.write_bytes(b"")
        return plain(features)

    model.logits = late  # type: ignore[method-assign]
    with pytest.raises(SalientError, match=r"features-\w+-00000.npz: damaged since it was written; .*--resume"):
        build(FolderSource(images), model, out, weights_sha256=sha256, config=CONFIG)


def test_resume_of_a_finished_store_with_other_options_is_refused(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    model, sha256 = load_model(weights)
    with pytest.raises(
        SalientError, match="a finished store of other input; expected the same images, weights.*options"
    ):
        build(FolderSource(images), model, out, weights_sha256=sha256, config=BuildConfig(), resume=True)
    assert tree(out) == tree(bare_store.path)


def test_overwriting_through_a_link_makes_the_new_store(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(bare_store.path, tmp_path / "store")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    model, sha256 = load_model(weights)
    config = dataclasses.replace(CONFIG, data_version="2.0.0")
    made = build(FolderSource(images), model, tmp_path / "link", weights_sha256=sha256, config=config, overwrite=True)
    assert made.manifest.data_version == Store(tmp_path / "store").manifest.data_version == "2.0.0"


def test_units_of_another_build_in_the_same_place_are_not_taken(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    """As a build behind a URL may leave them that went on while another one overwrote it."""
    model, sha256 = load_model(weights)
    other = dataclasses.replace(CONFIG, majority=5)
    for config, folder in ((other, "other"), (CONFIG, "store")):
        build_until(
            FolderSource(images), model, tmp_path / folder, stop_after="features", weights_sha256=sha256, config=config
        )
    late = sorted((tmp_path / "other" / "work").glob("*.npz"))
    for unit in late:
        unit.write_bytes(b"of another build")
        shutil.copy(unit, tmp_path / "store" / "work")
    assert len(late) == 3
    run(images, weights, tmp_path / "store", resume=True)
    assert tree(tmp_path / "store") == tree(bare_store.path)


def test_an_unreadable_image_is_quarantined(images: Path, weights: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    victim = sorted((copy / "disk").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:100])
    store = run(copy, weights, tmp_path / "store")
    assert len(store) == 39 and store.manifest.quarantined == 1
    (row,) = pq.read_table(store.path / "quarantine.parquet").to_pylist()
    assert row["image_id"] == f"disk/{victim.stem}" and "cannot decode" in row["reason"]
    for path in (copy / "disk").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(SalientError, match="class 'disk': no readable image; .*got 4 files, all broken"):
        run(copy, weights, tmp_path / "other")


def test_classes_that_do_not_fit_the_weights(images: Path, weights: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    (copy / "bar").rename(copy / "bat")
    with pytest.raises(
        SalientError,
        match="name classes differently; expected an output for class 0, 'bat'; got 1 outputs that fit no class, such as 'bar'",
    ):
        run(copy, weights, tmp_path / "store")
    shutil.rmtree(copy / "bat")
    with pytest.raises(SalientError, match="expected 9 classes, as there; got 10"):
        run(copy, weights, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_annotated_pairs_are_the_features(
    store: Store, images: Path, weights: Path, answers_file: Path, tmp_path: Path
) -> None:
    annotations = read_annotations(answers_file)
    direct = run(images, weights, tmp_path / "store", annotations=annotations)
    assert np.array_equal(direct.maps, store.maps)
    assert [f.kind for f in direct.features] == [f.kind for f in store.features]
    some = tuple(a for a in annotations.answers if a.class_index == 3 and a.feature_rank in (1, 3))
    partial = run(images, weights, tmp_path / "partial", annotations=Annotations(some, "x"))
    assert [(f.class_index, f.rank) for f in partial.features] == [(3, 1), (3, 3)]
    other = next(i for i, r in enumerate(partial.rows) if r.label == 4)
    assert partial.maps[other].sum() == 0 and not any(partial.rows[other].in_top)
    assert not partial.has("core")[4]


def test_annotations_out_of_range(images: Path, weights: Path, answers_file: Path, tmp_path: Path) -> None:
    first, *_ = read_annotations(answers_file).answers
    wrong = type(first)(**{**vars(first), "feature_index": 2047})
    with pytest.raises(SalientError, match="row 1: class 0, feature 2047 not in this model; .*feature below 12"):
        run(images, weights, tmp_path / "store", annotations=Annotations((wrong,), "x"))
    with pytest.raises(
        SalientError, match="have too few answers; expected 3 that agree make a feature spurious; got 1"
    ):
        run(images, weights, tmp_path / "few", annotations=Annotations((first,), "x"))
    assert not (tmp_path / "few").exists()


OPTIONS: dict[str, tuple[object, object]] = {
    "group-by": ("prediction", "group_by"),
    "top-features": (3, "features_per_class"),
    "top-images": (1, "top_images"),
    "majority": (2, "majority"),
    "edition": ("top65", "edition"),
    "precision": ("bf16", "precision"),
    "decoder": ("pillow+torch", "decoder"),
    "data-version": ("2.3.4", "data_version"),
}
"""A value that is not the default, and the manifest's field that must hold it."""


@pytest.mark.parametrize("option", OPTIONS)
def test_options_arrive_in_the_manifest(images: Path, weights: Path, tmp_path: Path, option: str, command: Run) -> None:
    value, field = OPTIONS[option]
    given = {"group-by": "label", "top-features": 4, "top-images": 2, option: value}
    words = [word for name, given_value in given.items() for word in (f"--{name}", given_value)]
    code, _, err = command(
        *("build", "--images", images, "--weights", weights, "--out", tmp_path / "s"),
        *("--device", "cpu", "--attacked", 4, *words),
    )
    assert code == 0, err
    assert getattr(Store(tmp_path / "s").manifest, str(field)) == value


def test_split_and_weights_arrive_in_the_manifest(images: Path, weights: Path, tmp_path: Path, command: Run) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "val").symlink_to(images)
    arguments = ("--weights", weights, "--split", "val", "--group-by", "label", "--device", "cpu", "--attacked", 0)
    code, _, err = command("build", "--images", tmp_path / "root", "--out", tmp_path / "s", *arguments)
    assert code == 0, err
    manifest = Store(tmp_path / "s").manifest
    assert (manifest.split, manifest.weights_sha256) == ("val", load_model(weights)[1])
    code, _, err = command(
        "build", "--images", images, "--out", tmp_path / "t", "--weights", weights, "--weights-sha256", "0" * 64
    )
    assert code == 2 and "0" * 64 in err


def test_classes_without_masks_are_named(images: Path, weights: Path, tmp_path: Path, command: Run) -> None:
    """An untrained network predicts few classes, and ranks features of these only."""
    typed = ("build", "--images", images, "--weights", weights, "--attacked", 0, "--out")
    code, _, err = command(*typed, tmp_path / "s")
    assert code == 0, err
    store = Store(tmp_path / "s")
    predicted = set(store.rows.predictions.tolist())
    lost = [name for index, name in enumerate(store.class_names) if index not in predicted]
    assert 0 < len(lost) < 10
    assert f"{len(lost)} of 10 classes have no features, so no masks: {', '.join(lost)}; no image was predicted" in err
    assert "build with --group-by label" in err
    assert "fewer than" not in err
    code, _, err = command(*typed, tmp_path / "t", "--group-by", "label", "--top-features", 20)
    assert code == 0 and "no masks" not in err
    assert "10 of 10 classes have fewer than 20 features, 12 at least: there are no more" in err
    assert len(Store(tmp_path / "t").features) == 10 * 12
