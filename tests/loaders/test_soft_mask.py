from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from salient_imagenet_data.loaders import FiveCrop, SoftMask, TenCrop

LINEAR = v2.InterpolationMode.BILINEAR
GEOMETRIC: list[v2.Transform] = [
    v2.Resize(40, antialias=True),
    v2.Resize((30, 61), interpolation=LINEAR, antialias=False),
    v2.Resize(20, max_size=29),
    v2.RandomShortestSize([20, 33]),
    v2.RandomResize(20, 60),
    v2.ScaleJitter((50, 60)),
    v2.CenterCrop(30),
    v2.CenterCrop((51, 70)),
    v2.RandomCrop(40, padding=6),
    v2.RandomCrop(80, pad_if_needed=True),
    v2.RandomResizedCrop(32, antialias=True),
    v2.RandomHorizontalFlip(1.0),
    v2.RandomVerticalFlip(1.0),
    v2.RandomRotation((20, 60), interpolation=LINEAR),
    v2.RandomRotation((20, 60), interpolation=LINEAR, expand=True, center=[3, 9]),
    v2.RandomAffine((10, 40), translate=(0.2, 0.2), interpolation=LINEAR),
    v2.RandomAffine(0, scale=(0.5, 2.0), shear=(5, 20, 5, 20), interpolation=LINEAR),
    v2.RandomPerspective(0.5, p=1.0),
    v2.ElasticTransform(80.0),
    v2.Pad(5, fill=0),
    v2.Pad((1, 2, 3, 4), padding_mode="reflect"),
    v2.Pad((1, 2), padding_mode="edge"),
    v2.Pad(4, padding_mode="symmetric"),
    v2.RandomZoomOut(fill=0, p=1.0),
    v2.RandomApply([v2.RandomRotation(30, interpolation=LINEAR)], p=1.0),
    v2.RandomChoice([v2.CenterCrop(9), v2.Resize(9)]),
    v2.RandomOrder([v2.CenterCrop(40), v2.Resize(33)]),
]


def plane(height: int = 48, width: int = 57) -> Tensor:
    return torch.rand(1, height, width, generator=torch.Generator().manual_seed(0))


def plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda t: type(t).__name__)
def test_soft_masks_move_as_torchvisions_own_images_do(transform: v2.Transform) -> None:
    torch.manual_seed(1)
    out = transform({"image": tv_tensors.Image(plane()), "mask": SoftMask(plane())})
    assert isinstance(out["mask"], SoftMask) and out["mask"].shape == out["image"].shape
    assert (plain(out["mask"]) - plain(out["image"]).clamp(0, 1)).abs().max() < 1e-5


@pytest.mark.parametrize("transform", [FiveCrop(20), TenCrop((20, 30)), TenCrop(11, vertical_flip=True)])
def test_five_and_ten_crops(transform: v2.Transform) -> None:
    out = transform({"image": tv_tensors.Image(plane()), "mask": SoftMask(plane()), "label": 3})
    assert len(out["mask"]) == len(out["image"]) in (5, 10) and out["label"] == 3
    for mask, image in zip(out["mask"], out["image"], strict=True):
        assert isinstance(mask, SoftMask) and torch.equal(plain(mask), plain(image))


def test_every_geometric_kernel_of_torchvision_has_one_of_ours() -> None:
    """Where torchvision's own masks have a kernel that moves pixels, a SoftMask does not fall back on it."""
    from torchvision.transforms.v2.functional._utils import _KERNEL_REGISTRY

    moved = {f for f, kernels in _KERNEL_REGISTRY.items() if tv_tensors.Mask in kernels} - {F.get_size, F.to_dtype}
    assert {F.resize, F.elastic, F.resized_crop} <= moved
    assert all(SoftMask in _KERNEL_REGISTRY[f] for f in moved | {F.five_crop, F.ten_crop})


def test_masks_without_a_channel_axis() -> None:
    for call in (lambda m: F.rotate(m, 33.0, interpolation=LINEAR), lambda m: F.resize(m, [20]), F.horizontal_flip):
        flat, deep = call(SoftMask(plane()[0])), call(SoftMask(plane()))
        assert flat.ndim == 2 and torch.equal(plain(flat), plain(deep)[0])


def test_trap_masks_are_not_resized_by_nearest_neighbour_nor_filled_nor_recoloured() -> None:
    mask = SoftMask(torch.eye(8)[None])
    resized = v2.Resize(64)({"image": tv_tensors.Image(torch.zeros(3, 8, 8)), "mask": mask})["mask"]
    assert ((resized > 0) & (resized < 1)).any()
    nearest = v2.RandomRotation((30, 30), interpolation=v2.InterpolationMode.NEAREST)(mask)
    assert ((nearest > 0) & (nearest < 1)).any()
    sample = {"image": tv_tensors.Image(torch.full((3, 8, 8), 100, dtype=torch.uint8)), "mask": mask}
    assert v2.Pad(2, fill=77)(sample)["mask"][0, 0].sum() == 0


@pytest.mark.parametrize(
    "transform",
    [
        v2.ColorJitter(0.9, 0.9, 0.9, 0.4),
        v2.RandomPhotometricDistort(p=1.0),
        v2.RandomChannelPermutation(),
        v2.RandomInvert(1.0),
        v2.RandomPosterize(2, p=1.0),
        v2.RandomSolarize(0.2, p=1.0),
        v2.RandomEqualize(1.0),
        v2.RandomAutocontrast(1.0),
        v2.RandomAdjustSharpness(3.0, p=1.0),
        v2.RandomGrayscale(1.0),
        v2.GaussianBlur(5),
        v2.JPEG(10),
        v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.GaussianNoise(),
                v2.RandomErasing(1.0),
                v2.Normalize([0.5] * 3, [0.2] * 3),
            ]
        ),
    ],
    ids=lambda t: type(t).__name__,
)
def test_colour_transforms_leave_masks_alone(transform: v2.Transform) -> None:
    image = tv_tensors.Image((plane() * torch.tensor([255.0, 99.0, 20.0])[:, None, None]).byte())
    mask = SoftMask(plane())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RandomErasing says that it passes masks through, which is what is tested
        torch.manual_seed(2)
        out = transform({"image": image, "mask": mask})
    assert isinstance(out["mask"], SoftMask) and torch.equal(out["mask"], mask)
    assert out["image"].dtype != image.dtype or not torch.equal(out["image"], image)


@pytest.mark.parametrize("transform", [v2.RandAugment(), v2.AutoAugment(), v2.TrivialAugmentWide(), v2.AugMix()])
def test_trap_transforms_that_would_move_the_image_alone_are_refused(transform: v2.Transform) -> None:
    with pytest.raises(TypeError, match="not supported"):
        transform({"image": tv_tensors.Image(torch.zeros(3, 8, 8, dtype=torch.uint8)), "mask": SoftMask(plane(8, 8))})


def test_trap_images_are_not_mixed_under_masks_that_are_not() -> None:
    batch = {"image": torch.rand(2, 3, 8, 8), "mask": SoftMask(torch.rand(2, 1, 8, 8))}
    for mix in (v2.CutMix(num_classes=3), v2.MixUp(num_classes=3)):
        with pytest.raises(ValueError, match="does not support"):
            mix(batch, torch.tensor([0, 1]))


def test_soft_masks_are_float() -> None:
    with pytest.raises(TypeError, match=r"expected a float tensor in \[0, 1\], got torch.uint8"):
        SoftMask(torch.zeros(2, 2, dtype=torch.uint8))
