"""Images under conditions, against plain loops."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional

from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.evaluation.plan.plan import Conditions, make_plan
from salient_imagenet_data.evaluation.plan.regions import INSIDE, OUTSIDE
from salient_imagenet_data.evaluation.run.images import ItemBatch, corrupted, items_of, partner_images
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.loaders.corruption.corruptions import image_generator
from salient_imagenet_data.loaders.region import shaped
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.store.reading import Store
from tests.evaluation.runs import pixels_of, run, same


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
