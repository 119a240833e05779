"""The shape of a region: one set of functions for numpy arrays and torch tensors."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from salient_imagenet_data.loaders.region import Region, at_least_half, boxes, shaped

MASK = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.2, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.8, 0.0],
        [0.0, 0.0, 0.4, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ],
    dtype=np.float32,
)


def test_each_step_on_a_mask_typed_by_hand() -> None:
    wide = np.array(
        [
            [0.0, 0.2, 0.0, 0.0, 0.0],
            [0.2, 0.2, 0.2, 0.8, 0.0],
            [0.0, 0.2, 0.8, 0.8, 0.8],
            [0.0, 0.4, 0.4, 0.8, 0.0],
            [0.0, 0.0, 0.4, 0.0, 0.0],
        ],
        dtype=np.float32,
    )
    box = np.zeros((5, 5), dtype=np.float32)
    box[2:4, 2:4] = 1.0  # of 0.8 and 0.4, which is half of it, not of 0.2
    steps = {
        Region("core"): MASK,
        Region("core", dilation=1): wide,
        Region("core", dilation=1, normalise=True): wide / np.float32(0.8),
        Region("not_core", dilation=1, normalise=True): 1 - wide / np.float32(0.8),
        Region("core", box=True): box,
        Region("core", threshold=0.4): (np.float32(0.4) <= MASK).astype(np.float32),
    }
    for region, expected in steps.items():
        got = shaped(MASK, np.zeros_like(MASK), region)
        assert got.dtype == np.float32 and np.array_equal(got, expected), region


def test_arrays_and_tensors_give_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    core, spurious = rng.random((2, 3, 1, 17, 12)).astype(np.float32)
    core[1] = 0.0  # nothing to divide by
    names = ("core", "spurious", "neither", "not_core")
    for name, threshold, times, normalise, box in itertools.product(
        names, (None, 0.5), (0, 1, 4), (False, True), (False, True)
    ):
        region = Region(name, None, threshold, times, normalise, box)  # type: ignore[arg-type]
        array = shaped(core, spurious, region)
        tensor = shaped(torch.from_numpy(core), torch.from_numpy(spurious), region)
        assert array.dtype == np.float32 and tensor.dtype == torch.float32
        assert array.tobytes() == tensor.numpy().tobytes(), region
        single = shaped(core[2, 0], spurious[2, 0], region)  # an image alone
        assert single.tobytes() == array[2, 0].tobytes(), region


def test_the_masks_that_are_given_stay_as_they_are() -> None:
    array, tensor = MASK.copy(), torch.from_numpy(MASK.copy())
    shaped(array, array, Region("core", dilation=2, normalise=True))
    shaped(tensor, tensor, Region("core", dilation=2, normalise=True))
    assert np.array_equal(array, MASK) and np.array_equal(tensor.numpy(), MASK)


def test_an_empty_mask_has_no_box_and_an_empty_batch_no_masks() -> None:
    assert not boxes(np.zeros((2, 4, 4), dtype=np.float32)).any() and not at_least_half(np.zeros((4, 4))).any()
    assert boxes(torch.zeros(0, 1, 4, 4)).shape == (0, 1, 4, 4)


def test_arrays_need_no_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from salient_imagenet_data.loaders.region import Region, shaped\n"
        "m = np.ones((4, 4), np.float32)\n"
        "shaped(m, m, Region('neither', threshold=0.5, dilation=1, normalise=True, box=True))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("bad", [{"name": "both"}, {"control": "same"}, {"dilation": -1}, {"threshold": 0.0}])
def test_what_a_region_cannot_be(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Region: expected"):
        Region(**{"name": "core", **bad})  # type: ignore[arg-type]
