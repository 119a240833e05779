"""The store: a folder with Zarr arrays, Parquet tables and a manifest. Reading side and checks.

Layout, all rows in the same order:

    manifest.json, images.parquet, features.parquet, quarantine.parquet, and basis.parquet of features that are no
    neurons maps.zarr/maps         (N, K, h, w) uint8    each map divided by its peak; 255 = peak maps.zarr/peaks
    (N, K) float32        the peak that was divided out maps.zarr/activations  (N, K) float32        the pooled feature
    value
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.decoding import decode_picture
from salient_imagenet_data.masks import published_frame, union_in_crop, union_in_image
from salient_imagenet_data.names import (
    BASIS_TABLE,
    FEATURES_TABLE,
    IMAGES_TABLE,
    KINDS,
    Kind,
)
from salient_imagenet_data.store import describing
from salient_imagenet_data.store.checks.checked_array import CheckedArray
from salient_imagenet_data.store.checks.checking import check_sha256, open_checked, verify
from salient_imagenet_data.store.checks.lazy_rows import LazyRows
from salient_imagenet_data.store.features import (
    BASIS_SCHEMA,
    FEATURES_SCHEMA,
    Basis,
    Feature,
    basis_of,
    features_of,
    with_names,
)
from salient_imagenet_data.store.locating import locate
from salient_imagenet_data.store.rows import ImageRows, reading


class Store:
    """A finished store, opened for reading. Maps are read into memory once, a block of rows at a time, on first use.

    path: a store folder, an exported folder, or, as a string, a data set on the Hub ("org/name", "org/name@revision")
    or a URL of fsspec ("s3://bucket/store").

    Raises SalientError if the folder is no store, is unfinished, or lacks a file its manifest names or holds one of
    another size, and on first use of a file that is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = locate(path)
        self._place = self.path.absolute()  # what is read later is read there, wherever this or another process stands
        self.manifest, self.features_bytes = open_checked(self.path)

    def __len__(self) -> int:
        return self.manifest.images

    def __repr__(self) -> str:
        return describing.text(self)

    def _repr_html_(self) -> str:
        return describing.html(self)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.manifest.class_names

    @cached_property
    def rows(self) -> ImageRows:
        """The rows of images.parquet, in store order."""
        m = self.manifest
        return ImageRows(self._place, m.files[IMAGES_TABLE], m.images, len(m.class_names), m.features_per_class)

    @cached_property
    def features_table(self) -> Any:
        """features.parquet as an Arrow table, with `name`, a short one in people's words, which is made of
        `reasons`."""
        return with_names(self._stored_features)

    @cached_property
    def _stored_features(self) -> Any:
        """The table without names, which take half a second to make for the answers of 2022."""
        with reading(self.path / FEATURES_TABLE):
            # Not read_table: the threads of its scan over a buffer may end after the interpreter, which aborts then.
            return pq.ParquetFile(pa.BufferReader(self.features_bytes)).read(use_threads=False).cast(FEATURES_SCHEMA)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The features of all classes, by class and rank."""
        features, m = features_of(self._stored_features), self.manifest
        for f in features:
            if not (0 <= f.class_index < len(m.class_names) and 0 < f.rank <= m.features_per_class) or (
                f.class_name != m.class_names[f.class_index]
            ):
                raise SalientError(f"{self.path / FEATURES_TABLE}: not of this manifest", got=str(f))
        return features

    @cached_property
    def basis(self) -> Basis | None:
        """What the features are made of; None where they are neurons. Raises SalientError for a damaged file."""
        said = self.manifest.network.get("basis")
        if said is None:
            return None
        path = self._place / BASIS_TABLE
        check_sha256(self._place, BASIS_TABLE, self.manifest.files[BASIS_TABLE])
        with reading(path):
            table = pq.ParquetFile(path).read(use_threads=False).cast(BASIS_SCHEMA)
            return basis_of(table, str(said["kind"]), self.manifest.feature_count)

    @cached_property
    def maps(self) -> LazyRows:
        """(N, K, h, w) uint8, decoded where rows are asked for; `np.asarray` gives all of it."""
        return LazyRows(self.array("maps"))

    @cached_property
    def peaks(self) -> NDArray[np.float32]:
        """(N, K) float32."""
        return self.array("peaks").read(0, len(self))

    @cached_property
    def activations(self) -> NDArray[np.float32]:
        """(N, K) float32."""
        return self.array("activations").read(0, len(self))

    def array(self, name: str) -> CheckedArray:
        """One of the arrays on disk, to be read a range of rows at a time."""
        return CheckedArray.of(self._place, self.manifest, name)

    @cached_property
    def kind_table(self) -> dict[Kind, NDArray[np.bool_]]:
        """For each kind, (C, K) bool: the class's feature of rank r + 1 is of this kind.

        Raises SalientError while the store is not annotated.
        """
        if self.manifest.annotations_sha256 is None:
            raise SalientError(
                f"{self.path}: not annotated, so no feature is core or spurious yet",
                expected="answers about its features",
                then="`salient-imagenet label`, or `sheets`, then `salient-imagenet apply STORE ANSWERS`",
            )
        shape = (len(self.class_names), self.manifest.features_per_class)
        tables = {kind: np.zeros(shape, dtype=np.bool_) for kind in KINDS}
        for feature in self.features:
            if feature.kind is not None:
                tables[feature.kind][feature.class_index, feature.slot] = True
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

    def show(self, row: int | str, image: Image.Image | str | os.PathLike[str] | None = None) -> Image.Image:
        """A row's core mask in blue and spurious mask in orange; a notebook draws the picture by itself.

        row: number or image id. image: its photograph, a picture or a file, since a store has none; without it the
        masks lie over gray. Raises SalientError for an id that is not here, and an image that cannot be decoded.
        """
        picture = image if image is None or isinstance(image, Image.Image) else decode_picture(image, str(image))
        return describing.picture(self, self.rows.find(row), picture)

    def verify(self) -> None:
        """Read every byte and compare with the manifest's sha256. Raises SalientError at the first difference."""
        verify(self._place, self.manifest)
