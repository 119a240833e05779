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
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from salient_imagenet_data.annotations import Annotations, Verdict
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import CropBox
from salient_imagenet_data.hub.locate import locate
from salient_imagenet_data.manifest import Manifest, file_sha256, write_manifest
from salient_imagenet_data.masks import union_in_crop, union_in_image
from salient_imagenet_data.names import FEATURES_TABLE, IMAGES_TABLE, KINDS, MANIFEST, MAPS, QUARANTINE_TABLE, Kind
from salient_imagenet_data.tables import FEATURES_SCHEMA, read_rows, write_table

ARRAYS = ("maps", "peaks", "activations")


@dataclass(frozen=True)
class ImageRow:
    """One row of images.parquet. in_top: (K,) whether the image is in the top images of each feature."""

    image_id: str
    label: int
    prediction: int
    width: int
    height: int
    box: CropBox
    in_top: tuple[bool, ...]


def shard_count(rows: int, shard_rows: int) -> int:
    """Shards that `rows` rows fill."""
    return -(-rows // shard_rows)


def shard_file(array: str, shard: int) -> str:
    """Path below the store of a shard of an array; only the row axis is cut."""
    return f"{MAPS}/{array}/c/{shard}" + ("/0/0/0" if array == "maps" else "/0")


class Store:
    """A finished store, opened for reading. The maps are read into memory once, on first use.

    path: a store folder, an exported folder, or, as a string, a data set on the Hub: "org/name", "org/name@revision".

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
    def rows(self) -> tuple[ImageRow, ...]:
        """The rows of images.parquet, in store order."""
        return tuple(
            ImageRow(
                r["image_id"],
                r["label"],
                r["prediction"],
                r["width"],
                r["height"],
                CropBox(r["crop_left"], r["crop_top"], r["crop_width"], r["crop_height"]),
                tuple(r["in_top"]),
            )
            for r in read_rows(self.path / IMAGES_TABLE)
        )

    @cached_property
    def features(self) -> list[dict[str, Any]]:
        """The rows of features.parquet, by class and rank."""
        return read_rows(self.path / FEATURES_TABLE)

    @cached_property
    def maps(self) -> NDArray[np.uint8]:
        """(N, K, h, w) uint8."""
        return self._array("maps")

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
        record = self.rows[row]
        chosen = self.kind_table[kind][record.label]
        return np.asarray(chosen & np.array(record.in_top)) if top_only else chosen

    def mask(self, row: int, kind: Kind, *, top_only: bool = False) -> NDArray[np.float32] | None:
        """Soft mask in the crop frame, (crop, crop) float32 in [0, 1]; None where there is no such feature."""
        chosen = self.chosen(row, kind, top_only=top_only)
        if not chosen.any():
            return None
        size = self.manifest.preprocessing.crop
        return union_in_crop(self.maps[row], chosen, size, size)

    def image_mask(self, row: int, kind: Kind) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """Soft mask and `valid` in the image frame, (height, width) each; None where there is no such feature."""
        chosen, record = self.chosen(row, kind), self.rows[row]
        if not chosen.any():
            return None
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
        raise SalientError(
            f"{folder}: not a finished store",
            expected=f"a folder with {MANIFEST}",
            got="a build that was stopped" if (folder / "work").is_dir() else "none",
            then="build it, or go on with `salient-imagenet build ... --resume`",
        )
    return Manifest.from_json(path.read_text(encoding="utf-8"), str(path))


def annotate(path: str | Path, annotations: Annotations, *, majority: int = 3) -> Store:
    """Set the kinds of a store's features from people's answers; no map is rebuilt.

    The manifest is replaced last: stopped in between, opening the store names features.parquet in `verify`,
    and annotating again mends it.
    """
    folder = Path(path)
    store = Store(folder)
    features = with_verdicts(store.features, annotations.verdicts(majority), store.class_names)
    write_table(folder / FEATURES_TABLE, features, FEATURES_SCHEMA)
    files = {**store.manifest.files, FEATURES_TABLE: file_sha256(folder / FEATURES_TABLE)}
    write_manifest(
        folder,
        dataclasses.replace(store.manifest, files=files, annotations_sha256=annotations.sha256, majority=majority),
    )
    return Store(folder)


def with_verdicts(
    features: list[dict[str, Any]], verdicts: Iterable[Verdict], class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The feature rows with kind, cue and votes of the verdicts; pairs without a verdict get null.

    Raises SalientError for a verdict whose pair the rows do not hold.
    """
    by_pair = {(v.class_index, v.feature_index): v for v in verdicts}
    known = {(r["class_index"], r["feature_index"]) for r in features}
    for pair, verdict in sorted(by_pair.items()):
        if verdict.class_index >= len(class_names):
            raise SalientError(f"annotations name class {verdict.class_index}", expected=f"0 to {len(class_names) - 1}")
        if verdict.class_name and verdict.class_name != class_names[verdict.class_index]:
            raise SalientError(
                f"annotations call class {verdict.class_index} {verdict.class_name!r}",
                expected=repr(class_names[verdict.class_index]),
                then="check that they belong to this data set",
            )
        if pair not in known:
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
