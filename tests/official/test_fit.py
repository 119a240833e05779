from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.official.fit import GridFit, decode_mask, pooling
from tests.release_files import jpeg, upsampled


def one(mask: np.ndarray, grid: tuple[int, int] = (7, 7), pool: int = 1) -> tuple[np.ndarray, float, float]:
    """Grid, mean and greatest error of one mask, given in pixels."""
    pooled = mask.reshape(len(mask) // pool, pool, -1, pool).mean(axis=(1, 3))
    masks = np.rint(pooled).astype(np.uint8)[None]
    fit = GridFit(len(mask), grid, pool)
    grids = fit(masks)
    errors = fit.errors(grids, masks)
    return grids[0], float(errors.mean[0]), float(errors.max[0])


@settings(deadline=None)  # the first call may wait for a busy machine
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2]), st.integers(0, 2**32 - 1))
def test_the_grid_of_a_resized_mask_is_found_again(h: int, w: int, pool: int, seed: int) -> None:
    grid = np.random.default_rng(seed).random((h, w))
    found, _, greatest = one(upsampled(grid, 72), (h, w), pool)
    # Pixels (or their means) are rounded to 1 / 255 once, the grid a second time.
    assert np.abs(found / 255.0 - grid).max() <= 2.1 / 255
    assert greatest <= 2.1 / 255


def test_is_the_least_squares_solution_and_says_its_errors() -> None:
    rng = np.random.default_rng(1)
    noisy = np.clip(upsampled(rng.random((7, 7))) + rng.normal(0, 20, (56, 56)), 0, 255).astype(np.uint8)
    found, mean, greatest = one(noisy)
    # Columns of the full design matrix: what each of the 49 cells alone makes, by torch.
    design = np.stack([upsampled(cell.reshape(7, 7)).ravel() / 255.0 for cell in np.eye(49)], axis=1)
    solution = np.linalg.lstsq(design, noisy.ravel().astype(np.float64), rcond=None)[0]
    assert np.abs(found.ravel() - np.clip(solution, 0, 255)).max() < 1.5
    error = np.abs(upsampled(found / 255.0).astype(float) - noisy) / 255.0
    assert mean == pytest.approx(error.mean(), abs=0.3 / 255)
    assert greatest == pytest.approx(error.max(), abs=0.6 / 255)


def test_pooling_is_what_leaves_four_values_a_cell() -> None:
    assert [pooling(224, (7, 7)), pooling(224, (14, 14)), pooling(56, (7, 7)), pooling(60, (2, 2))] == [8, 4, 2, 1]
    assert [pooling(224, (7, 28)), pooling(224, (224, 224))] == [2, 1]


@pytest.mark.parametrize("quality", [75, 95])
def test_jpegs_noise_mostly_goes(quality: int) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        grid = np.maximum(rng.normal(0.1, 0.5, (7, 7)), 0.0)
        grid /= grid.max()
        data = jpeg(upsampled(grid, 224), quality)
        for pool in (1, pooling(224, (7, 7))):
            found = GridFit(224, (7, 7), pool)(decode_mask(data, 224, "m", pool)[None])[0]
            assert np.abs(found / 255.0 - grid).max() < 3 / 255


@pytest.mark.parametrize("pool", [2, 4, 8])
def test_decoding_small_gives_means_of_pixels(pool: int) -> None:
    data = jpeg(upsampled(np.random.default_rng(3).random((7, 7)), 224))
    means = decode_mask(data, 224, "m").reshape(224 // pool, pool, 224 // pool, pool).mean(axis=(1, 3))
    assert np.abs(decode_mask(data, 224, "m", pool) - means).max() <= 1.5


def test_masks_that_no_grid_makes_say_so() -> None:
    board = (np.indices((56, 56)).sum(axis=0) % 2 * 255).astype(np.uint8)
    _, mean, greatest = one(board)
    assert greatest == pytest.approx(0.5, abs=0.05) and mean == pytest.approx(0.5, abs=0.05)
    nothing, mean, greatest = one(np.zeros((56, 56), dtype=np.uint8))
    assert nothing.max() == 0 and mean == greatest == 0.0


def test_many_masks_at_once_are_each_alone() -> None:
    masks = np.stack([upsampled(np.random.default_rng(s).random((7, 7))) for s in range(3)])
    fit = GridFit(56, (7, 7))
    grids = fit(masks)
    errors = fit.errors(grids, masks)
    for i, mask in enumerate(masks):
        grid, mean, greatest = one(mask)
        assert np.array_equal(grid, grids[i])
        assert errors.mean[i] == pytest.approx(mean) and errors.max[i] == pytest.approx(greatest)


def test_decoding_is_pillows() -> None:
    data = jpeg(upsampled(np.eye(7)))
    assert np.array_equal(decode_mask(data, 56, "m"), np.asarray(Image.open(io.BytesIO(data))))


def test_hostile_jpegs() -> None:
    gray = np.zeros((56, 56), dtype=np.uint8)
    good = jpeg(upsampled(np.eye(7)))
    with pytest.raises(ImageError, match="m: not a mask; expected 8-bit gray, 56 x 56; got L, 55 x 56"):
        decode_mask(jpeg(gray[:, 1:]), 56, "m")
    with pytest.raises(ImageError, match="m: not a mask; .*got RGB, 56 x 56"):
        decode_mask(jpeg(np.zeros((56, 56, 3), dtype=np.uint8)), 56, "m")
    for size in (10, 100, len(good) // 2, len(good) - 40):
        with pytest.raises(ImageError, match="m: cannot decode"):
            decode_mask(good[:size], 56, "m")
    huge = bytearray(good)
    at = huge.index(b"\xff\xc0")
    huge[at + 5 : at + 9] = b"\xff\xdc\xff\xdc"  # 65500 x 65500 pixels in a few bytes
    with pytest.raises(ImageError, match="m: (not a mask|cannot decode)"):
        decode_mask(bytes(huge), 56, "m")
    png = io.BytesIO()
    Image.fromarray(gray).save(png, format="PNG")
    for other in (b"", b"GIF89a", png.getvalue()):
        with pytest.raises(ImageError, match=f"m: cannot decode; expected a JPEG file; got {len(other)} other bytes"):
            decode_mask(other, 56, "m")
