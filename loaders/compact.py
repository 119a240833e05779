"""The compact form of masks: the stored grids, and where the picture lies on them.

A sample with `return_maps=True` carries 49 bytes a feature instead of full-size masks, and a `MapFrame` that
follows the picture through flips, crops, pads and resizes. `masks_of_batch` makes the masks on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from salient_imagenet_data.loaders.batches import KeptMask
from salient_imagenet_data.loaders.soft_mask import SoftMask
from salient_imagenet_data.names import FEATURES_COLUMN, MAPS_COLUMN, Kind

FRAME = "map_frame"


class MapFrame(KeptMask):
    """(10,) float32, or (B, 10) of a batch: u0, v0, du, dv, height, width of the picture, and what of the crop frame it
    still shows: from u1 and v1 to u2 and v2.

    The pixel in row y and column x shows the point (u0 + du (x + 1/2), v0 + dv (y + 1/2)) of the crop frame, which is
    the unit square. Beyond what it shows, where it was padded, nothing is known, also where the crop frame goes on.
    Transforms that turn or bend the picture raise TypeError.
    """

    @classmethod
    def whole(cls, size: int) -> MapFrame:
        """The untouched crop of size x size pixels."""
        return _of([0.0, 0.0, 1.0 / size, 1.0 / size, size, size, 0.0, 0.0, 1.0, 1.0])


def masks_from_maps(maps: Tensor, chosen: Tensor, frames: Tensor) -> SoftMask:
    """Pixelwise maxima of the chosen maps, each resized bilinearly with half-pixel centres first.

    maps: (B, K, h, w) uint8. chosen: (B, K) bool. frames: (B, 10) of `MapFrame`, all of one height and width. Returns
    (B, 1, height, width) float32 in [0, 1], zeros where nothing is chosen and where the picture was padded. On whole
    frames these are the masks of `masks.union_in_crop`; on others they are exact where full-size masks are resampled
    twice.
    """
    frames, maps, chosen = (t.as_subclass(Tensor) for t in (frames, maps, chosen))
    sizes = frames[:, 4:6].long().tolist()
    if not sizes or sizes.count(sizes[0]) != len(sizes):
        raise ValueError(f"masks_from_maps: expected pictures of one size, got {sizes}")
    height, width = sizes[0]
    u, v, du, dv, _, _, u1, v1, u2, v2 = frames.unbind(1)
    down = _weights(v, dv, v1, v2, height, maps.shape[2])
    across = _weights(u, du, u1, u2, width, maps.shape[3])
    result = maps.new_zeros((len(maps), 1, height, width), dtype=torch.float32)
    with torch.autocast(maps.device.type, enabled=False):  # else a mixed-precision loop would round the masks
        for slot in range(maps.shape[1]):
            # One feature at a time: all at once would take K times the memory of the masks.
            grid = maps[:, slot].float() / 255.0 * chosen[:, slot, None, None]
            torch.maximum(result, (down @ grid @ across.mT)[:, None], out=result)
    return result.clamp_(max=1.0).as_subclass(SoftMask)


def masks_of_batch(batch: Mapping[str, Any], kind: Kind) -> SoftMask:
    """Core or spurious masks (B, 1, H, W) of a collated batch in the compact form, on the batch's device."""
    return masks_from_maps(batch[MAPS_COLUMN], batch[FEATURES_COLUMN[kind]], batch[FRAME])


def _weights(start: Tensor, step: Tensor, first: Tensor, last: Tensor, pixels: int, cells: int) -> Tensor:
    """(B,) origin, step, from where and to where something is known -> (B, pixels, cells) float32 bilinear weights, 0
    where nothing is."""
    centres = start[:, None] + step[:, None] * (torch.arange(pixels, device=start.device) + 0.5)
    inside = (centres >= first[:, None]) & (centres < last[:, None])
    position = (centres * cells - 0.5).clamp(0.0, cells - 1.0)
    distance = (position[..., None] - torch.arange(cells, device=start.device)).abs()
    return ((1.0 - distance).clamp_min(0.0) * inside[..., None]).float()


def _frame(values: Tensor) -> MapFrame:
    frame: MapFrame = values.as_subclass(MapFrame)
    return frame


def _of(values: list[float]) -> MapFrame:
    return _frame(torch.tensor(values, dtype=torch.float32))


def _parts(frame: MapFrame) -> list[float]:
    values: list[float] = frame.as_subclass(Tensor).tolist()
    return values


def _get_size(frame: MapFrame) -> list[int]:
    if frame.ndim > 1:  # of a batch, whose pictures are stacked, so of one size
        return _get_size(_frame(frame.as_subclass(Tensor)[0]))
    return [int(v) for v in _parts(frame)[4:6]]


def _horizontal_flip(frame: MapFrame) -> MapFrame:
    u, v, du, dv, height, width, *shown = _parts(frame)
    return _of([u + du * width, v, -du, dv, height, width, *shown])


def _vertical_flip(frame: MapFrame) -> MapFrame:
    u, v, du, dv, height, width, *shown = _parts(frame)
    return _of([u, v + dv * height, du, -dv, height, width, *shown])


def _crop(frame: MapFrame, top: int, left: int, height: int, width: int) -> MapFrame:
    u, v, du, dv, old_height, old_width, u1, v1, u2, v2 = _parts(frame)
    us = sorted((u + du * max(left, 0), u + du * min(left + width, old_width)))
    vs = sorted((v + dv * max(top, 0), v + dv * min(top + height, old_height)))
    shown = [max(u1, us[0]), max(v1, vs[0]), min(u2, us[1]), min(v2, vs[1])]
    return _of([u + du * left, v + dv * top, du, dv, height, width, *shown])


def _resize(
    frame: MapFrame, size: list[int] | None, *args: Any, max_size: int | None = None, **kwargs: Any
) -> MapFrame:
    u, v, du, dv, height, width, *shown = _parts(frame)
    # A tensor without memory: torchvision itself says how large the picture becomes.
    shadow = torch.empty((1, int(height), int(width)), device="meta")
    new_height, new_width = F.resize_image(shadow, size, max_size=max_size, antialias=False).shape[1:]
    return _of([u, v, du * width / new_width, dv * height / new_height, new_height, new_width, *shown])


def _resized_crop(
    frame: MapFrame, top: int, left: int, height: int, width: int, size: list[int], *args: Any, **kwargs: Any
) -> MapFrame:
    return _resize(_crop(frame, top, left, height, width), size)


def _center_crop(frame: MapFrame, output_size: list[int]) -> MapFrame:
    height, width = _get_size(frame)
    new_height, new_width = (output_size * 2)[:2] if len(output_size) == 1 else output_size
    # torchvision pads first where the picture is too small, and the two steps round in their own ways.
    top, left = (-max(0, (new - old) // 2) for old, new in ((height, new_height), (width, new_width)))
    padded = max(height, new_height), max(width, new_width)
    top += round((padded[0] - new_height) / 2.0)
    left += round((padded[1] - new_width) / 2.0)
    return _crop(frame, top, left, new_height, new_width)


def _pad(frame: MapFrame, padding: list[int], fill: Any = None, padding_mode: str = "constant") -> MapFrame:
    if padding_mode != "constant":
        raise TypeError(f"MapFrame: expected constant padding, got {padding_mode}; take full-size masks instead")
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = sides * (4 // len(sides))
    height, width = _get_size(frame)
    return _crop(frame, -top, -left, height + top + bottom, width + left + right)


def _refuse(functional: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(frame: MapFrame, *args: Any, **kwargs: Any) -> Any:
        name = functional.__name__
        raise TypeError(f"MapFrame: expected flips, crops, pads and resizes, got {name}; take full-size masks instead")

    return kernel


def _each(kernel: Callable[..., MapFrame]) -> Callable[..., MapFrame]:
    """A kernel of one frame for the frames of a batch, too, wherever they are."""

    def kernel_of_all(frame: MapFrame, *args: Any, **kwargs: Any) -> MapFrame:
        plain = frame.as_subclass(Tensor)
        if plain.ndim == 1:
            return kernel(frame, *args, **kwargs)
        done = [kernel(_frame(one), *args, **kwargs).as_subclass(Tensor) for one in plain.cpu()]
        return _frame(torch.stack(done).to(plain.device) if done else plain)

    return kernel_of_all


F.register_kernel(F.get_size, MapFrame)(_get_size)
for _functional, _kernel in (
    (F.horizontal_flip, _horizontal_flip),
    (F.vertical_flip, _vertical_flip),
    (F.crop, _crop),
    (F.resize, _resize),
    (F.resized_crop, _resized_crop),
    (F.center_crop, _center_crop),
    (F.pad, _pad),
):
    F.register_kernel(_functional, MapFrame)(_each(_kernel))
for _functional in (F.affine, F.rotate, F.perspective, F.elastic, F.five_crop, F.ten_crop):
    F.register_kernel(_functional, MapFrame)(_refuse(_functional))
