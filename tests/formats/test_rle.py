"""Run lengths against pycocotools, and against a decoder of rle-pack written from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from salient_imagenet_data.formats.rle import brush, coco_counts, run_lengths


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Of few and of many runs, some of them long."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    share = draw(st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
    return np.asarray(np.random.default_rng(draw(st.integers(0, 2**32))).random((height, width)) < share)


@given(masks())
@settings(max_examples=100, deadline=None)
def test_cocos_string_is_that_of_its_own_tools(mask: NDArray[np.bool_]) -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="in the extra dev")
    theirs = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert coco_counts(mask) == theirs["counts"].decode()


def test_cocos_string_of_long_runs_is_that_of_its_own_tools() -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="in the extra dev")
    mask = np.zeros((700, 900), dtype=np.bool_)
    mask[100:650, 3:890] = True
    mask[300, 500] = False
    assert coco_counts(mask) == tools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_a_string_known_by_heart() -> None:
    """Columns 0 1 1 0 | 1 1 1 1: runs 1, 2, 1, 4. The fourth is written as 4 - 2."""
    assert coco_counts(np.array([[0, 1], [1, 1], [1, 1], [0, 1]], dtype=np.bool_)) == "1212"
    assert run_lengths(np.array([True, True, False])).tolist() == [0, 2, 1]


def unpacked(data: bytes) -> NDArray[np.uint8]:
    """rle-pack read bit by bit: 32 bits of count, 5 of word size - 1, four times 4 of size - 1, then runs."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < count:
        same = read(1)
        length = read(sizes[read(2)]) + 1
        out += [read(word)] * length if same else [read(word) for _ in range(length)]
    assert len(out) == count and len(bits) - at < 8
    return np.array(out, dtype=np.uint8)


@given(masks())
@settings(max_examples=50, deadline=None)
def test_a_brush_is_four_equal_channels(mask: NDArray[np.bool_]) -> None:
    pixels = unpacked(brush(mask)).reshape(*mask.shape, 4)
    assert np.array_equal(pixels, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))


def test_a_brush_longer_than_a_run_can_be() -> None:
    mask = np.zeros((200, 200), dtype=np.bool_)
    mask[150:] = True
    assert np.array_equal(unpacked(brush(mask)).reshape(200, 200, 4)[..., 3] > 0, mask)
