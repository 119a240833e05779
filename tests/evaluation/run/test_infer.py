"""Inference: what is written, kept, resumed, and not shown to the network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.plan.plan import Conditions, make_plan
from salient_imagenet_data.evaluation.run import infer as infer_module
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.loaders.missing.hiding import hiding
from salient_imagenet_data.loaders.missing.layers import LayerMasking
from salient_imagenet_data.loaders.missing.tokens import TokenDropping
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import UNFINISHED
from tests.evaluation.runs import ALL, Counting, pixels_of, run, same, sensitive


def test_batch_size_workers_and_order_change_nothing(store: Store, images: Path, tmp_path: Path) -> None:
    plan = ALL.plan(store)
    first = run(store, images, tmp_path / "a.parquet", plan)
    assert same(first, run(store, images, tmp_path / "b.parquet", plan, batch_size=7, workers=2))
    joined = join(store, FolderSource(images), rows=plan.rows.tolist())
    backwards = Joined(store, joined.source, joined.rows[::-1].copy(), joined.indices[::-1].copy(), ())
    found = infer_module.answers_of(Classifier("linear", sensitive), backwards, plan, Settings(), plan.conditions)
    ((_, answers),) = list(found)
    assert same(first, PredictionsFile(Path("c"), "linear", {}, answers))
    assert not same(first, run(store, images, tmp_path / "d.parquet", plan, seed=9))


@pytest.mark.parametrize("kind", ["transformer", "convolutional"])
def test_missing_pixels_are_not_shown(store: Store, images: Path, kind: str) -> None:
    torch.manual_seed(0)
    if kind == "transformer":
        net: torch.nn.Module = torchvision.models.VisionTransformer(56, 8, 1, 2, 16, 32, num_classes=10).eval()
        torch.nn.init.normal_(net.heads[0].weight)  # type: ignore[index,arg-type]  # zeros by default
    else:
        net = torchvision.models.resnet18(num_classes=10).eval()
    hide = (TokenDropping if kind == "transformer" else LayerMasking)(net)
    source = FolderSource(images)
    plan = dataclasses.replace(
        make_plan(store, corruptions=["missing"]), conditions=(Condition("missing", "spurious"),)
    )
    joined = join(store, source, rows=plan.rows.tolist())
    settings = Settings(batch_size=11, top_k=None)
    found = [b for _, b in infer_module.answers_of(Classifier("net", net), joined, plan, settings, plan.conditions)]
    compared = 0
    for answers in found:
        given = answers["missing@spurious"]
        for image_id, order, p in zip(given.image_ids, given.classes, given.probabilities, strict=True):
            row = store.rows.image_ids.to_pylist().index(image_id)
            mask = torch.from_numpy(store.mask(row, "spurious", top_only=True))[None, None]
            with torch.inference_mode():
                expected = hide(pixels_of(store, source, row)[None], mask).softmax(dim=1)[0]
                shown = net(pixels_of(store, source, row)[None]).softmax(dim=1)[0]
            assert np.allclose(p, expected[order].numpy(), atol=1e-4)
            compared += not np.allclose(expected.numpy(), shown.numpy(), atol=1e-3)
    assert compared > 5
    with pytest.raises(SalientError, match="pixels cannot be missing to a function; expected an nn.Module"):
        evaluate(sensitive, store, source, Conditions(corruptions=("missing",)))


def test_missing_pixels_of_models_by_name_and_of_the_builders(
    store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    """Both normalise first, which layer masking must follow."""
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "w.pt")
    named = open_network("torchvision:resnet18", store.class_names, tmp_path / "w.pt")
    ours, _ = load_model(weights)
    whole = torch.zeros(2, 1, 56, 56)
    half = whole.clone()
    half[:, :, :, :28] = 1.0
    x = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    for model in (named.model, ours):
        hide = hiding(model)
        with torch.inference_mode():
            assert torch.allclose(hide(x, whole), model(x), atol=1e-4)
            changed = x.clone()
            changed[:, :, :, :28] = 0.5
            assert torch.allclose(hide(changed, half), hide(x, half), atol=1e-5)
            assert not torch.allclose(hide(x, half), model(x), atol=1e-4)
    result = evaluate(ours, store, FolderSource(images), Conditions(corruptions=("missing",)))
    assert {c.corruption for c in result.conditions} == {"noise_0.25", "missing"}


def test_no_noise_is_clean(store: Store, images: Path, tmp_path: Path) -> None:
    file = run(store, images, tmp_path / "a.parquet", make_plan(store, ALL.protocols, ["noise_0"]), top_k=None)
    clean = dict(zip(file.conditions[CLEAN].image_ids, file.conditions[CLEAN].probabilities, strict=True))
    for answers in file.conditions.values():
        for image_id, p in zip(answers.image_ids, answers.probabilities, strict=True):
            assert np.allclose(p, clean[image_id], atol=1e-6)


@pytest.mark.parametrize("damaged", [None, "emptied", "cut"])
def test_stopped_and_resumed_gives_the_same_and_repeats_little(
    damaged: str | None, store: Store, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(store, corruptions=["noise_0.5"], controls=False)
    whole = Counting()
    expected = run(store, images, tmp_path / "a.parquet", plan, model=whole, batch_size=4)
    monkeypatch.setattr(infer_module, "PART_IMAGES", 8)
    with pytest.raises(RuntimeError, match="power cut"):
        run(store, images, tmp_path / "b.parquet", plan, model=Counting(whole.images - 5), batch_size=4)
    assert not (tmp_path / "b.parquet").exists()
    last = max((tmp_path / "b.parquet.work").glob("*.parquet"))
    if damaged:  # as a power cut may leave what was written last
        last.write_bytes(last.read_bytes()[: -100 if damaged == "cut" else 0])
    rest = Counting()
    assert same(expected, run(store, images, tmp_path / "b.parquet", plan, model=rest, batch_size=4))
    assert 0 < rest.images < whole.images / 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_what_a_kill_leaves_beside_a_finished_file_goes_and_what_others_put_there_stays(
    store: Store, images: Path, tmp_path: Path
) -> None:
    plan = make_plan(store, corruptions=["noise_0.5"], controls=False)
    run(store, images, tmp_path / "a.parquet", plan)
    work = tmp_path / "a.parquet.work"
    work.mkdir()
    (work / infer_module.RUN).write_text("of a run that was killed after its last write")
    (work / "000000000-000000008.parquet").write_bytes(b"part")
    run(store, images, tmp_path / "a.parquet", plan, model=Counting(0))
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]
    work.mkdir()
    (work / f"{infer_module.RUN}{UNFINISHED}").write_text("killed while it wrote the first of its files")
    run(store, images, tmp_path / "a.parquet", plan, model=Counting(0))
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]
    work.mkdir()
    (work / "thesis.txt").write_text("mine")
    for _ in range(2):
        with pytest.raises(SalientError, match=r"not the parts of a run; expected .* run.sha256 in it.*thesis.txt"):
            run(store, images, tmp_path / "a.parquet", plan)
        assert (work / "thesis.txt").read_text() == "mine"
        (work / infer_module.RUN).write_text("also beside ours")


def test_conditions_that_are_there_are_not_run_again(store: Store, images: Path, tmp_path: Path) -> None:
    path, none, more = tmp_path / "a.parquet", Counting(), Counting()
    few = make_plan(store, corruptions=["noise_0.5"], controls=False)
    many = make_plan(store, corruptions=["noise_0.5", "noise_1"], controls=False)
    run(store, images, path, few)
    run(store, images, path, few, model=none)
    assert none.images == 0
    found = run(store, images, path, many, model=more)
    assert more.images == sum(len(r.rows) for r in many.regions.values())
    assert same(found, run(store, images, tmp_path / "b.parquet", many))
    with pytest.raises(SalientError, match="made by another run; seed differs; expected 3; got 0"):
        run(store, images, path, few, seed=3)
