"""Small releases in the true layout, made file by file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

WNIDS = {0: "n01440764", 1: "n01443537"}
SIZE = 56
FEATURES = {0: (17, 3), 1: (5,)}
"""By class, in the order of the CSV's columns."""


def upsampled(grid: np.ndarray, size: int = SIZE) -> np.ndarray:
    """(h, w) in [0, 1] -> (size, size) uint8, by torch."""
    big = torch.nn.functional.interpolate(
        torch.from_numpy(np.asarray(grid, dtype=np.float64))[None, None], (size, size), mode="bilinear"
    )
    return np.rint(big[0, 0].numpy() * 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def names_csv(columns: Mapping[int, list[str]]) -> bytes:
    """image_names_map.csv; shorter columns end in blank cells."""
    length = max(map(len, columns.values()))
    lines = [",".join(map(str, columns))]
    lines += [",".join(c[i] if i < len(c) else "" for c in columns.values()) for i in range(length)]
    return ("\n".join(lines) + "\n").encode()


def grid_of(class_index: int, feature: int, image: str) -> np.ndarray:
    """(7, 7) in [0, 1] with peak 1, different for every mask."""
    seed = [class_index, feature, *image.encode()]
    grid = np.maximum(np.random.default_rng(seed).normal(0.1, 0.5, (7, 7)), 0.0)
    return grid / grid.max()


def listed() -> dict[int, dict[int, list[str]]]:
    """By class and feature, the images: feature 17 of class 0 has images 0 to 5, feature 3 only 4 and 9."""
    name = "{}_{}".format
    return {
        0: {17: [name(WNIDS[0], i) for i in range(6)], 3: [name(WNIDS[0], i) for i in (9, 4)]},
        1: {5: [name(WNIDS[1], i) for i in range(3)]},
    }


def release(root: str = "salient_imagenet_dataset/") -> dict[str, bytes]:
    """Files by name."""
    files = {f"{root}wordnet_dict.py": repr(WNIDS).encode()}
    for index, columns in listed().items():
        files[f"{root}{WNIDS[index]}/image_names_map.csv"] = names_csv(columns)
        for feature, names in columns.items():
            for image in names:
                files[f"{root}{WNIDS[index]}/feature_{feature}/{image}.JPEG"] = jpeg(
                    upsampled(grid_of(index, feature, image))
                )
    return files


def write_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
