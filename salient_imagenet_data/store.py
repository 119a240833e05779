"""The store: a folder with Zarr arrays, Parquet tables and a manifest. Reading side and checks.

Layout, all rows in the same order:

    manifest.json, images.parquet, features.parquet, quarantine.parquet
    maps.zarr/maps         (N, K, h, w) uint8    each map divided by its peak; 255 = peak
    maps.zarr/peaks        (N, K) float32        the peak that was divided out
    maps.zarr/activations  (N, K) float32        the pooled feature value
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray

from salient_imagenet_data.annotations import Annotations, Verdict
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.folder import Folder, upload
from salient_imagenet_data.geometry import CropBox
from salient_imagenet_data.hub.locate import locate
from salient_imagenet_data.lazy_rows import LazyRows
from salient_imagenet_data.manifest import Manifest, check_version, file_sha256, not_finished, write_manifest
from salient_imagenet_data.masks import published_frame, union_in_crop, union_in_image
from salient_imagenet_data.names import (
    FEATURES_TABLE,
    IMAGES_TABLE,
    KINDS,
    MANIFEST,
    MAPS,
    QUARANTINE_TABLE,
    WORK,
    Kind,
)
from salient_imagenet_data.tables import FEATURES_SCHEMA, IMAGES_SCHEMA, read_rows, write_table

ARRAYS = ("maps", "peaks", "activations")


@dataclass(frozen=True)
class ImageRow:
    """One row of images.parquet. in_top: (K,) whether the image is in the top images of each feature.

    In an imported store prediction may be -1, and width, height and box 0: not known.
    """

    image_id: str
    label: int
    prediction: int
    width: int
    height: int
    box: CropBox
    in_top: tuple[bool, ...]

    @property
    def size_known(self) -> bool:
        """Whether the image's size, and so its place in the image frame, is known."""
        return self.width > 0


class ImageRows(Sequence[ImageRow]):
    """images.parquet as columns, each read when it is asked for; a row is made then too, so a million stay small."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def image_ids(self) -> Any:
        """(N,) Arrow strings."""
        return self._column("image_id").combine_chunks()

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(N,) int32."""
        return self._numbers("label")

    @cached_property
    def predictions(self) -> NDArray[np.int32]:
        """(N,) int32."""
        return self._numbers("prediction")

    @cached_property
    def widths(self) -> NDArray[np.int32]:
        """(N,) int32, in pixels."""
        return self._numbers("width")

    @cached_property
    def heights(self) -> NDArray[np.int32]:
        """(N,) int32, in pixels."""
        return self._numbers("height")

    @cached_property
    def in_top(self) -> NDArray[np.bool_]:
        """(N, K) bool."""
        flat = self._column("in_top").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(len(self), -1))

    @cached_property
    def _boxes(self) -> list[NDArray[np.float64]]:
        return [self._numbers(f"crop_{side}") for side in ("left", "top", "width", "height")]

    def _column(self, name: str) -> Any:
        # One thread: several would hold several decoded row groups at once, and a column takes milliseconds.
        return pq.read_table(self._path, columns=[name], schema=IMAGES_SCHEMA, use_threads=False)[name]

    def _numbers(self, name: str) -> NDArray[Any]:
        return np.asarray(self._column(name).to_numpy())

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> ImageRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ImageRow, ...]: ...

    def __getitem__(self, index: int | slice) -> ImageRow | tuple[ImageRow, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        index = range(len(self))[index]
        return ImageRow(
            self.image_ids[index].as_py(),
            int(self.labels[index]),
            int(self.predictions[index]),
            int(self.widths[index]),
            int(self.heights[index]),
            CropBox(*(float(side[index]) for side in self._boxes)),
            tuple(self.in_top[index].tolist()),
        )


def shard_count(rows: int, shard_rows: int) -> int:
    """Shards that `rows` rows fill."""
    return -(-rows // shard_rows)


def shard_file(array: str, shard: int) -> str:
    """Path below the store of a shard of an array; only the row axis is cut."""
    return f"{MAPS}/{array}/c/{shard}" + ("/0/0/0" if array == "maps" else "/0")


class Store:
    """A finished store, opened for reading. Maps are read into memory once, a block of rows at a time, on first use.

    path: a store folder, an exported folder, or, as a string, a data set on the Hub ("org/name", "org/name@revision")
    or a URL of fsspec ("s3://bucket/store").

    Raises SalientError if the folder is no store, is unfinished, or lacks a file its manifest names.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = locate(path)
        self.manifest = read_manifest(self.path)
        self._check_complete()

    def __len__(self) -> int:
        return self.manifest.images

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.manifest.class_names

    @cached_property
    def rows(self) -> ImageRows:
        """The rows of images.parquet, in store order."""
        return ImageRows(self.path / IMAGES_TABLE)

    @cached_property
    def features(self) -> list[dict[str, Any]]:
        """The rows of features.parquet, by class and rank."""
        return read_rows(self.path / FEATURES_TABLE)

    @cached_property
    def maps(self) -> LazyRows:
        """(N, K, h, w) uint8, decoded where rows are asked for; `np.asarray` gives all of it."""
        return LazyRows(self.path / MAPS / "maps")

    @cached_property
    def peaks(self) -> NDArray[np.float32]:
        """(N, K) float32."""
        return self._array("peaks")

    @cached_property
    def activations(self) -> NDArray[np.float32]:
        """(N, K) float32."""
        return self._array("activations")

    @cached_property
    def kind_table(self) -> dict[Kind, NDArray[np.bool_]]:
        """For each kind, (C, K) bool: the class's feature of rank r + 1 is of this kind.

        Raises SalientError while the store is not annotated.
        """
        if self.manifest.annotations_sha256 is None:
            raise SalientError(
                f"{self.path}: not annotated, so no feature is core or spurious yet",
                expected="answers about its features",
                then="look at `salient-imagenet sheets`, then `salient-imagenet annotate STORE ANSWERS.csv`",
            )
        shape = (len(self.class_names), self.manifest.features_per_class)
        tables = {kind: np.zeros(shape, dtype=np.bool_) for kind in KINDS}
        for row in self.features:
            if row["kind"] is not None:
                tables[row["kind"]][row["class_index"], row["rank"] - 1] = True
        return tables

    def has(self, kind: Kind) -> NDArray[np.bool_]:
        """(C,) bool: the class has at least one feature of this kind, so its images have such a mask."""
        return np.asarray(self.kind_table[kind].any(axis=1))

    def chosen(self, row: int, kind: Kind, *, top_only: bool = False) -> NDArray[np.bool_]:
        """(K,) bool: the features of this kind of the row's class; with top_only, those it is a top image of."""
        chosen = self.kind_table[kind][self.rows.labels[row]]
        return np.asarray(chosen & self.rows.in_top[row]) if top_only else chosen

    def mask(
        self, row: int, kind: Kind, *, top_only: bool = False, as_published: bool = False
    ) -> NDArray[np.float32] | None:
        """Soft mask in the crop frame, (crop, crop) float32 in [0, 1]; None where there is no such feature.

        as_published: shifted against the image as the 2022 loader did it, see `masks.published_frame`.
        """
        chosen = self.chosen(row, kind, top_only=top_only)
        if not chosen.any():
            return None
        size = self.manifest.preprocessing.crop
        mask = union_in_crop(self.maps[row], chosen, size, size)
        return published_frame(mask, self.manifest.preprocessing) if as_published else mask

    def image_mask(self, row: int, kind: Kind) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """Soft mask and `valid` in the image frame, (height, width) each; None where there is no such feature.

        Raises SalientError where the image's size is not known.
        """
        chosen, record = self.chosen(row, kind), self.rows[row]
        if not chosen.any():
            return None
        if not record.size_known:
            raise SalientError(
                f"{record.image_id}: the store does not hold the image's size, so its image frame is not known",
                then="use the crop frame, or import again with --images",
            )
        return union_in_image(self.maps[row], chosen, record.height, record.width, record.box)

    def verify(self) -> None:
        """Read every byte and compare with the manifest's sha256. Raises SalientError at the first difference."""
        for name, expected in sorted(self.manifest.files.items()):
            got = file_sha256(self.path / name)
            if got != expected:
                raise SalientError(
                    f"{self.path / name}: damaged",
                    expected=f"sha256 {expected}",
                    got=got,
                    then="rebuild or download again",
                )

    def _array(self, name: str) -> NDArray[Any]:
        array = zarr.open_array(self.path / MAPS / name, mode="r")
        values: NDArray[Any] = np.asarray(array[...])
        return values

    def _check_complete(self) -> None:
        m = self.manifest
        wanted = {IMAGES_TABLE, FEATURES_TABLE, QUARANTINE_TABLE}
        wanted |= {f"{MAPS}/{a}/zarr.json" for a in ARRAYS}
        wanted |= {shard_file(a, s) for a in ARRAYS for s in range(shard_count(m.images, m.shard_rows))}
        for name in sorted(wanted | set(m.files)):
            if name not in m.files or not (self.path / name).is_file():
                raise SalientError(
                    f"{self.path}: incomplete store",
                    expected=f"{name} beside the manifest",
                    got="no such file" if name in m.files else "a manifest that does not list it",
                    then="copy it again whole or rebuild",
                )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store folder. Raises SalientError if there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise not_finished(folder, stopped=(folder / WORK).is_dir())
    return Manifest.from_json(path.read_text(encoding="utf-8"), str(path))


def annotate(
    path: str | Path, annotations: Annotations, *, majority: int = 3, data_version: str | None = None
) -> Store:
    """Set the kinds of a store's features from people's answers; no map is rebuilt. path: a folder, or a URL of fsspec.

    data_version: a new one, which a store needs that is already published. The manifest is replaced last: stopped in
    between, opening the store names features.parquet in `verify`, and annotating again mends it.
    """
    place, store = Folder.of(path), Store(path)
    if place.path not in (None, store.path.absolute()):
        raise SalientError(
            f"{path}: not a store but an export of one",
            expected="the store itself",
            then="annotate that, then export or publish it again",
        )
    new_version = data_version or store.manifest.data_version
    check_version(new_version)
    features = with_verdicts(store.features, annotations.verdicts(majority), store.class_names)
    with tempfile.TemporaryDirectory(prefix="salient-imagenet-") as scratch:
        folder = Path(scratch)
        write_table(folder / FEATURES_TABLE, features, FEATURES_SCHEMA)
        manifest = dataclasses.replace(
            store.manifest,
            files={**store.manifest.files, FEATURES_TABLE: file_sha256(folder / FEATURES_TABLE)},
            annotations_sha256=annotations.sha256,
            majority=majority,
            data_version=new_version,
        )
        write_manifest(folder, manifest)
        upload(folder, place, last=MANIFEST)
    return Store(path)


def with_verdicts(
    features: list[dict[str, Any]], verdicts: Iterable[Verdict], class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The feature rows with kind, cue and votes of the verdicts; pairs without a verdict get null.

    A class without any feature here (never predicted, or not in a release of some classes) leaves its verdicts
    unused. Raises SalientError for a verdict whose pair the rows of a class do not hold.
    """
    by_pair = {(v.class_index, v.feature_index): v for v in verdicts}
    known = {(r["class_index"], r["feature_index"]) for r in features}
    filled = {c for c, _ in known}
    for pair, verdict in sorted(by_pair.items()):
        if verdict.class_index >= len(class_names):
            raise SalientError(f"annotations name class {verdict.class_index}", expected=f"0 to {len(class_names) - 1}")
        if verdict.class_name and verdict.class_name != class_names[verdict.class_index]:
            raise SalientError(
                f"annotations call class {verdict.class_index} {verdict.class_name!r}",
                expected=repr(class_names[verdict.class_index]),
                then="check that they belong to this data set",
            )
        if pair not in known and pair[0] in filled:
            raise SalientError(
                f"annotations name feature {pair[1]} for class {pair[0]} ({class_names[pair[0]]})",
                expected=f"one of {sorted(f for c, f in known if c == pair[0])}",
                then="were they made for another model?",
            )
    result = []
    for row in features:
        v = by_pair.get((row["class_index"], row["feature_index"]))
        result.append(
            {
                **row,
                "kind": v.kind if v else None,
                "cue": v.cue if v else None,
                "votes_main_object": v.votes_main_object if v else None,
                "votes_separate_object": v.votes_separate_object if v else None,
                "votes_background": v.votes_background if v else None,
            }
        )
    return result
