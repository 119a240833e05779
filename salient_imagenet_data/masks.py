"""Mask arithmetic on arrays: quantise, dequantise, unite. Masks are soft, in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import CropBox, Preprocessing, axis_weights, to_crop_frame, to_image_frame


def quantise(maps: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Divide each map by its own peak and store it in 8 bits.

    maps: (..., h, w) float, activations; negative values count as 0. Returns (..., h, w) uint8 with 255 at
    the peak, and the peaks (...) float32. A map without a positive value is all zeros with peak 0, where
    the 2022 code divides by zero. The error of `dequantise` is at most 0.5 / 255.
    """
    values = np.maximum(np.asarray(maps, dtype=np.float32), 0.0)
    if not np.isfinite(values).all():
        raise SalientError(
            "activation maps hold infinities or NaN", expected="finite numbers", then="check the weights"
        )
    peaks = values.max(axis=(-2, -1))
    divisor = np.where(peaks > 0, peaks, 1.0).astype(np.float32)[..., None, None]
    return np.rint(values / divisor * np.float32(255.0)).astype(np.uint8), peaks


def dequantise(maps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 maps -> float32 in [0, 1], peak 1."""
    result: NDArray[np.float32] = maps.astype(np.float32) / np.float32(255.0)
    return result


def union_in_crop(maps: NDArray[np.uint8], chosen: NDArray[np.bool_], height: int, width: int) -> NDArray[np.float32]:
    """Pixelwise maximum of the chosen maps, in the crop frame.

    maps: (K, h, w) uint8. chosen: (K,) bool. Returns (height, width) float32; zeros if none is chosen, which
    the caller must tell apart from an empty mask. Each map is resized before the maximum is taken, as in
    the 2022 method: the maximum of resized maps is not the resized maximum.
    """
    grids = dequantise(maps[chosen])
    if not len(grids):
        return np.zeros((height, width), dtype=np.float32)
    result = to_crop_frame(grids[0], height, width)
    for grid in grids[1:]:  # one by one, so that what is compared is still in the caches
        np.maximum(result, to_crop_frame(grid, height, width), out=result)
    return result


def union_in_image(
    maps: NDArray[np.uint8], chosen: NDArray[np.bool_], height: int, width: int, box: CropBox
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The same in the image frame, with `valid` (height, width): False where nothing is known and the mask is 0."""
    grids = dequantise(maps[chosen]) if chosen.any() else np.zeros((1, *maps.shape[1:]), dtype=np.float32)
    pixels, valid = to_image_frame(grids, height, width, box)
    return pixels.max(axis=0), valid


def union_in_box(
    maps: NDArray[np.uint8], chosen: NDArray[np.bool_], store_box: CropBox, model_box: CropBox, crop: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The same in another network's crop, and which pixels are known; (crop, crop) each.

    maps: (K, h, w) uint8 over the store's box. chosen: (K,) bool. Both boxes are in pixels of one original image: each
    pixel centre of the network's crop is looked up in the grid there, bilinearly, with half-pixel centres. Where the
    network sees more than the store's crop nothing is known: the mask is 0, and neither a region nor its complement may
    touch those pixels. With equal boxes this is `union_in_crop`, bit by bit.
    """
    if store_box == model_box:
        return union_in_crop(maps, chosen, crop, crop), np.ones((crop, crop), dtype=np.bool_)
    x, y = crop / model_box.width, crop / model_box.height
    across, columns = axis_weights(crop, maps.shape[2], (store_box.left - model_box.left) * x, store_box.width * x)
    down, rows = axis_weights(crop, maps.shape[1], (store_box.top - model_box.top) * y, store_box.height * y)
    known = rows[:, None] & columns[None, :]
    if not chosen.any():
        return np.zeros((crop, crop), dtype=np.float32), known
    mask: NDArray[np.float32] = np.matmul(np.matmul(down, dequantise(maps[chosen])), across.T).max(axis=0)
    return mask * known.astype(np.float32), known


def published_frame(mask: NDArray[np.float32], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """A mask of the crop frame as the loader of the 2022 release gave it: sent through the image's transform again.

    That loader united masks that already cover the crop, in 8 bits, and then resized and cropped them with the
    image's transform: they are zoomed by resize / crop (8 / 7) against the image. Only for repeating numbers that
    were published so. mask: (crop, crop) float32 in [0, 1]; returns the same, in steps of 1 / 255.
    """
    return dequantise(preprocessing.apply(to_uint8(mask)))


def to_uint8(mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Soft mask in [0, 1] -> 8-bit gray."""
    result: NDArray[np.uint8] = np.rint(mask * np.float32(255.0)).astype(np.uint8)
    return result
