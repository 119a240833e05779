"""Saliency against masks: figures by plain loops, Grad-CAM by hand, and the truth of scenes."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.saliency.alignment import align, alignment, average_precision
from salient_imagenet_data.evaluation.saliency.attributions import last_grid, saliency_of
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run, answers_for


def loops(saliency: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """The definitions, pixel by pixel."""
    pixels = list(zip(saliency.ravel().tolist(), mask.ravel().tolist(), strict=True))
    peak = max(s for s, _ in pixels)
    inside = [s / peak for s, m in pixels if m >= 0.5]
    outside = [s / peak for s, m in pixels if m < 0.5]
    both = sum(s / peak >= 0.5 and m >= 0.5 for s, m in pixels)
    either = sum(s / peak >= 0.5 or m >= 0.5 for s, m in pixels)
    precision, recalled = 0.0, 0
    for level in sorted({s for s, _ in pixels}, reverse=True):
        taken = [m >= 0.5 for s, m in pixels if s >= level]
        precision += (sum(taken) - recalled) / len(inside) * sum(taken) / len(taken)
        recalled = sum(taken)
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    return {
        "iou": both / either,
        "difference": sum(inside) / len(inside) - sum(outside) / len(outside),
        "mass": sum(s * m for s, m in pixels) / sum(s for s, _ in pixels),
        "average_precision": precision,
        "auroc": sum(pairs) / len(pairs),
        "pointing": sum(m >= 0.5 for s, m in pixels if s == peak) / sum(s == peak for s, _ in pixels),
    }


@given(st.integers(0, 10_000), st.integers(2, 7))
@settings(deadline=None, max_examples=60)
def test_figures_against_plain_loops(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    saliency = rng.integers(0, 6, (side, side)).astype(np.float32)  # with ties
    mask = rng.random((side, side)).astype(np.float32)
    saliency[0, 0], mask[0, 0], mask[0, 1] = 5, 1.0, 0.0
    found = alignment(saliency, mask)
    assert dataclasses.asdict(found) == pytest.approx(loops(saliency, mask))


def test_where_a_figure_has_no_meaning() -> None:
    some = np.ones((2, 2), dtype=np.float32)
    some[0] = 0
    dark = alignment(np.zeros((2, 2)), some)
    assert all(math.isnan(v) for v in (dark.iou, dark.difference, dark.mass, dark.pointing)) and dark.auroc == 0.5
    everywhere = alignment(some, np.ones((2, 2)))
    assert math.isnan(everywhere.difference) and math.isnan(everywhere.auroc) and everywhere.mass == 1.0
    assert math.isnan(average_precision(some, np.zeros((2, 2), dtype=bool)))
    with pytest.raises(ValueError, match="of one shape"):
        alignment(some, np.ones((3, 3)))
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        alignment(-some, some)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_grad_cam_by_hand(name: str) -> None:
    """With a linear head on the mean of the maps, the gradient is the head's weight."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, num_classes=5).eval().requires_grad_(False)
    x, classes = torch.rand(3, 3, 96, 96), torch.tensor([4, 0, 2])
    assert last_grid(net, 96) == {"resnet18": "layer4", "densenet121": "features"}[name]
    found = saliency_of(net, "grad_cam", last_grid(net, 96))(x, classes)
    with torch.inference_mode():
        if name == "resnet18":
            body = torch.nn.Sequential(*list(net.children())[:-2])
            maps, weight = body(x), net.fc.weight[classes]
        else:
            maps, weight = net.features(x), net.classifier.weight[classes]
            weight = weight * (maps > 0).float().mean(dim=(2, 3))  # the network rectifies after the layer
        cam = (weight[:, :, None, None] * maps).sum(1, keepdim=True).relu() / maps[0, 0].numel()
        expected = torch.nn.functional.interpolate(cam, (96, 96), mode="bilinear")[:, 0]
    assert found.shape == (3, 96, 96) and expected.max() > 0
    assert torch.allclose(found, expected, atol=1e-6 + 1e-4 * float(expected.max()))
    assert not any(m._forward_hooks for m in net.modules())


def test_saliency_that_is_the_mask_is_aligned_with_it(store: Store, images: Path) -> None:
    source = FolderSource(images)
    ids = [source.entry(i).image_id for i in range(len(source))]
    queue = [row for row in range(len(store)) if store.mask(row, "core") is not None]
    order = iter(list(queue))

    def own_mask(x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.from_numpy(store.mask(next(order), "core")) for _ in x])

    perfect = align(Classifier("mask", lambda x: x), store, source, saliency=own_mask, settings=Settings(batch_size=7))
    assert len(ids) == 40 and perfect.iou.n == len(queue) == 36 and perfect.iou.classes == 9
    # Saliency is scaled to a peak of 1 before the threshold, a mask of several maps' maximum need not reach 1.
    assert perfect.iou.value > 0.95 and perfect.auroc.value == pytest.approx(1.0)
    flat = align(Classifier("flat", lambda x: x), store, source, saliency=lambda x, c: torch.ones(x[:, 0].shape))
    assert flat.difference.value == 0.0 and flat.auroc.value == 0.5
    with pytest.raises(SalientError, match="grad_cam needs a network; got function"):
        align(Classifier("f", lambda x: x), store, source)


def test_each_image_is_explained_as_its_own_class(store: Store, images: Path, weights: Path) -> None:
    """Against a plain loop over images; another class's explanation gives other figures."""
    model, source = load_model(weights)[0], FolderSource(images)
    index = {source.entry(i).image_id: i for i in range(len(source))}
    saliency = saliency_of(model, "input_x_gradient", "image")

    def mean(class_of: Callable[[int], int]) -> float:
        masses: dict[int, list[float]] = {}
        for row, record in enumerate(store.rows):
            mask = store.mask(row, "core")
            if mask is None:
                continue
            pixels = store.manifest.preprocessing.apply(source.pixels(index[record.image_id]))
            x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            where = saliency(x, torch.tensor([class_of(record.label)]))[0].numpy()
            masses.setdefault(record.label, []).append(alignment(where, mask).mass)
        return float(np.mean([np.mean(found) for found in masses.values()]))

    own, of_zero = mean(lambda label: label), mean(lambda label: 0)
    found = align(Classifier("m", model), store, source, saliency="input_x_gradient", settings=Settings(batch_size=7))
    assert found.mass.value == pytest.approx(own, rel=1e-5) and abs(own - of_zero) > 1e-3


def test_the_command(store: Store, images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("align", store.path, "--images", images, "--weights", weights, "--json", "--device", "cpu")
    figures = json.loads(out)[str(weights)]
    beside = {f"{name}_{where}" for name in ("iou", "mass", "cover") for where in ("spurious", "neither")}
    own = {"iou", "difference", "mass", "average_precision", "auroc", "cover", "pointing", "area"}
    assert code == 0 and set(figures) == {*own, *beside, "pointing_spurious", "area_spurious", "left_out"}
    assert figures["left_out"] is None
    model, _ = load_model(weights)
    again = align(Classifier("again", model), store, FolderSource(images))
    assert figures["mass"] == pytest.approx(dataclasses.asdict(again.mass)) and 0 < figures["mass"]["value"] < 1
    code, out, _ = run("align", store.path, "--images", images, "--weights", weights)
    assert code == 0 and "average_precision" in out and "only fold" not in out
    rows = {line.split()[1]: line.split()[2:4] for line in out.splitlines()[1:]}
    assert rows["mass_spurious"] == [str(again.mass_spurious.n), f"{again.mass_spurious.value:.3f}"]
    plain = Path(shutil.copytree(store.path, tmp_path / "plain"))
    answers = [dataclasses.replace(a, answer="main_object") for a in answers_for(store)]
    annotate(plain, Annotations(tuple(answers), "0" * 64))
    common = ["align", plain, "--images", images, "--weights", weights]
    figures = json.loads(run(*common, "--json")[1])[str(weights)]
    assert figures["mass_spurious"] is None and figures["mass"]["n"] > 30
    assert "mass_spurious           0  no image has it" in run(*common)[1]
    code, _, err = run(
        "align", store.path, "--images", images, "--weights", weights, "--layer", "image", "--depth", "last"
    )
    assert code == 2 and "where to look is said twice; expected a layer or a depth; got image and last" in err


def test_mass_and_overlap_on_core_spurious_and_neither_image_by_image(
    store: Store, images: Path, weights: Path
) -> None:
    """Against a plain loop over images and pixels; class 0 has no spurious feature, class 1 no core one."""
    model, source = load_model(weights)[0], FolderSource(images)
    index = {source.entry(i).image_id: i for i in range(len(source))}
    saliency = saliency_of(model, "input_x_gradient", "image")
    values: dict[str, dict[int, list[float]]] = {}
    for row, record in enumerate(store.rows):
        core, cue = store.mask(row, "core"), store.mask(row, "spurious")
        if core is None:
            continue
        pixels = store.manifest.preprocessing.apply(source.pixels(index[record.image_id]))
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        where = saliency(x, torch.tensor([record.label]))[0].numpy()
        neither = 1 - np.maximum(core, np.zeros_like(core) if cue is None else cue)
        assert (cue is None) == (record.label == 0) and record.label != 1
        for name, mask in {"": core, "_spurious": cue, "_neither": neither}.items():
            if mask is None:
                continue
            reached = [(s / where.max() >= 0.5, m >= 0.5) for s, m in zip(where.ravel(), mask.ravel(), strict=True)]
            overlap = sum(a and b for a, b in reached) / sum(a or b for a, b in reached)
            mass = float((where.astype(float) * mask).sum() / where.astype(float).sum())
            found = {f"iou{name}": overlap, f"mass{name}": mass, f"cover{name}": float(mask.mean())}
            if name != "_neither":
                highest = np.unravel_index(where.argmax(), where.shape)
                found |= {f"pointing{name}": float(mask[highest] >= 0.5), f"area{name}": float((mask >= 0.5).mean())}
            for key, value in found.items():
                values.setdefault(key, {}).setdefault(record.label, []).append(value)
    found = align(Classifier("m", model), store, source, saliency="input_x_gradient", settings=Settings(batch_size=7))
    assert len(values) == 13
    for key, by_class in values.items():
        wanted = float(np.mean([np.mean(some) for some in by_class.values()]))
        assert getattr(found, key).value == pytest.approx(wanted, rel=1e-4), key
        assert getattr(found, key).n == sum(map(len, by_class.values())), key
    assert (found.mass_spurious.n, found.mass_neither.n) == (32, 36)
    flat = align(Classifier("f", lambda x: x), store, source, saliency=lambda x, c: torch.ones(x[:, 0].shape))
    for name in ("", "_spurious", "_neither"):
        assert getattr(flat, f"mass{name}").value == pytest.approx(getattr(flat, f"cover{name}").value)


def test_how_deep_is_a_layer(store: Store, images: Path, weights: Path) -> None:
    model, source = load_model(weights)[0], FolderSource(images)
    for depth, layer in (("input", "image"), ("middle", "net.body.4"), ("last", "net.body")):
        deep, named = (
            align(Classifier("m", model), store, source, saliency="input_x_gradient", **where)
            for where in ({"depth": depth}, {"layer": layer})
        )
        assert deep == named, depth
