"""Stores whose features are components: against a reference, and the same bytes however they are made."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from salient_imagenet_data.annotation import sheets
from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.builder import feature_attack
from salient_imagenet_data.builder.build import build, build_until
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.discovery import fitting
from salient_imagenet_data.builder.feature_attack import attacker
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub.export import export
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.comparing import compare
from salient_imagenet_data.store.reading import Store
from tests.builder.test_build import tree
from tests.conftest import CONFIG, Run, answers_for
from tests.warm import Warm

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="command")
def _command(request: pytest.FixtureRequest) -> Run:
    """The command line; `run` is another word here."""
    found: Run = request.getfixturevalue("run")
    return found


def made(images: Path, weights: Path, out: Path, config: BuildConfig = CONFIG, **options: object) -> Store:
    model, sha256 = load_model(weights)
    return build(FolderSource(images), model, out, weights_sha256=sha256, config=config, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pca(images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of components, without answers."""
    return made(images, weights, tmp_path_factory.mktemp("pca") / "store", basis="pca")


def test_against_a_float64_reference_of_the_whole_method(pca: Store, images: Path, weights: Path) -> None:
    """Images one by one through the network in float64, a singular value decomposition of each class's contributions,
    and of each component the maps' combination, where it is positive."""
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
    labels = np.array([source.entry(i).label for i in range(len(source))])
    for c in range(10):
        mine, row = np.flatnonzero(labels == c), net.weight.numpy()[c]
        psi = np.array([maps[i].mean(axis=(1, 2)) * row for i in mine])
        _, _, vectors = np.linalg.svd(psi - psi.mean(axis=0))
        alphas = ((psi - psi.mean(axis=0)) @ vectors.T) * vectors.sum(axis=1)
        spreads = alphas[:, :3].std(axis=0)  # four images have three components
        order = np.argsort(-spreads)
        rows = [f for f in pca.features if f.class_index == c]
        assert [f.feature_index for f in rows] == [12 * c + int(place) for place in order]
        assert [f.rank for f in rows] == [1, 2, 3]
        assert [f.importance for f in rows] == pytest.approx(spreads[order].tolist(), rel=1e-4)
        for slot, place in enumerate(order):
            coefficients = vectors[place].sum() * vectors[place] * row
            scale = max(np.abs(alphas[:, place]).max(), np.abs(coefficients).max())
            for number, i in enumerate(mine):
                combined = np.maximum(np.einsum("f,fhw->hw", coefficients, maps[i]), 0.0)
                assert pca.peaks[i, slot] == pytest.approx(combined.max(), rel=1e-4, abs=1e-5 * scale)
                assert (
                    np.abs(pca.maps[i, slot] / 255.0 * pca.peaks[i, slot] - combined).max()
                    <= 0.51 / 255 * combined.max() + 1e-5 * scale
                )
                assert pca.activations[i, slot] == pytest.approx(alphas[number, place], rel=1e-4, abs=1e-5 * scale)
            best = np.argsort(-alphas[:, place])[:2]
            assert [i for i in mine if pca.rows[i].in_top[slot]] == sorted(mine[best].tolist())
        assert not np.asarray(pca.maps)[mine, 3].any() and not pca.activations[mine, 3].any(), "no fourth component"


def test_the_basis_is_kept_and_named(pca: Store, command: Run) -> None:
    basis = pca.basis
    assert basis is not None and (basis.kind, basis.count, basis.directions.shape) == ("pca", 120, (30, 12))
    assert pca.manifest.feature_count == 120 and "basis.parquet" in pca.manifest.files
    assert pca.manifest.network["basis"] == {"kind": "pca", "features": 30, "neurons": 12, "sha256": basis.sha256}
    code, out, _ = command("info", pca.path)
    assert code == 0 and f"basis pca, 30 combinations of 12 neurons, sha256 {basis.sha256}" in out
    code, out, _ = command("info", pca.path, "--json")
    assert json.loads(out)["network"]["basis"]["sha256"] == basis.sha256
    pca.verify()
    changed = dataclasses.replace(basis, bias=basis.bias + 1e-9)
    assert changed.sha256 != basis.sha256


def test_a_damaged_or_missing_basis_is_named(pca: Store, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pca.path, tmp_path / "store"))
    data = bytearray((copy / "basis.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "basis.parquet").write_bytes(data)
    with pytest.raises(SalientError, match="basis.parquet: damaged; expected sha256"):
        Store(copy).basis  # noqa: B018
    (copy / "basis.parquet").unlink()
    with pytest.raises(SalientError, match=r"incomplete store; expected basis.parquet beside the manifest"):
        Store(copy)


def test_neurons_are_as_they_were(bare_store: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    """Asked for by name or not, a store of neurons has the same bytes and no basis."""
    named = made(images, weights, tmp_path / "store", basis="neurons")
    assert tree(named.path) == tree(bare_store.path)
    assert named.basis is None and "basis" not in named.manifest.network


def test_killed_and_resumed_gives_the_same_bytes(
    pca: Store, images: Path, weights: Path, tmp_path: Path, warm: Warm
) -> None:
    """SIGKILL when components have been found, and while the store is written."""
    out = tmp_path / "store"
    command = ("-m", "tests.builder.units.slow_build", images, weights, out)
    environment = {**os.environ, "SLOW": "0.15", "BASIS": "pca"}
    for marker in ("work/components-*", "basis.parquet"):
        process = warm.start(*command, env=environment)
        while process.poll() is None and not list(out.glob(marker)):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not (out / "manifest.json").exists()
    made(images, weights, out, basis="pca", resume=True)
    assert tree(out) == tree(pca.path)


@pytest.mark.parametrize("how", ["emptied", "cut", "changed"])
def test_damaged_components_are_found_again(pca: Store, images: Path, weights: Path, tmp_path: Path, how: str) -> None:
    out = tmp_path / "store"
    model, sha256 = load_model(weights)
    build_until(
        FolderSource(images), model, out, stop_after="ranking", weights_sha256=sha256, config=CONFIG, basis="pca"
    )
    assert len(pq.read_table(out / "features.parquet")) == 30
    (unit,) = (out / "work").glob("components-*")
    data = bytearray(unit.read_bytes())
    data[len(data) // 3] ^= 1
    unit.write_bytes({"emptied": b"", "cut": bytes(data[:-9]), "changed": bytes(data)}[how])
    made(images, weights, out, basis="pca", resume=True)
    assert tree(out) == tree(pca.path)


def test_threads_and_memory_change_no_byte(
    pca: Store, images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven threads, and classes that are gathered one by one."""
    monkeypatch.setattr(fitting.blocks, "__defaults__", (1,))
    model, sha256 = load_model(weights)
    build_until(
        FolderSource(images),
        model,
        tmp_path / "s",
        stop_after="ranking",
        weights_sha256=sha256,
        config=CONFIG,
        basis="pca",
    )
    assert len(list((tmp_path / "s" / "work").glob("components-*"))) == 10
    made(images, weights, tmp_path / "s", basis="pca", run=RunConfig(threads=7), resume=True)
    assert tree(tmp_path / "s") == tree(pca.path)


def test_two_processes_give_the_same_bytes(pca: Store, images: Path, weights: Path, tmp_path: Path, warm: Warm) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SLOW": "0", "BASIS": "pca"}
    command = ("-m", "tests.builder.units.slow_build", images, weights, tmp_path / "store")
    ended = warm.ranks(2, *command, env=environment)
    said = "".join(done.stderr for done in ended)
    assert [done.returncode for done in ended] == [0, 0], said
    assert said.count("no pilot: components are known when all images have been seen") == 1
    assert tree(tmp_path / "store") == tree(pca.path)


def test_predicted_classes_and_the_top_edition(images: Path, weights: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, group_by="prediction", edition="top65", attacked=0)
    store = made(images, weights, tmp_path / "store", config, basis="pca")
    whole = made(images, weights, tmp_path / "all", dataclasses.replace(config, edition="full"), basis="pca")
    predicted = np.bincount(whole.rows.predictions, minlength=10)
    of_class = np.bincount([f.class_index for f in store.features], minlength=10)
    assert of_class.tolist() == np.minimum(np.maximum(predicted - 1, 0), 4).tolist() and (predicted > 4).any()
    kept = [i for i, row in enumerate(whole.rows) if any(row.in_top)]
    assert 0 < len(kept) < 40 and np.array_equal(store.activations, whole.activations[kept])
    assert np.abs(np.asarray(store.maps).astype(int) - whole.maps[kept].astype(int)).max() <= 1


def test_pairs_of_a_store_of_components(pca: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    """On the same images, in one pass: the maps and activations of the store that they are from, and its basis."""
    annotated = Path(shutil.copytree(pca.path, tmp_path / "annotated"))
    write_annotations(tmp_path / "answers.csv", answers_for(pca))
    annotate(annotated, read_annotations(tmp_path / "answers.csv"))
    model, sha256 = load_model(weights)
    seen, plain = [], model.maps
    model.maps = lambda x: (seen.append(len(x)), plain(x))[1]  # type: ignore[method-assign]
    config = dataclasses.replace(CONFIG, attacked=0)
    carried = build(
        FolderSource(images), model, tmp_path / "val", weights_sha256=sha256, config=config, pairs_of=Store(annotated)
    )
    assert sum(seen) == 40
    assert np.array_equal(np.asarray(carried.maps)[:, :3], np.asarray(pca.maps)[:, :3])
    assert np.array_equal(carried.activations, pca.activations[:, :3])
    assert tree(carried.path)["basis.parquet"] == tree(pca.path)["basis.parquet"]
    assert [(f.feature_index, f.kind) for f in carried.features] == [
        (f.feature_index, f.kind) for f in Store(annotated).features
    ]
    assert [f.importance for f in carried.features] == pytest.approx([f.importance for f in pca.features], rel=1e-4)
    assert compare(carried, pca)["masks"]["mean_absolute_difference"] == 0


def test_pairs_on_fewer_classes_keep_their_numbers(pca: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    """The basis then has the features of these classes only, under the numbers that they had."""
    net = load_model(weights)[0]
    few = tmp_path / "few"
    for name in sorted(p.name for p in images.iterdir())[4:7]:
        shutil.copytree(images / name, few / name)
    model, sha256 = load_model(weights, class_names=FolderSource(few).class_names)
    store = build(FolderSource(few), model, tmp_path / "s", weights_sha256=sha256, config=CONFIG, pairs_of=pca)
    assert {f.feature_index // 12 for f in store.features} == {4, 5, 6} and store.basis is not None
    assert [f.class_index for f in store.features] == [0] * 3 + [1] * 3 + [2] * 3
    mine = [i for i, row in enumerate(pca.rows) if row.label in (4, 5, 6)]
    assert np.allclose(store.activations, pca.activations[mine, :3], atol=1e-6)
    assert len(store.basis.numbers) == 9 and store.manifest.feature_count == 120 == net.weight.numel()
    assert compare(store, pca)["masks"]["mean_absolute_difference"] < 1 / 255


def test_what_does_not_go_together_is_refused(
    pca: Store, bare_store: Store, images: Path, weights: Path, tmp_path: Path, command: Run
) -> None:
    for store, basis, there in ((pca, "neurons", "pca"), (bare_store, "pca", "neurons")):
        with pytest.raises(SalientError, match=f"pairs of store in another basis; expected {there}; got {basis}"):
            made(images, weights, tmp_path / "s", pairs_of=store, basis=basis)
    with pytest.raises(SalientError, match="a basis that is not known; expected neurons, pca.*; got ica"):
        made(images, weights, tmp_path / "s", basis="ica")
    write_annotations(tmp_path / "answers.csv", answers_for(pca))
    answers = ("--annotations", tmp_path / "answers.csv", "--basis", "pca")
    code, _, err = command("build", "--images", images, "--weights", weights, "--out", tmp_path / "s", *answers)
    assert code == 2 and "answers about the features of a build with --basis pca, which finds them anew" in err
    with pytest.raises(SalientError, match="features of another basis; expected neurons, as in .*; got pca"):
        compare(bare_store, pca)
    assert not (tmp_path / "s").exists()


def test_a_stopped_build_of_another_basis_is_refused(images: Path, weights: Path, tmp_path: Path) -> None:
    model, sha256 = load_model(weights)
    build_until(
        FolderSource(images), model, tmp_path / "s", stop_after="features", weights_sha256=sha256, config=CONFIG
    )
    with pytest.raises(SalientError, match="stopped build of other input; .*got other basis"):
        made(images, weights, tmp_path / "s", basis="pca", resume=True)


def test_attacks_climb_the_component(pca: Store, images: Path, weights: Path) -> None:
    model, _ = load_model(weights)
    basis, source = pca.basis, FolderSource(images)
    assert basis is not None
    crops = [model.preprocessing.apply(source.pixels(i)) for i in (0, 20)]
    features = [next(f.feature_index for f in pca.features if f.class_index == pca.rows[i].label) for i in (0, 20)]
    changed = attacker(model, basis, iterations=20)(crops, features)

    def alphas(pictures: list[np.ndarray]) -> np.ndarray:
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            pooled = model.maps_and_features(x)[1].numpy()
        return basis.activations(pooled, np.array(features)[:, None])[:, 0]

    wrong = attacker(model, basis, iterations=20)(crops, features[::-1])
    assert (alphas(changed) > alphas(crops) + 3 * np.abs(alphas(crops)).max()).all()
    assert (alphas(changed) > alphas(wrong)).all()


def test_sheets_attack_the_components_and_name_them(
    pca: Store, images: Path, weights: Path, tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of the attack, so that it takes a second."""
    given, written = [], []
    monkeypatch.setattr(
        feature_attack,
        "attacker",
        lambda model, basis, **o: given.append(basis) or attacker(model, basis, iterations=1, **o),
    )
    write = sheets.write
    monkeypatch.setattr(sheets, "write", lambda *a, **o: (written.append(a[2]), write(*a, **o))[1])
    code, _, err = command("sheets", pca.path, "--images", images, "--out", tmp_path / "sheets", "--attack", weights)
    assert code == 0, err
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 10
    assert [basis.sha256 for basis in given] == [pca.basis.sha256]  # type: ignore[union-attr]
    first = pca.features[0]
    assert f"rank 1, feature {first.feature_index}, component {first.feature_index} by variance" in written


def test_the_page_reads_a_basis_so(pca: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "bases.md").read_text(), re.DOTALL)
    (tmp_path / "components").symlink_to(pca.path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    places = [pca.basis.places(row) for row in names["numbers"]]  # type: ignore[union-attr]
    found = names["basis"].activations(names["pooled"], names["numbers"])
    assert np.allclose(found, [pca.basis.bias[row] for row in places]) and found.shape == (2, 3)  # type: ignore[union-attr]


def test_an_export_carries_the_basis_and_its_card_says_what_features_are(pca: Store, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pca.path, tmp_path / "store"))
    write_annotations(tmp_path / "answers.csv", answers_for(pca))
    out = export(annotate(copy, read_annotations(tmp_path / "answers.csv")), tmp_path / "out")
    exported = Store(out)
    exported.verify()
    assert exported.basis is not None and pca.basis is not None and exported.basis.sha256 == pca.basis.sha256
    card = (out / "README.md").read_text()
    assert "most important features of each class, components of what neurons add to its logit, by the standard" in card
    assert (
        "A map is the feature's combination of channels (`store/basis.parquet`), where that is positive, divided"
        in card
    )
