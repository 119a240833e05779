from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from salient_imagenet_data.loaders import (
    MapFrame,
    NumpyLoader,
    SalientImageNet,
    collate,
    masks_from_maps,
    masks_of_batch,
)
from salient_imagenet_data.store.reading import Store

FOLLOWED: list[v2.Transform] = [
    v2.RandomHorizontalFlip(1.0),
    v2.RandomVerticalFlip(1.0),
    v2.Resize(100, antialias=False),
    v2.Resize(70, max_size=71, antialias=False),
    v2.Resize((90, 131), antialias=False),
    v2.CenterCrop(30),
    v2.CenterCrop((41, 83)),
    v2.RandomCrop(40, padding=6),
    v2.RandomCrop(80, pad_if_needed=True),
    v2.Pad((1, 2, 3, 4)),
    v2.Pad((1, 2)),
    v2.RandomResizedCrop(64, antialias=False),
    v2.RandomZoomOut(p=1.0),
    v2.Compose([v2.Resize(77), v2.CenterCrop(70), v2.RandomCrop(60, padding=9), v2.RandomHorizontalFlip(1.0)]),
]


def ramp(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Height and width of each pixel's centre in the unit square, which bilinear resampling keeps exactly."""
    down, across = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return down[:, None].expand(height, width), across[None, :].expand(height, width)


@pytest.mark.parametrize("transform", FOLLOWED, ids=lambda t: type(t).__name__)
def test_the_frame_says_what_every_pixel_shows(transform: v2.Transform) -> None:
    """A picture of its own coordinates goes through the pipeline with its frame."""
    down, across = ramp(56, 56)
    picture = tv_tensors.Image(torch.stack([across, down, torch.ones(56, 56)]))
    torch.manual_seed(4)
    out = transform({"image": picture, "frame": MapFrame.whole(56)})
    u, v, du, dv, height, width = out["frame"].tolist()[:6]
    image = out["image"].as_subclass(Tensor)
    assert isinstance(out["frame"], MapFrame) and image.shape == (3, height, width)
    assert list(F.get_size(out["frame"])) == [height, width]
    x = (u + du * (torch.arange(int(width)) + 0.5)).expand(int(height), -1)
    y = (v + dv * (torch.arange(int(height)) + 0.5))[:, None].expand(-1, int(width))
    # At its edge, and at that of a crop made larger, a picture has no more coordinates to interpolate between.
    known = (image[2] > 0.999) & (x > 0.02) & (x < 0.98) & (y > 0.02) & (y < 0.98)
    known[[0, 1, -2, -1]] = False
    known[:, [0, 1, -2, -1]] = False
    assert known.float().mean() > 0.1
    assert (image[0] - x)[known].abs().max() < 1e-3 and (image[1] - y)[known].abs().max() < 1e-3
    outside = (x < 0) | (x > 1) | (y < 0) | (y > 1)
    assert not image[2][outside].any()


@pytest.mark.parametrize(
    "transform",
    [v2.RandomRotation(20), v2.RandomPerspective(p=1.0), v2.ElasticTransform(), v2.Pad(2, padding_mode="edge")],
)
def test_what_the_frame_cannot_follow_is_refused(transform: v2.Transform) -> None:
    with pytest.raises(TypeError, match="take full-size masks instead"):
        transform({"image": tv_tensors.Image(torch.zeros(3, 32, 32)), "frame": MapFrame.whole(32)})


@pytest.mark.parametrize("top_only", [False, True])
def test_compact_masks_are_the_full_ones(store: Store, images: Path, top_only: bool) -> None:
    full = collate(list(SalientImageNet(store, images, top_only=top_only)))
    small = collate(list(SalientImageNet(store, images, top_only=top_only, return_maps=True)))
    assert small["maps"].dtype == torch.uint8 and "core_mask" not in small
    for kind in ("core", "spurious"):
        made = masks_of_batch(small, kind)  # type: ignore[arg-type]
        assert type(made) is type(full[f"{kind}_mask"]) and made.shape == (40, 1, 56, 56)
        assert (made - full[f"{kind}_mask"]).abs().max() < 1e-5
        assert torch.equal(small[f"has_{kind}"], full[f"has_{kind}"])


def test_compact_masks_follow_a_training_pipeline(store: Store, images: Path) -> None:
    pipeline = v2.Compose(
        [v2.RandomResizedCrop(48, (0.5, 1.0)), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
    )

    def batch(**options: Any) -> Any:
        torch.manual_seed(3)
        return collate(list(SalientImageNet(store, images, pipeline, **options)))

    full, small = batch(), batch(return_maps=True)
    assert torch.equal(full["image"], small["image"])
    # The full-size masks were resampled twice.
    assert (masks_of_batch(small, "core") - full["core_mask"]).abs().mean() < 0.01


@pytest.mark.parametrize(
    "transform",
    [*FOLLOWED, v2.Compose([v2.RandomHorizontalFlip(1.0), v2.CenterCrop(30), v2.Pad(9), v2.CenterCrop((40, 60))])],
    ids=lambda t: type(t).__name__,
)
def test_trap_where_a_crop_was_padded_nothing_is_known(transform: v2.Transform) -> None:
    """The crop frame goes on there, but the picture does not: a mask of ones ends with it."""
    ones = torch.full((1, 1, 7, 7), 255, dtype=torch.uint8)
    picture = tv_tensors.Image(torch.ones(3, 56, 56))
    torch.manual_seed(5)
    out = transform({"image": picture, "frame": MapFrame.whole(56)})
    made = masks_from_maps(ones, torch.ones(1, 1, dtype=torch.bool), out["frame"].as_subclass(Tensor)[None])
    image = out["image"].as_subclass(Tensor)[:1]
    sharp = (image == 0) | (image > 0.999)  # all but edges that were resized after they were padded
    assert sharp.float().mean() > 0.9 and made.max() == 1.0
    assert torch.equal(made[0].as_subclass(Tensor)[sharp], image[sharp].round())


def test_frames_of_different_sizes_are_refused() -> None:
    frames = torch.stack([MapFrame.whole(8).as_subclass(Tensor), MapFrame.whole(9).as_subclass(Tensor)])
    with pytest.raises(ValueError, match="pictures of one size"):
        masks_from_maps(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.ones(2, 1, dtype=torch.bool), frames)


def test_numpy_batches_in_the_compact_form(store: Store) -> None:
    full, small = (next(iter(NumpyLoader(store, batch_size=40, return_maps=r))) for r in (False, True))
    assert "core_mask" not in small and np.array_equal(small["maps"], store.maps)
    frames = MapFrame.whole(56).as_subclass(Tensor).expand(40, -1)
    for kind in ("core", "spurious"):
        chosen = torch.from_numpy(small[f"{kind}_features"])
        made = masks_from_maps(torch.from_numpy(small["maps"]), chosen, frames)[:, 0]
        assert np.abs(made.numpy() - full[f"{kind}_mask"]).max() < 1e-5
        assert np.array_equal(small[f"has_{kind}"], chosen.any(dim=1).numpy())


def test_mixed_precision_around_it_rounds_nothing() -> None:
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.integers(0, 256, (2, 3, 7, 7), dtype=np.uint8))
    chosen, frames = torch.ones(2, 3, dtype=torch.bool), torch.stack([MapFrame.whole(56)] * 2)
    expected = masks_from_maps(maps, chosen, frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(masks_from_maps(maps, chosen, frames), expected)
