from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.official.fit import GridFit, decode_mask
from tests.release_files import jpeg, upsampled


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_grid_of_a_resized_mask_is_found_again(h: int, w: int, seed: int) -> None:
    grid = np.random.default_rng(seed).random((h, w))
    fitted = GridFit(72, (h, w))(upsampled(grid, 72))
    # Pixels are rounded to 1 / 255 once, the grid a second time.
    assert np.abs(fitted.grid / 255.0 - grid).max() <= 1.6 / 255
    assert fitted.max_error <= 1.6 / 255


def test_is_the_least_squares_solution_and_says_its_errors() -> None:
    rng = np.random.default_rng(1)
    noisy = np.clip(upsampled(rng.random((7, 7))) + rng.normal(0, 20, (56, 56)), 0, 255).astype(np.uint8)
    fitted = GridFit(56, (7, 7))(noisy)
    # Columns of the full design matrix: what each of the 49 cells alone makes, by torch.
    design = np.stack([upsampled(cell.reshape(7, 7)).ravel() / 255.0 for cell in np.eye(49)], axis=1)
    solution = np.linalg.lstsq(design, noisy.ravel().astype(np.float64), rcond=None)[0]
    assert np.abs(fitted.grid.ravel() - np.clip(solution, 0, 255)).max() < 1.5
    error = np.abs(upsampled(fitted.grid / 255.0).astype(float) - noisy) / 255.0
    assert fitted.mean_error == pytest.approx(error.mean(), abs=0.3 / 255)
    assert fitted.max_error == pytest.approx(error.max(), abs=0.6 / 255)


@pytest.mark.parametrize("quality", [75, 95])
def test_jpegs_noise_mostly_goes(quality: int) -> None:
    rng = np.random.default_rng(2)
    grid = np.maximum(rng.normal(0.1, 0.5, (7, 7)), 0.0)
    grid /= grid.max()
    fitted = GridFit(224, (7, 7))(decode_mask(jpeg(upsampled(grid, 224), quality), 224, "m"))
    assert np.abs(fitted.grid / 255.0 - grid).max() < 3 / 255 and fitted.mean_error < 1.5 / 255


def test_masks_that_no_grid_makes_say_so() -> None:
    board = (np.indices((56, 56)).sum(axis=0) % 2 * 255).astype(np.uint8)
    fitted = GridFit(56, (7, 7))(board)
    assert fitted.max_error == pytest.approx(0.5, abs=0.05) and fitted.mean_error == pytest.approx(0.5, abs=0.05)
    nothing = GridFit(56, (7, 7))(np.zeros((56, 56), dtype=np.uint8))
    assert nothing.grid.max() == 0 and nothing.max_error == 0.0


def test_buffers_do_not_leak_from_mask_to_mask() -> None:
    fit = GridFit(56, (7, 7))
    masks = [upsampled(np.random.default_rng(s).random((7, 7))) for s in range(3)]
    together = [fit(m) for m in masks]
    for mask, fitted in zip(masks, together, strict=True):
        alone = GridFit(56, (7, 7))(mask)
        assert np.array_equal(alone.grid, fitted.grid) and alone.max_error == fitted.max_error


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
