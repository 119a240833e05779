"""Orders of pixels on disk: made once, thresholded as often as wanted.

    orders.json                     what they are made of, and, once all is there, the size of every file
    images.parquet                  the images, in the rows of the arrays: store row, id, label
    orders.zarr/order               (N, n) uint16 or uint32   cells in the order of masking
    orders.zarr/confidence          (N, T + 1) float32        before each step, and with all masked
    orders.zarr/classes             (N, 2) int32              the class that is answered, and one that is not, or -1
    orders.zarr/wrong_confidence    (N, T + 1) float32        of an order made for that one; NaN where there is none

A shard of every array has the same few images and one owner; it is written whole, so that a stopped run repeats no more
than that. The description stands first: a folder without it is not ours, and nothing in it is touched.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.store.arrays import (
    is_whole,
    rows_of_shard,
    shard_count,
    sharded_array,
    sweep_shards,
    write_rows,
)
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.tables import write_table
from salient_imagenet_data.whole_file import UNFINISHED, sweep, sync, sync_folder, write_text

FORMAT = "salient-imagenet orders 1"
ABOUT, ARRAYS, IMAGES = "orders.json", "orders.zarr", "images.parquet"
SHARD_IMAGES = 32
SCHEMA: Any = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Recipe:
    """All that decides the orders of a folder. model: as `Classifier.recorded`. images: how many; images_sha256,
    classes_sha256: what they are, and what a class is (`given`); not the store's masks or answers. left_out: the
    fields of `LeftOutFacts`, None where nothing was asked for. preprocessing: the fields of the model's. side: of its
    crop, in pixels. fill: what masked pixels become, in [0, 1]. The rest as in `Choice` and `Settings`."""

    model: dict[str, Any]
    images: int
    images_sha256: str
    classes_sha256: str
    left_out: dict[str, Any] | None
    preprocessing: dict[str, Any]
    side: int
    selection: str
    cell: int
    step: int
    fill: tuple[float, ...]
    wrong_class: bool
    seed: int
    device: str

    @property
    def cells(self) -> int:
        """Of an image."""
        return (self.side // self.cell) ** 2

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
        """Shape and dtype of each array."""
        steps = -(-self.cells // self.step) + 1
        return {
            "order": ((self.images, self.cells), np.uint16 if self.cells <= 1 << 16 else np.uint32),
            "confidence": ((self.images, steps), np.float32),
            "classes": ((self.images, 2), np.int32),
            "wrong_confidence": ((self.images, steps), np.float32),
        }


@dataclass(frozen=True)
class Orders:
    """A finished folder of orders. rows: of the store. classes: (N, 2), answered and not answered. confidence,
    wrong_confidence: (N, T + 1) float32."""

    path: Path
    recipe: Recipe
    rows: NDArray[np.int64]
    image_ids: list[str]
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    confidence: NDArray[np.float32]
    wrong_confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, start: int, stop: int) -> NDArray[np.int64]:
        """(stop - start, n) of some images."""
        with _reading(self.path):
            return np.asarray(_opened(self.path, self.recipe, "order")[start:stop]).astype(np.int64)


class OrdersWriter:
    """Arrays of a folder that is being filled; `missing` says which shards are left to do."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        sweep_shards(folder / ARRAYS)
        self._arrays = {name: _opened(folder, recipe, name) for name in recipe.arrays}

    def rows(self, shard: int) -> range:
        """Rows of a shard."""
        return rows_of_shard(shard, SHARD_IMAGES, self.recipe.images)

    def missing(self) -> list[int]:
        """Shards of which a file is not there, or is damaged."""
        shards = range(shard_count(self.recipe.images, SHARD_IMAGES))
        files = {s: {self._file(name, s): array for name, array in self._arrays.items()} for s in shards}
        return [s for s in shards if not is_whole(files[s], self.rows(s))]

    def write(self, shard: int, values: dict[str, NDArray[Any]]) -> None:
        """All rows of a shard, by array."""
        rows = self.rows(shard)
        for name, array in self._arrays.items():
            part = values[name]
            if part.shape != (len(rows), *array.shape[1:]):
                raise ValueError(f"shard {shard} of {name}: {part.shape}, expected {(len(rows), *array.shape[1:])}")
            path = self._file(name, shard)
            write_rows(path, array, rows, part.astype(array.dtype))
            sync(path)

    def finish(self, images: list[dict[str, Any]]) -> None:
        """Write the table, and last the description with the size of every file."""
        left = self.missing()
        if left:
            raise SalientError(f"{self.folder}: cannot be finished", expected="all shards", got=f"{len(left)} missing")
        write_table(self.folder / IMAGES, images, SCHEMA)
        for path in (self.folder / ARRAYS).rglob("*"):
            if path.is_dir():
                sync_folder(path)
        _describe(self.folder, self.recipe, _sizes(self.folder))

    def _file(self, name: str, shard: int) -> Path:
        return self.folder / ARRAYS / name / "c" / str(shard) / "0"


@contextmanager
def claimed(folder: Path, recipe: Recipe, *, overwrite: bool) -> Iterator[bool]:
    """Hold a folder for a recipe, new or begun. Yields whether all of it is there and whole.

    Raises SalientError for a folder that another process holds, that is not ours, or that holds orders of another
    recipe, unless these are to be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise SalientError(f"{folder}: is a file", expected="a folder to write to")
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        there = {path.name for path in folder.iterdir()} - {LOCK, ABOUT + UNFINISHED}
        emptied = ABOUT in there and not (folder / ABOUT).stat().st_size
        before = None if ABOUT not in there or (emptied and overwrite) else _about(folder)
        if before is None and there and not emptied:
            raise SalientError(
                f"{folder}: not orders of ours",
                expected=f"an empty folder, or {ABOUT}",
                got=some(sorted(there)),
                then="choose another place",
            )
        sweep(folder)
        if before is not None and not overwrite:
            mine, theirs = json.loads(json.dumps(dataclasses.asdict(recipe))), before["made_of"]
            different = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
            if different:
                key = min(different, key=lambda key: (key != "left_out", key))  # what was asked, before what follows
                raise SalientError(
                    f"{folder}: orders made otherwise; {key} differs",
                    expected=str(mine.get(key))[:80],
                    got=str(theirs.get(key))[:80],
                    then="choose another --out or use --overwrite",
                )
            if before["sizes"] is not None and before["sizes"] == _sizes(folder):
                yield True
                return
        if overwrite:  # while the old description stands, so that none of it is taken for new
            shutil.rmtree(folder / ARRAYS, ignore_errors=True)
            (folder / IMAGES).unlink(missing_ok=True)
        _describe(folder, recipe, None)
        yield False


def read_orders(folder: Path) -> Orders:
    """A finished folder. Raises SalientError for one that is not there, not finished, damaged, or of another format."""
    if not (folder / ABOUT).is_file():
        raise SalientError(f"{folder}: no orders there", expected=ABOUT, then="make them with `salient-imagenet sis`")
    about = _about(folder)
    if about["sizes"] is None:
        raise SalientError(f"{folder}: orders that were not finished", then="run the same `salient-imagenet sis` again")
    found = _sizes(folder)
    wrong = [name for name, size in about["sizes"].items() if found.get(name) != size]
    if wrong:
        size = found.get(wrong[0])
        raise SalientError(
            f"{folder / wrong[0]}: {'missing' if size is None else 'not whole'}",
            expected=f"{about['sizes'][wrong[0]]} bytes",
            got="" if size is None else str(size),
            then="run the same `salient-imagenet sis` again",
        )
    recipe = _recipe(folder, about)
    with _reading(folder):
        table = pq.ParquetFile(folder / IMAGES).read(use_threads=False).cast(SCHEMA)
        rows, labels = (table[name].to_numpy().astype(np.int64) for name in ("row", "label"))
        if len(rows) != recipe.images:
            raise ValueError(f"{len(rows)} images in {IMAGES}, expected {recipe.images}")
        arrays = {name: np.asarray(_opened(folder, recipe, name)[:]) for name in recipe.arrays if name != "order"}
    ids: Sequence[str] = table["image_id"].to_pylist()
    classes = arrays["classes"].astype(np.int64)
    return Orders(folder, recipe, rows, list(ids), labels, classes, arrays["confidence"], arrays["wrong_confidence"])


def _opened(folder: Path, recipe: Recipe, name: str) -> Any:
    return sharded_array(folder / ARRAYS / name, *recipe.arrays[name], SHARD_IMAGES)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except SalientError:
        raise
    except Exception as error:  # each codec brings its own
        raise SalientError(
            f"{folder}: damaged orders", got=f"{type(error).__name__}: {error}"[:160], then="make them again"
        ) from error


def _describe(folder: Path, recipe: Recipe, sizes: dict[str, int] | None) -> None:
    fields = {"format": FORMAT, "made_of": dataclasses.asdict(recipe), "sizes": sizes}
    write_text(folder / ABOUT, json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not path.stat().st_size:
        raise SalientError(f"{path}: emptied, as by a power cut", then="make the orders again with --overwrite")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SalientError(
            f"{path}: not a description of orders", got=str(error), then="remove it, and run again"
        ) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT or not isinstance(about.get("made_of"), dict):
        got = about.get("format") if isinstance(about, dict) else type(about).__name__
        raise SalientError(f"{path}: not a description of orders", expected=FORMAT, got=str(got))
    return about


def _recipe(folder: Path, about: dict[str, Any]) -> Recipe:
    try:
        fields = dict(about["made_of"])
        return Recipe(**{**fields, "fill": tuple(fields["fill"])})
    except (TypeError, KeyError) as error:
        raise SalientError(f"{folder / ABOUT}: not a description of orders", got=str(error)) from error


def _sizes(folder: Path) -> dict[str, int]:
    """Of every file of ours but the description."""
    files = [folder / IMAGES, *sorted((folder / ARRAYS).rglob("*"))]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files if path.is_file()}
