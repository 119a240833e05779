"""Two columns for `datasets`: an image seen through the crop, and a mask that is computed when it is read."""

from __future__ import annotations

import functools
import inspect
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.features.features import register_feature
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import CropBox, Preprocessing
from salient_imagenet_data.imagenet import is_imagenet
from salient_imagenet_data.images.decoding import decode
from salient_imagenet_data.images.reference import bytes_at, is_reference
from salient_imagenet_data.masks import to_uint8, union_in_crop, union_in_image

_MAGICS = {"crop": b"SALIENT1c", "image": b"SALIENT1i"}
_IMAGE_FRAME = struct.Struct("<2I4d")  # height, width, crop box
MADE = "made:"
"""In place of the path of an image that a user put into a table, by `map` or so: it is what it is, and seen through no
crop."""


@dataclass(repr=False)
class ReferredImage(datasets.Image):  # type: ignore[misc]
    """A `datasets.Image` of the user's own file, which is referred to and never copied.

    resize, crop, interpolation, squash: of the crop frame, a `Preprocessing`; crop 0 gives the image as it is. Decoding
    is that of this package: RGB, no EXIF rotation, since masks were made of such pixels.
    """

    resize: int = 0
    crop: int = 0
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        self._type = "ReferredImage"

    def __repr__(self) -> str:
        seen = f"resized to {self.resize}, cropped to {self.crop} x {self.crop}" if self.crop else "as it is"
        return f"ReferredImage({seen}; referred to and read on use, plain with to_images(table))"

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Any:
        if not isinstance(value, dict):
            return value
        data, path = value["bytes"], value["path"]
        if data is None and is_reference(path):
            data = bytes_at(path)
        if data is None and "://" in path:
            image = super().decode_example(value, token_per_repo_id=token_per_repo_id)
            pixels = np.asarray(image.convert("RGB"))
        elif data is None and not os.path.exists(path):
            raise ImageError(f"{path}: gone since its images were joined", then="call load_dataset again")
        else:
            pixels = decode(path if data is None else data, path or "image")
        if self.crop and path != MADE:
            pixels = Preprocessing(self.resize, self.crop, self.interpolation, self.squash).apply(pixels)
        return Image.fromarray(pixels)

    def cast_storage(self, storage: Any) -> Any:
        """Called with what is put into a table. Images that come as pixels have no path, those that are joined do."""
        cast = super().cast_storage(storage)
        if storage.type == self.pa_type:  # moved as it was stored
            return cast
        data, paths = cast.field("bytes"), cast.field("path")
        made = pc.and_(pc.is_valid(data), pc.is_null(paths))
        return pa.StructArray.from_arrays([data, pc.if_else(made, MADE, paths)], ["bytes", "path"], mask=cast.is_null())

    def embed_storage(self, storage: Any, *args: Any, **kwargs: Any) -> Any:
        """Called by `push_to_hub`, which would copy the user's files into a repository. Refuses ImageNet's."""
        paths = storage.field("path").to_pylist()
        if any(path is not None and is_imagenet(path) for path in paths):
            raise SalientError(
                "this table refers to ImageNet's images, and publishing it would copy them",
                expected="a table without them: ImageNet's terms allow no redistribution",
                then='drop them first: table.remove_columns("image")',
            )
        return super().embed_storage(storage, *args, **kwargs)


@dataclass(repr=False)
class GridMask(datasets.Image):  # type: ignore[misc]
    """A soft mask kept as the grids that make it; read, it is an 8-bit gray image, 255 = 1.

    height, width: cells of a grid. crop: side of the crop frame; the mask is that large unless its bytes name an image.
    """

    height: int = 7
    width: int = 7
    crop: int = 224

    def __post_init__(self) -> None:
        self._type = "GridMask"

    def __repr__(self) -> str:
        size = f"{self.crop} x {self.crop}, or its image's size"
        return (
            f"GridMask({self.height} x {self.width} grids, read as 8-bit gray of {size}; plain with to_images(table))"
        )

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Any:
        data = (value["bytes"] or b"") if isinstance(value, dict) else b""
        for frame, magic in _MAGICS.items():
            if data.startswith(magic):
                return Image.fromarray(to_uint8(self._mask(data[len(magic) :], frame)))
        return super().decode_example(value, token_per_repo_id=token_per_repo_id)

    def _mask(self, data: bytes, frame: str) -> NDArray[np.float32]:
        head = _IMAGE_FRAME.size if frame == "image" else 0
        grids = np.frombuffer(data, dtype=np.uint8, offset=head).reshape(-1, self.height, self.width)
        chosen = np.ones(len(grids), dtype=np.bool_)
        if frame == "crop":
            return union_in_crop(grids, chosen, self.crop, self.crop)
        height, width, *box = _IMAGE_FRAME.unpack(data[:head])
        return union_in_image(grids, chosen, height, width, CropBox(*box))[0]

    def embed_storage(self, storage: Any, *args: Any, **kwargs: Any) -> Any:
        """Called by `push_to_hub`: refused, since only this package could read the result."""
        raise SalientError(
            "masks of this table are grids that only this package can read",
            then="publish the store with `salient-imagenet publish`, or write images with `salient-imagenet export`",
        )


def grid_bytes(grids: NDArray[np.uint8], frame: tuple[int, int, CropBox] | None = None) -> bytes:
    """What a GridMask stores of (K, h, w) uint8 grids. frame: height, width and crop box of the image frame."""
    if frame is None:
        return _MAGICS["crop"] + grids.tobytes()
    height, width, box = frame
    head = _IMAGE_FRAME.pack(height, width, box.left, box.top, box.width, box.height)
    return _MAGICS["image"] + head + grids.tobytes()


_OURS = (ReferredImage, GridMask)
with warnings.catch_warnings():
    # datasets calls this function experimental on every use; 3.6 to 5.x have it unchanged.
    warnings.simplefilter("ignore", UserWarning)
    for _feature in _OURS:
        register_feature(_feature, _feature.__name__)


WRITERS = ("to_parquet", "to_csv", "to_json", "to_sql", "save_to_disk", "push_to_hub")
"""Ways of `datasets` to write a table. None of 3.6 to 5.x asks the columns in all of them: they are wrapped."""


def _refusing(write: Callable[..., Any]) -> Callable[..., Any]:
    """A method that writes a table, refused for tables with our columns: only this package could read the result."""

    @functools.wraps(write)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        tables = self.values() if isinstance(self, dict) else [self]
        for column, kind in ((c, k) for table in tables for c, k in (table.features or {}).items()):
            if isinstance(kind, _OURS):
                own = ' (ImageNet\'s may not be passed on: remove_columns("image") first)'
                raise SalientError(
                    f"{write.__name__}: the column {column} is made when it is read, and only this package can do that",
                    expected="plain images",
                    then=f"write salient_imagenet_data.to_images(table).{write.__name__}(...)"
                    f"{own if write.__name__ == 'push_to_hub' else ''}, or the store with `salient-imagenet export`",
                )
        return write(self, *args, **kwargs)

    return checked


def _own_kind(cast: Callable[..., Any]) -> Callable[..., Any]:
    """`cast` or `cast_column`, refused for our columns where plain images are wanted of them: `datasets` changes what a
    column is called and not what is in it, so masks could not be read and images lost their crop. Paths may be had."""

    @functools.wraps(cast)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = inspect.signature(cast).bind(self, *args, **kwargs).arguments
        kinds = wanted["features"] if "features" in wanted else {wanted["column"]: wanted["feature"]}
        for column, kind in (self.features or {}).items():
            to = kinds.get(column)
            ours, plain = isinstance(kind, _OURS), isinstance(to, datasets.Image) and not isinstance(to, _OURS)
            if ours and plain and (isinstance(kind, GridMask) or getattr(to, "decode", True)):
                raise SalientError(
                    f"{cast.__name__}: the column {column} is made when it is read",
                    expected="plain images",
                    then=f"cast those of salient_imagenet_data.to_images(table).{cast.__name__}(...)",
                )
        return cast(self, *args, **kwargs)

    return checked


for _kind in (datasets.Dataset, datasets.IterableDataset, datasets.DatasetDict, datasets.IterableDatasetDict):
    for _name in WRITERS:
        if _name in vars(_kind):
            setattr(_kind, _name, _refusing(vars(_kind)[_name]))
for _kind in (datasets.Dataset, datasets.IterableDataset):
    for _name in ("cast", "cast_column"):
        setattr(_kind, _name, _own_kind(vars(_kind)[_name]))
