"""WebDataset: tar shards, an image's files beside each other under one key.

KEY.json           image id, class, size, valid part, which kinds of masks there are
KEY.core.png       8-bit gray, 255 = 1, in pixels of the original image; absent where the class has no such feature
KEY.spurious.png
KEY.jpg            the picture, as its file is, only where whoever exports says that it may be passed on

A key is the image id with all but letters, digits, `_`, `-` and `~` as %XX, so that no `.` or `/` cuts it
(https://github.com/webdataset/webdataset: a key ends at the first dot of the name).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from salient_imagenet_data.formats.about import PNG_LEVEL, About, Format, Pictures, compact
from salient_imagenet_data.formats.masked import Masked
from salient_imagenet_data.formats.unit import Unit, Written
from salient_imagenet_data.hub.png import encode_mask
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.whole_file import whole_file

ENDINGS = {"JPEG": "jpg", "MPO": "jpg"}
"""Of a picture's name, by Pillow's name of its format, where they differ."""


def key_of(image_id: str) -> str:
    """An image id as a key; `urllib.parse.unquote` gives it back."""
    return quote(image_id, safe="").replace(".", "%2E")


def _write(written: Written, images: Iterator[Masked], about: About, pictures: Pictures | None) -> None:
    unit = written.unit
    path = unit.folder / f"{about.split}-{unit.index:06d}.tar"
    with whole_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for image in images:
            key = key_of(image.image_id)
            for ending, data in _files(image, about, pictures):
                member = tarfile.TarInfo(f"{key}.{ending}")  # of no time and nobody: the same bytes each time
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            written.counts["images"] += 1
            written.counts.update(f"{kind} masks" for kind in image.masks)
    written.noted(path)


def _files(image: Masked, about: About, pictures: Pictures | None) -> Iterator[tuple[str, bytes]]:
    """Endings and contents of an image's files."""
    facts = {
        "image_id": image.image_id,
        "label": image.label,
        "class_name": image.class_name,
        "class_words": image.class_words,
        "width": image.width,
        "height": image.height,
        "valid": list(image.valid),
        "masks": list(image.masks),
        "data_version": about.data_version,
    }
    yield "json", (compact(facts) + "\n").encode()
    for kind in KINDS:
        if kind in image.masks:
            yield f"{kind}.png", encode_mask(image.masks[kind], PNG_LEVEL)
    if pictures is not None:
        data = pictures(image)
        with Image.open(io.BytesIO(data)) as picture:
            name = str(picture.format)
        yield ENDINGS.get(name, name.lower()), data


def _finish(folder: Path, units: list[Unit], about: About) -> None:
    """Shards are all there is."""


WEBDATASET = Format("webdataset", _write, _finish, "copied, if given", unit_rows=10_000)
