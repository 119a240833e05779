from __future__ import annotations

import hashlib
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from salient_imagenet_data.loaders import (
    Blur,
    Composite,
    Corruption,
    Fill,
    GaussianNoise,
    Inpaint,
    Shuffle,
    Static,
    Swap,
    Tile,
    corrupt,
    gaussian_noise,
    image_seeds,
)
from salient_imagenet_data.loaders.corruption.corruptions import image_generator

EVERY: list[Corruption] = [
    GaussianNoise(0.4),
    GaussianNoise(l2_norm=3.0),
    Fill("gray"),
    Fill("black"),
    Fill("mean"),
    Fill((0.485, 0.456, 0.406)),
    Blur(1.5),
    Shuffle(),
    Static(),
    Tile(),
    Inpaint(),
    Swap(),
    Composite(v2.RandomPhotometricDistort(p=1.0)),
    Composite(v2.RandomErasing(p=1.0)),
    Composite(v2.JPEG(10), as_uint8=True),
]
each = pytest.mark.parametrize("corruption", EVERY, ids=lambda c: c.name[:20])


def batch(height: int, width: int, n: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Images, others, soft masks with zeros and ones in them, seeds."""
    generator = torch.Generator().manual_seed(seed)
    images, others = torch.rand(2, n, 3, height, width, generator=generator)
    masks = (torch.rand(n, 1, height, width, generator=generator) * 2 - 0.5).clamp(0, 1)
    if dtype == torch.uint8:
        images, others = (images * 255).round(), (others * 255).round()
    return images.to(dtype), others.to(dtype), masks, image_seeds(seed, [f"class/{i}" for i in range(n)])


def run(corruption: Corruption, images: Tensor, others: Tensor, masks: Tensor, seeds: list[int]) -> Tensor:
    return corrupt(images, masks, corruption, seeds, others=others if isinstance(corruption, Swap) else None)


def one(corruption: Corruption, image: Tensor, mask: Tensor, seed: int = 7) -> Tensor:
    return corrupt(image[None], mask[None], corruption, [seed])[0]


@given(st.floats(0, 2), st.integers(0, 1000))
@settings(deadline=None)
def test_noise_against_the_formula_in_numpy(sigma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, mask = rng.random((3, 6, 5), dtype=np.float32), rng.random((1, 6, 5), dtype=np.float32)
    noise = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(seed)).numpy().astype(np.float64)
    expected = np.clip(image.astype(np.float64) + sigma * noise * mask.astype(np.float64), 0.0, 1.0)
    x, m = torch.from_numpy(image), torch.from_numpy(mask)
    got = gaussian_noise(x, m, sigma, torch.Generator().manual_seed(seed))
    assert np.abs(got.numpy() - expected).max() < 1e-5
    assert torch.equal(one(GaussianNoise(sigma), x, m, seed), got)


@given(st.floats(0, 50), st.integers(0, 1000))
@settings(deadline=None)
def test_noise_of_a_norm_against_numpy(norm: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, mask = rng.random((3, 6, 5), dtype=np.float32), rng.random((1, 6, 5), dtype=np.float32)
    noise = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(seed)).numpy().astype(np.float64) * mask
    expected = np.clip(image + noise * norm / np.sqrt((noise**2).sum()), 0.0, 1.0)
    got = one(GaussianNoise(l2_norm=norm), torch.from_numpy(image), torch.from_numpy(mask), seed)
    assert np.abs(got.numpy() - expected).max() < 1e-4


def test_noise_of_a_small_norm_has_that_norm() -> None:
    image, mask = torch.full((3, 20, 20), 0.5), torch.zeros(1, 20, 20)
    mask[:, 3:9, 4:15] = 0.7
    assert float((one(GaussianNoise(l2_norm=1.5), image, mask) - image).norm()) == pytest.approx(1.5, rel=1e-5)


@pytest.mark.parametrize(
    ("color", "rgb"), [("gray", (0.5,) * 3), ("black", (0.0,) * 3), ("mean", None), ((0.1, 0.2, 0.9), (0.1, 0.2, 0.9))]
)
def test_fill_against_numpy(color: Any, rgb: tuple[float, ...] | None) -> None:
    images, _, masks, seeds = batch(6, 9)
    x, m = images.numpy().astype(np.float64), masks.numpy().astype(np.float64)
    paint = x.mean(axis=(2, 3), keepdims=True) if rgb is None else np.array(rgb)[None, :, None, None]
    assert np.abs(corrupt(images, masks, Fill(color), seeds).numpy() - (x * (1 - m) + paint * m)).max() < 1e-6


@given(st.sampled_from([0.5, 1.0, 2.5, 6.0]), st.integers(1, 12), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_blur_against_a_padded_convolution_in_numpy(sigma: float, height: int, width: int) -> None:
    image = np.random.default_rng(height * 31 + width).random((3, height, width))
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    expected = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    for axis in (1, 2):
        expected = np.apply_along_axis(np.convolve, axis, expected, weights / weights.sum(), mode="valid")
    got = one(Blur(sigma), torch.from_numpy(image).float(), torch.ones(1, height, width))
    assert np.abs(got.numpy() - expected).max() < 1e-5


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_shuffle_permutes_the_region_and_nothing_else(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    image, inside = rng.random((3, height, width), dtype=np.float32), rng.random((height, width)) < 0.6
    got = one(Shuffle(), torch.from_numpy(image), torch.from_numpy(inside).float()[None], seed).numpy()
    assert np.array_equal(got[:, ~inside], image[:, ~inside])
    before, after = ({tuple(pixel) for pixel in picture[:, inside].T} for picture in (image, got))
    assert before == after and got[:, inside].shape[1] == len(after)
    if inside.sum() > 8:
        assert not np.array_equal(got, image)


def test_static_is_even_and_laid_in_by_the_mask() -> None:
    image, mask = torch.full((3, 64, 64), 0.3), torch.ones(1, 64, 64)
    mask[:, 32:] = 0.25
    found = one(Static(), image, mask)
    top, bottom = found[:, :32].flatten().sort().values, (found[:, 32:] - 0.75 * 0.3) / 0.25
    even = torch.arange(1, len(top) + 1) / len(top)
    assert (top - even).abs().max() < 0.03 and (
        bottom.flatten().sort().values - even
    ).abs().max() < 0.03  # Kolmogorov's distance
    assert abs(float(torch.corrcoef(found[:, :32].flatten(1))[0, 1])) < 0.1  # channels each their own


def test_tile_by_hand() -> None:
    # The box of the region is rows 1-2, columns 3-4. The strip on its left is the largest: rows 1-2, columns 0-2.
    image = torch.arange(24.0).view(1, 4, 6).expand(3, -1, -1) / 32
    mask = torch.zeros(1, 4, 6)
    mask[0, 1, 3], mask[0, 2, 4], mask[0, 0, 0] = 0.8, 0.8, 0.3
    got = one(Tile(), image, (mask > 0.5).float())[0] * 32
    expected = torch.arange(24.0).view(4, 6)
    expected[1, 3], expected[2, 4] = 6.0, 13.0  # row 1, column 0 and row 2, column 1
    assert torch.equal(got, expected)
    boxed = torch.zeros(1, 4, 6)
    boxed[:, 1:3, 3:5] = 1.0
    assert torch.equal(one(Tile(), image, boxed)[0, 1:3, 3:5] * 32, torch.tensor([[6.0, 7.0], [12.0, 13.0]]))


def test_trap_tile_keeps_rows_and_columns_apart() -> None:
    # A wide picture with a wide region at its foot: the strip above it is the largest, and repeats downwards.
    image = torch.rand(3, 9, 14)
    mask = torch.zeros(1, 9, 14)
    mask[:, 5:9, 2:13] = 1.0
    got = one(Tile(), image, mask)
    for row in range(5, 9):
        assert torch.equal(got[:, row, 2:13], image[:, (row - 5) % 5, 2:13])


def laplace(image: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Exact solution: a pixel of the hole is the mean of its four neighbours, edge pixels their own neighbours."""
    height, width = hole.shape
    places = {tuple(p): i for i, p in enumerate(np.argwhere(hole).tolist())}
    matrix, right = np.eye(len(places)), np.zeros((len(places), len(image)))
    for (y, x), i in places.items():
        for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            near = (min(max(ny, 0), height - 1), min(max(nx, 0), width - 1))
            if near in places:
                matrix[i, places[near]] -= 0.25
            else:
                right[i] += image[:, near[0], near[1]] / 4
    result = image.copy()
    result[:, hole] = np.linalg.solve(matrix, right).T
    return result


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_inpaint_goes_to_the_solution_of_laplaces_equation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, hole = rng.random((3, 9, 11)), rng.random((9, 11)) < 0.5
    hole[2:6, 3:8] = True
    hole[0, 0] = False
    x, m = torch.from_numpy(image).float(), torch.from_numpy(hole).float()[None]
    assert np.abs(one(Inpaint(sweeps=600), x, m).numpy() - laplace(image, hole)).max() < 1e-3


def test_inpaint_of_a_smooth_picture_is_close_with_few_sweeps() -> None:
    across, down = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 64))
    image = np.stack([across, down, (across + down) / 2])
    hole = np.hypot(across - 0.5, down - 0.4) < 0.25
    x, m = torch.from_numpy(image).float(), torch.from_numpy(hole).float()[None]
    error = np.abs(one(Inpaint(), x, m).numpy() - laplace(image, hole)).max()
    assert error < 0.05 < np.abs(one(Fill("gray"), x, m).numpy() - image).max()


@pytest.mark.parametrize("corruption", [Tile(), Inpaint()])
def test_where_nothing_is_outside_the_region_the_fill_is_gray(corruption: Corruption) -> None:
    assert torch.equal(one(corruption, torch.rand(3, 7, 5), torch.ones(1, 7, 5)), torch.full((3, 7, 5), 0.5))


def test_swap_and_jpeg_against_what_they_are_made_of() -> None:
    images, others, masks, seeds = batch(16, 24, dtype=torch.uint8)
    m = masks.double()
    expected = (images * (1 - m) + others * m).round()
    assert (corrupt(images, masks, Swap(), seeds, others=others) - expected).abs().max() <= 1
    decoded = torch.stack([v2.functional.jpeg(image, 10) for image in images])
    assert torch.equal(corrupt(images, torch.ones_like(masks), Composite(v2.JPEG(10), as_uint8=True), seeds), decoded)


def test_composite_leaves_the_global_generator_alone() -> None:
    images, _, masks, seeds = batch(8, 8)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    corrupt(images, masks, Composite(v2.RandomErasing(p=1.0)), seeds)
    assert torch.equal(torch.rand(3), expected)
    with pytest.raises(ValueError, match=r"keeps \(3, 8, 8\), got \(3, 4, 4\)"):
        corrupt(images, masks, Composite(v2.CenterCrop(4)), seeds)


@each
@given(st.integers(1, 17), st.integers(1, 17), st.integers(0, 3), st.sampled_from(["f32", "f64", "u8"]), st.booleans())
@settings(deadline=None, max_examples=12)
def test_shapes_dtypes_and_masks_of_zeros_and_ones(
    corruption: Corruption, height: int, width: int, n: int, kind: str, full: bool
) -> None:
    dtype = {"f32": torch.float32, "f64": torch.float64, "u8": torch.uint8}[kind]
    images, others, masks, seeds = batch(height, width, n, dtype=dtype)
    kept = images.clone()
    out = run(corruption, images, others, masks, seeds)
    assert out.shape == images.shape and out.dtype == dtype and torch.equal(images, kept)
    untouched = (masks == 0).expand_as(images)
    # float64 goes through float32.
    same = images.float().to(dtype) if kind == "f64" else images
    assert torch.equal(out[untouched], same[untouched])
    assert torch.equal(run(corruption, images, others, torch.zeros_like(masks), seeds), same)
    if n and kind != "u8":
        assert 0.0 <= float(out.min()) <= float(out.max()) <= 1.0
    if full and isinstance(corruption, Swap):
        assert torch.equal(run(corruption, images, others, torch.ones_like(masks), seeds), others.float().to(dtype))


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_batch_order_and_layout_change_nothing(corruption: Corruption, dtype: torch.dtype) -> None:
    images, others, masks, seeds = batch(15, 13, 5, dtype=dtype)
    whole = run(corruption, images, others, masks, seeds)
    for i in range(5):
        assert torch.equal(run(corruption, images[[i]], others[[i]], masks[[i]], seeds[i : i + 1])[0], whole[i])
    back = run(corruption, images.flip(0), others.flip(0), masks.flip(0), seeds[::-1])
    assert torch.equal(back.flip(0), whole)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(run(corruption, last, others, masks, seeds), whole)


@each
def test_half_precision(corruption: Corruption) -> None:
    if isinstance(corruption, Composite):
        pytest.skip("what a transform does with half precision is the transform's affair")
    images, others, masks, seeds = batch(9, 8, dtype=torch.float16)
    out = run(corruption, images, others, masks, seeds)
    full = run(corruption, images.float(), others.float(), masks, seeds)
    assert out.dtype == torch.float16 and torch.equal(out, full.half())


def test_random_corruptions_hang_on_the_seed() -> None:
    images, _, masks, seeds = batch(12, 12)
    other = image_seeds(0, [f"class/{i}" for i in range(3)], "another condition")
    for corruption in (
        GaussianNoise(),
        GaussianNoise(l2_norm=2.0),
        Shuffle(),
        Static(),
        Composite(v2.RandomErasing(p=1.0)),
    ):
        assert not torch.equal(corrupt(images, masks, corruption, seeds), corrupt(images, masks, corruption, other))


def test_seeds_are_a_function_of_seed_id_and_condition() -> None:
    # How seeds are made is part of what published numbers stand on: it must not change.
    by_hand = int.from_bytes(hashlib.blake2b(b"4\0a/1", digest_size=8).digest(), "little") >> 1
    assert image_seeds(4, ["a/1"]) == [by_hand] == [image_generator(4, "a/1").initial_seed()]
    parts = [(4, "a/1", ""), (5, "a/1", ""), (4, "a/2", ""), (4, "a/1", "x"), (4, "a/1", "y")]
    seeds = [image_seeds(s, [i], c)[0] for s, i, c in parts]
    assert len(set(seeds)) == 5 and all(0 <= s < 2**63 for s in seeds)
    assert image_seeds(4, ["b", "a/1"])[1] == by_hand


def test_names_are_unique_and_records_pickle() -> None:
    assert len({c.name for c in EVERY}) == len(EVERY)
    for corruption in EVERY:
        again = pickle.loads(pickle.dumps(corruption))
        assert again.name == corruption.name and (isinstance(corruption, Composite) or again == corruption)


def test_what_does_not_fit_is_refused() -> None:
    images, others, masks, seeds = batch(4, 4)
    cases: list[tuple[type[Exception], str, Any]] = [
        (TypeError, "images: expected uint8, or float", lambda: corrupt((images * 255).int(), masks, Fill(), seeds)),
        (TypeError, "masks: expected float", lambda: corrupt(images, masks > 0.5, Fill(), seeds)),
        (ValueError, r"expected \(B, 3, H, W\), got \(3, 4, 4\)", lambda: corrupt(images[0], masks, Fill(), seeds)),
        (ValueError, r"masks: expected \(3, 1, 4, 4\)", lambda: corrupt(images, masks[:, 0], Fill(), seeds)),
        (ValueError, r"images: expected values in \[0, 1\], got", lambda: corrupt(images * 255, masks, Fill(), seeds)),
        (ValueError, r"masks: expected values in \[0, 1\]", lambda: corrupt(images, masks - 1, Fill(), seeds)),
        (ValueError, "got nan", lambda: corrupt(images * torch.nan, masks, Fill(), seeds)),
        (ValueError, "expected 3 seeds, got 2", lambda: corrupt(images, masks, Fill(), seeds[:2])),
        (ValueError, "for Swap, got none", lambda: corrupt(images, masks, Swap(), seeds)),
        (ValueError, "for Swap, got", lambda: corrupt(images, masks, Swap(), seeds, others=others[:2])),
        (ValueError, "Fill: expected gray", lambda: Fill("grey")),
        (ValueError, "three numbers", lambda: Fill((0.1, 0.2, 255.0))),
        (ValueError, "sigma > 0", lambda: Blur(0.0)),
        (ValueError, ">= 0", lambda: GaussianNoise(-1.0)),
        (ValueError, ">= 0", lambda: GaussianNoise(float("nan"))),
        (ValueError, "sweeps >= 0", lambda: Inpaint(-1)),
        (TypeError, "float image", lambda: gaussian_noise(images.byte(), masks, 0.1, torch.Generator())),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_images_may_be_tv_tensors() -> None:
    images, _, masks, seeds = batch(5, 6)
    wrapped = corrupt(tv_tensors.Image(images), masks, Fill(), seeds)
    assert torch.equal(wrapped.as_subclass(Tensor), corrupt(images, masks, Fill(), seeds))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each
def test_on_a_gpu(corruption: Corruption) -> None:
    images, others, masks, seeds = batch(32, 32, 4)
    moved = [t.cuda() for t in (images, others, masks)]
    got = run(corruption, *moved, seeds)
    assert got.is_cuda and torch.equal(run(corruption, *(t[:1] for t in moved), seeds[:1])[0], got[0])
    if not isinstance(corruption, (GaussianNoise, Shuffle, Static)):  # other random numbers
        assert (got.cpu() - run(corruption, images, others, masks, seeds)).abs().max() < 1e-2


@pytest.mark.parametrize("corruption", [Blur(5.0), Inpaint(), GaussianNoise(0.5)], ids=lambda c: c.name)
def test_mixed_precision_around_it_rounds_nothing(corruption: Corruption) -> None:
    images, masks = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    expected = corrupt(images, masks, corruption, [1, 2])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(corrupt(images, masks, corruption, [1, 2]), expected)


def test_what_is_kept_between_calls_serves_gradients() -> None:
    """A blur first made under inference mode, of a size that no other test has."""
    images, masks = torch.rand(1, 3, 37, 41), torch.ones(1, 1, 37, 41)
    with torch.inference_mode():
        corrupt(images, masks, Blur(3.0), [0])
    images.requires_grad_(True)
    corrupt(images, masks, Blur(3.0), [0]).sum().backward()
    assert images.grad is not None and bool(images.grad.any())


def test_a_composite_leaves_every_generator_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of devices that the image is not on: torch.manual_seed would seed them and nothing put them back."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeds every CUDA device"))
    images, masks = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    before = torch.random.get_rng_state()
    corrupt(images, masks, Composite(v2.RandomHorizontalFlip(), label="flip"), [3])
    assert torch.equal(torch.random.get_rng_state(), before)
