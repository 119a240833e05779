"""Inference and scoring together, on a real small store, against plain loops."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy import ndimage
from torchvision.transforms import functional

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate, run_models
from salient_imagenet_data.evaluation.numbers.bootstrap import relative_sensitivity
from salient_imagenet_data.evaluation.numbers.spuriosity import spuriosity
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.plan.plan import Conditions, Plan, make_plan, rows_in, spuriosity_ends
from salient_imagenet_data.evaluation.plan.regions import INSIDE, OUTSIDE, top_images
from salient_imagenet_data.evaluation.run import infer as infer_module
from salient_imagenet_data.evaluation.run.images import ItemBatch, corrupted, items_of, partner_images
from salient_imagenet_data.evaluation.run.infer import infer
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.loaders.corruption.corruptions import gaussian_noise, image_generator, image_seeds
from salient_imagenet_data.loaders.missing.hiding import hiding
from salient_imagenet_data.loaders.missing.layers import LayerMasking
from salient_imagenet_data.loaders.missing.tokens import TokenDropping
from salient_imagenet_data.loaders.region import shaped
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import UNFINISHED

ALL = Conditions(("iclr2022", "corm2022", "spuriosity2023"), (0.5,), ("fill_gray",))


def sensitive(x: torch.Tensor) -> torch.Tensor:
    """A random linear classifier of pixels: its answers vary with the image and with the noise."""
    weight = torch.randn(x[0].numel(), 10, generator=torch.Generator().manual_seed(0))
    return (x - 0.5).flatten(1) @ weight / 10


def pixels_of(store: Store, source: FolderSource, row: int) -> torch.Tensor:
    index = {source.entry(i).image_id: i for i in range(len(source))}[store.rows[row].image_id]
    crop = store.manifest.preprocessing.apply(source.pixels(index))
    return torch.from_numpy(crop).permute(2, 0, 1).float() / 255


def run(store: Store, images: Path, path: Path, plan: Plan, **options: Any) -> PredictionsFile:
    joined = join(store, FolderSource(images), rows=plan.rows.tolist())
    model = options.pop("model", sensitive)
    return infer(Classifier("linear", model), joined, plan, path, Settings(**options))


def same(first: PredictionsFile, second: PredictionsFile) -> bool:
    """The same answers, whatever the order of rows; probabilities to rounding, classes exactly."""
    for name, a in first.conditions.items():
        b = second.conditions[name]
        order = [b.image_ids.index(i) for i in a.image_ids]
        if not np.array_equal(a.predicted, b.predicted[order]):
            return False
        if not np.allclose(a.probabilities, b.probabilities[order], atol=1e-6):
            return False
    return first.conditions.keys() == second.conditions.keys()


def test_trap_images_without_such_a_feature_do_not_count(store: Store) -> None:
    core, spurious = top_images(store)
    assert {store.rows[r].label for r in spurious.rows} == set(range(1, 10))
    assert {store.rows[r].label for r in core.rows} == {0, *range(2, 10)}
    for region in (core, spurious):
        for row in region.rows:
            top = store.chosen(int(row), region.name, top_only=True)  # type: ignore[arg-type]
            assert top.any() and np.array_equal(region.chosen[row], top)


def test_iclr2022_against_a_plain_loop(store: Store, images: Path) -> None:
    source = FolderSource(images)
    result = evaluate(sensitive, store, source, Conditions(sigmas=(0.25, 1.0)), Settings(seed=4))
    for kind, name in (("spurious", "core_accuracy"), ("core", "spurious_accuracy")):
        hits: dict[int, list[bool]] = {}
        for row, record in enumerate(store.rows):
            mask = store.mask(row, kind, top_only=True)  # type: ignore[arg-type]
            if mask is None:
                continue
            x = pixels_of(store, source, row)
            noisy = gaussian_noise(x, torch.from_numpy(mask), 1.0, image_generator(4, record.image_id))
            hits.setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
        entry = result.left(name, 1.0)
        assert entry is not None and result.left(name, 0.25) not in (None, entry)
        assert entry.accuracy.value == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
        assert entry.accuracy.n == sum(map(len, hits.values()))
        assert entry.accuracy.classes == len(hits) == len(entry.per_class) == 9
    assert {c.sigma for c in result.conditions} == {0.25, 1.0}


def test_corm2022_against_a_plain_loop_with_scipys_dilation(store: Store, images: Path) -> None:
    source = FolderSource(images)
    result = evaluate(sensitive, store, source, Conditions(protocols=("corm2022",), sigmas=(0.5,)), Settings(seed=1))
    hits: dict[str, dict[int, list[bool]]] = {INSIDE: {}, OUTSIDE: {}}
    plus = ndimage.generate_binary_structure(2, 1)
    for row, record in enumerate(store.rows):
        mask = store.mask(row, "core")
        if mask is None:
            continue
        for _ in range(round(15 * 56 / 224)):
            mask = ndimage.grey_dilation(mask, footprint=plus, mode="nearest")
        c = torch.from_numpy(mask / mask.max())
        for name, m in ((INSIDE, c), (OUTSIDE, 1 - c)):
            noisy = gaussian_noise(pixels_of(store, source, row), m, 0.5, image_generator(1, record.image_id))
            hits[name].setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
    inside, outside = (float(np.mean([np.mean(h) for h in hits[name].values()])) for name in (INSIDE, OUTSIDE))
    (own,) = [r for r in result.ratios["rcs"] if not r.control]
    assert own.accuracy_inside.value == pytest.approx(inside)
    assert own.accuracy_outside.value == pytest.approx(outside)
    assert own.ratio.value == pytest.approx(relative_sensitivity(outside, inside))
    assert {r.control for r in result.ratios["rcs"]} == {"", "random", "other"} and own.ratio.n == 36


def test_rival2022_against_a_plain_loop(store: Store, images: Path) -> None:
    source = FolderSource(images)
    result = evaluate(sensitive, store, source, Conditions(protocols=("rival2022",), sigmas=(0.5,)), Settings(seed=2))
    hits: dict[str, dict[int, list[bool]]] = {"foreground": {}, "background": {}}
    for row, record in enumerate(store.rows):
        mask = store.mask(row, "core")
        if mask is None:
            continue
        m = torch.from_numpy(mask)
        for name, region in (("foreground", m), ("background", 1 - m)):
            noisy = gaussian_noise(pixels_of(store, source, row), region, 0.5, image_generator(2, record.image_id))
            hits[name].setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
    inside, outside = (float(np.mean([np.mean(h) for h in hits[name].values()])) for name in hits)
    (own,) = [r for r in result.ratios["rfs"] if not r.control]
    assert own.accuracy_inside.value == pytest.approx(inside)
    assert own.accuracy_outside.value == pytest.approx(outside)
    middle = (inside + outside) / 2
    assert own.ratio.value == pytest.approx((outside - inside) / (2 * min(middle, 1 - middle)))
    assert result.ratios.keys() == {"rfs"} and own.ratio.n == 36


def test_three_trials_draw_three_times(store: Store, images: Path) -> None:
    source = FolderSource(images)
    (own, *_) = evaluate(
        sensitive, store, source, Conditions(protocols=("rival2022",), sigmas=(0.5,), trials=3)
    ).ratios["rfs"]
    assert own.trials == 3 and own.control == ""
    hits: dict[int, list[bool]] = {}
    for row, record in enumerate(store.rows):
        mask = store.mask(row, "core")
        if mask is None:
            continue
        for trial in ("", "trial 2", "trial 3"):
            (seed,) = image_seeds(0, [record.image_id], trial)
            generator = torch.Generator().manual_seed(seed)
            noisy = gaussian_noise(pixels_of(store, source, row), torch.from_numpy(mask), 0.5, generator)
            hits.setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
    assert own.accuracy_inside.value == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
    plan = make_plan(store, ["iclr2022", "rival2022"], ["noise_0.5", "fill_gray", "shuffle"], trials=2)
    again = {c.name for c in plan.conditions if c.trial == 2}
    assert "noise_0.5#2@foreground" in again and "shuffle#2@background_random" in again and len(again) == 12
    with pytest.raises(SalientError, match="trials; expected 1 to 10; got 11"):
        make_plan(store, trials=11)


def test_boxes_of_the_regions(store: Store, images: Path) -> None:
    """Gray in the bounding box of the object, against a plain loop; and the masks that the report shows."""
    plan = make_plan(store, ["iclr2022", "corm2022", "rival2022"], ["fill_gray"], boxes=True)
    names = {"core", "spurious", INSIDE, "foreground"}
    assert plan.regions.keys() == {*names, *(f"{name}_box" for name in names), OUTSIDE, "background"}
    joined = join(store, FolderSource(images), rows=plan.rows.tolist())
    items = items_of(joined, plan, store.manifest.preprocessing, list(plan.regions), seed=0)
    batch = [items[k] for k in range(len(items))]
    seen = {
        n: (w, x)
        for n, w, x, _ in corrupted(
            ItemBatch.of(batch), plan.conditions, plan.regions, seed=0, device="cpu", clean=False
        )
    }
    which, gray = seen["fill_gray@foreground_box"]
    assert len(which) == 36
    for k, x in zip(which, gray, strict=True):
        mask = store.mask(batch[k].row, "core")
        assert mask is not None
        rows, columns = np.nonzero(mask >= mask.max() / 2)
        expected = batch[k].image.float() / 255
        expected[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 0.5
        assert torch.allclose(x, expected, atol=1e-6)
    white = [dataclasses.replace(item, image=torch.full_like(item.image, 255)) for item in batch]
    black = [dataclasses.replace(c, corruption="fill_black") for c in plan.conditions if not c.control]
    for name, which, x, _ in corrupted(ItemBatch.of(white), black, plan.regions, seed=0, device="cpu", clean=False):
        region = plan.regions[Condition.parse(name).region]
        for k, image in zip(which, x, strict=True):
            union = union_in_crop(store.maps[batch[k].row], region.chosen[batch[k].row], 56, 56)
            assert np.allclose(shaped(union, union, region.at(56)), 1 - image[0].numpy(), atol=1e-6), name


def test_controls_are_area_matched_and_from_another_class(store: Store, images: Path) -> None:
    plan = make_plan(store, corruptions=["noise_0.5"])
    joined = join(store, FolderSource(images), rows=plan.rows.tolist())
    seen: dict[tuple[str, str], dict[int, torch.Tensor]] = {}
    items = items_of(joined, plan, store.manifest.preprocessing, ["core", "spurious"], seed=0)
    batch = [items[k] for k in range(len(items))]
    # With white images and black fill, what is left is 1 - m: the mask itself can be read off.
    batch = [dataclasses.replace(item, image=torch.full_like(item.image, 255)) for item in batch]
    black = [dataclasses.replace(c, corruption="fill_black") for c in plan.conditions]
    for name, which, x, _ in corrupted(ItemBatch.of(batch), black, plan.regions, seed=0, device="cpu", clean=False):
        condition = Condition.parse(name)
        seen[condition.region, condition.control] = {batch[k].row: 1 - x[i, 0] for i, k in enumerate(which)}
    for region in ("core", "spurious"):
        partner = items.partner[region]
        for row, mask in seen[region, ""].items():
            own = store.mask(row, region, top_only=True)  # type: ignore[arg-type]
            assert own is not None and np.allclose(mask.numpy(), own, atol=1e-6)
            assert torch.allclose(seen[region, "random"][row].flatten().sort().values, mask.flatten().sort().values)
            other = int(partner[row])
            assert store.rows[other].label != store.rows[row].label
            assert torch.allclose(seen[region, "other"][row], seen[region, ""][other], atol=1e-6)
        assert any(not torch.equal(seen[region, "random"][r], m) for r, m in seen[region, ""].items())


def test_a_frame_wider_than_the_crop_is_touched_only_where_something_is_known(store: Store, images: Path) -> None:
    plan = make_plan(store, ["corm2022"], ["fill_black"])
    joined = join(store, FolderSource(images), rows=plan.rows[:6].tolist())
    # The store sees 56 of 60 pixels, this frame all of them.
    items = items_of(joined, plan, Preprocessing(60, 60), [INSIDE, OUTSIDE], seed=0)
    batch = [dataclasses.replace(items[k], image=torch.full((3, 60, 60), 255, dtype=torch.uint8)) for k in range(6)]
    seen = {
        n: 1 - x[:, 0]
        for n, _, x, _ in corrupted(
            ItemBatch.of(batch), plan.conditions, plan.regions, seed=0, device="cpu", clean=False
        )
    }
    border = torch.ones(60, 60, dtype=torch.bool)
    border[2:58, 2:58] = False
    inside, outside = seen[f"fill_black@{INSIDE}"], seen[f"fill_black@{OUTSIDE}"]
    assert torch.allclose((inside + outside)[:, ~border], torch.ones(1), atol=1e-6)
    # Dilation may carry what is inside over the edge of what is known; neither region is let out.
    assert not inside[:, border].any() and not outside[:, border].any()
    for name, masks in ((INSIDE, inside), (OUTSIDE, outside)):
        moved = seen[f"fill_black@{name}_random"]
        assert torch.allclose(moved.flatten(1).sort().values, masks.flatten(1).sort().values, atol=1e-6)


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


def compressed(image: torch.Tensor, quality: int) -> torch.Tensor:
    """An image (3, H, W) in [0, 1] after JPEG."""
    buffer = io.BytesIO()
    functional.to_pil_image(image).save(buffer, format="jpeg", quality=quality)
    return functional.pil_to_tensor(Image.open(buffer)).float() / 255


def test_other_corruptions_against_plain_loops(store: Store, images: Path) -> None:
    names = ("noise_l2_3", "jpeg_20", "swap")
    plan = Conditions(sigmas=(0.5,), corruptions=names, controls=False).plan(store)
    source = FolderSource(images)
    joined = join(store, source, rows=plan.rows.tolist())
    items = items_of(joined, plan, store.manifest.preprocessing, ["core"], seed=3)
    pool = join(store, source)
    batch, partner = [items[k] for k in range(len(items))], partner_images(pool, 3)
    conditions = [c for c in plan.conditions if c.region == "core"]
    seen = set()
    for name, which, found, _ in corrupted(
        ItemBatch.of(batch), conditions, plan.regions, seed=3, device="cpu", clean=False
    ):
        seen.add(name)
        for place, k in enumerate(which):
            row = batch[k].row
            x, m = pixels_of(store, source, row), torch.from_numpy(store.mask(row, "core", top_only=True))
            noise = torch.randn(x.shape, generator=image_generator(3, store.rows[row].image_id)) * m
            other = int(pool.rows[partner[row]])
            assert store.rows[other].label != store.rows[row].label
            expected = {
                "noise_0.5@core": (x + 0.5 * noise).clamp(0, 1),
                "noise_l2_3@core": (x + noise * 3 / noise.norm()).clamp(0, 1),
                "jpeg_20@core": x + m * (compressed(x, 20) - x),
                "swap@core": x + m * (pixels_of(store, source, other) - x),
            }[name]
            assert torch.allclose(found[place], expected, atol=1e-5), name
    assert seen == {c.name for c in conditions} and len(seen) == 4


def test_a_later_run_swaps_in_the_same_images(store: Store, images: Path, tmp_path: Path) -> None:
    both = Conditions(("iclr2022", "corm2022"), corruptions=("swap",)).plan(store)
    whole = run(store, images, tmp_path / "a.parquet", both)
    run(store, images, tmp_path / "b.parquet", Conditions(corruptions=("swap",)).plan(store))
    core = dataclasses.replace(both, conditions=tuple(c for c in both.conditions if c.region == "core"))
    run(store, images, tmp_path / "b.parquet", core)
    assert same(whole, run(store, images, tmp_path / "b.parquet", both))


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


def test_a_function_of_ones_own_may_view_its_images(store: Store, images: Path) -> None:
    evaluate(lambda x: x.view(len(x), -1)[:, :10], store, FolderSource(images))


def test_no_noise_is_clean(store: Store, images: Path, tmp_path: Path) -> None:
    file = run(store, images, tmp_path / "a.parquet", make_plan(store, ALL.protocols, ["noise_0"]), top_k=None)
    clean = dict(zip(file.conditions[CLEAN].image_ids, file.conditions[CLEAN].probabilities, strict=True))
    for answers in file.conditions.values():
        for image_id, p in zip(answers.image_ids, answers.probabilities, strict=True):
            assert np.allclose(p, clean[image_id], atol=1e-6)


def test_single_features(store: Store, images: Path, weights: Path) -> None:
    model, _ = load_model(weights)
    result = evaluate(model, store, FolderSource(images), Conditions(single_features=True))
    found = result.condition("noise_0.25@rank_2")
    assert found is not None and found.single_feature and not found.claim
    rows = found.per_class
    assert len(rows) == 10 and rows[3].feature is not None and rows[3].feature.kind == "spurious"
    assert rows[3].accuracy.n == 2 and rows[3].feature.rank == 2
    feature = next(r for r in store.features if (r.class_index, r.rank) == (3, 2))
    assert rows[3].feature.feature_index == feature.feature_index


def test_wrong_number_of_classes_and_bad_conditions(store: Store, images: Path) -> None:
    source = FolderSource(images)
    with pytest.raises(SalientError, match=r"expected \(batch, 10\) logits; got \(\d+, 7\)"):
        evaluate(lambda x: torch.zeros(len(x), 7), store, source)
    with pytest.raises(SalientError, match="NaN or infinities"):
        evaluate(lambda x: torch.full((len(x), 10), torch.nan), store, source)
    for level in (-1.0, 0.0, 1.5, float("nan"), float("inf")):
        with pytest.raises(SalientError, match=f"noise levels; expected .*; got 0.5, {level:g}$"):
            evaluate(lambda x: torch.zeros(len(x), 10), store, source, Conditions(sigmas=(0.5, level)))
    with pytest.raises(SalientError, match="corruption 'fill_pink' is not known"):
        evaluate(lambda x: torch.zeros(len(x), 10), store, source, Conditions(corruptions=("fill_pink",)))
    with pytest.raises(SalientError, match="protocol is not known"):
        evaluate(lambda x: torch.zeros(len(x), 10), store, source, Conditions(protocols=("iclr2021",)))


class Counting:
    """A model that counts its images, and may stop after some."""

    def __init__(self, stop: int | None = None) -> None:
        self.images, self.stop = 0, stop

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x)
        if self.stop is not None and self.images > self.stop:
            raise RuntimeError("power cut")
        return sensitive(x)


def test_stopped_and_resumed_gives_the_same_and_repeats_little(
    store: Store, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(store, corruptions=["noise_0.5"], controls=False)
    whole = Counting()
    expected = run(store, images, tmp_path / "a.parquet", plan, model=whole, batch_size=4)
    monkeypatch.setattr(infer_module, "PART_IMAGES", 8)
    with pytest.raises(RuntimeError, match="power cut"):
        run(store, images, tmp_path / "b.parquet", plan, model=Counting(whole.images - 5), batch_size=4)
    assert not (tmp_path / "b.parquet").exists()
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


def test_two_runs_into_one_folder_are_one_after_the_other(store: Store, images: Path, tmp_path: Path) -> None:
    plan, source = make_plan(store, corruptions=["noise_0.5"], controls=False), FolderSource(images)
    opener = {"linear": lambda: Classifier("linear", sensitive)}
    with held(tmp_path), pytest.raises(SalientError, match="another process is writing here; got host .*, pid"):
        run_models(opener, store, source, plan, tmp_path, Settings())
    files, failed = run_models(opener, store, source, plan, tmp_path, Settings())
    assert not failed and [p.name for p in tmp_path.iterdir()] == ["linear.parquet"]
    assert len(files[0].conditions[CLEAN].image_ids) == len(plan.rows)


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


def test_a_model_that_fails_is_one_line_and_the_others_go_on(store: Store, images: Path, tmp_path: Path) -> None:
    def opener(name: str, model: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Classifier]:
        return lambda: Classifier(name, model)

    def missing() -> Classifier:
        raise ImportError("no such thing\nand more")

    openers = {"absent": missing, "seven": opener("seven", lambda x: torch.zeros(len(x), 7))}
    openers |= {"cut": opener("cut", Counting(0)), "good": opener("good", sensitive)}
    plan, lines = make_plan(store, controls=False), list[str]()
    files, failed = run_models(openers, store, FolderSource(images), plan, tmp_path, Settings(), report=lines.append)
    assert [file.model for file in files] == ["good"]
    assert {f.name: f.reason for f in failed} == {
        "absent": "ImportError: no such thing",
        "seven": f"model's output does not fit the store; expected (batch, 10) logits; got ({len(plan.rows)}, 7)",
        "cut": "RuntimeError: power cut",
    }
    assert len(lines) == 4 and not any("\n" in line for line in lines)
    assert [p.name for p in tmp_path.iterdir()] == ["good.parquet"]


def test_workers_with_few_file_descriptors(store: Store, images: Path, tmp_path: Path) -> None:
    """A worker hands over a few pieces of memory a batch, not several an image: each takes a descriptor."""
    program = tmp_path / "few.py"
    program.write_text(
        "import resource, sys\n"
        "from salient_imagenet_data.evaluation.plan.plan import Conditions\n"
        "from salient_imagenet_data.evaluation.run.settings import Settings\n"
        "from salient_imagenet_data.evaluation.evaluate import evaluate\n"
        "if __name__ == '__main__':\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))\n"
        "    model = lambda images: images.mean((2, 3)) @ images.new_ones(3, 10)\n"
        "    conditions = Conditions(protocols=('iclr2022', 'corm2022'))\n"
        "    result = evaluate(model, sys.argv[1], sys.argv[2], conditions, Settings(workers=2, batch_size=40))\n"
        "    print(result.images)\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), str(store.path), str(images)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0 and int(done.stdout) == 40, done.stderr[-2000:]


def test_a_fold_is_evaluated_by_itself(store: Store, images: Path, tmp_path: Path) -> None:
    """Its images, its spuriosity ranking, and a predictions file that says so."""
    parts = [Fold(1, 2), Fold(2, 2)]
    plans = [Conditions(("iclr2022", "spuriosity2023"), (0.5,)).plan(store, fold) for fold in parts]
    whole = Conditions(("iclr2022", "spuriosity2023"), (0.5,)).plan(store)
    ids = store.rows.image_ids.to_pylist()
    for fold, plan in zip(parts, plans, strict=True):
        assert set(plan.rows) <= set(np.flatnonzero(fold.holds(ids))) and len(plan.rows) > 5
        for name, region in plan.regions.items():
            assert set(region.rows) == set(whole.regions[name].rows) & set(np.flatnonzero(fold.holds(ids)))
    file = run(store, images, tmp_path / "a.parquet", plans[0])
    result = score(file, store)
    found = spuriosity_ends(store, rows_in(store, parts[0]))
    labels = store.rows.labels.astype(np.int64)
    mine = np.flatnonzero(parts[0].holds(ids))
    for label in np.unique(found.labels):
        rows = mine[labels[mine] == label]
        k = len(rows) // 2
        scores = spuriosity(store.activations[rows], labels[rows], store.kind_table["spurious"])
        order = rows[np.argsort(scores, kind="stable")]
        assert found.bottom[found.labels == label].tolist() == order[:k].tolist()
        assert found.top[found.labels == label].tolist() == order[len(rows) - k :].tolist()
    assert result.spurious_gap is not None
    assert result.fold == "1/2" and result.spurious_gap.n == 2 * len(found.top)
    with pytest.raises(SalientError, match="made by another run; fold differs; expected 2/2; got 1/2"):
        run(store, images, tmp_path / "a.parquet", plans[1])
    direct = evaluate(
        sensitive, store, FolderSource(images), Conditions(protocols=("spuriosity2023",)), Settings(fold=parts[0])
    )
    assert direct.spurious_gap == result.spurious_gap and direct.fold == "1/2"
