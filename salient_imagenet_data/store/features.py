"""features.parquet: the features of each class, as records; basis.parquet: what they are made of, if not neurons."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import PCA, SAE, Kind
from salient_imagenet_data.store.words.short_names import short_name


@dataclass(frozen=True)
class Feature:
    """A (class, feature) pair: one row of features.parquet.

    rank: from 1; its map is that of slot rank - 1. importance: what the ranking went by, None where not known. votes:
    of people, by answer. kind and cue: what the votes made of it. All five are None while nobody has answered. reasons:
    what people wrote, in the order of their answers, without the empty ones.
    """

    class_index: int
    class_name: str
    feature_index: int
    rank: int
    importance: float | None = None
    votes_main_object: int | None = None
    votes_separate_object: int | None = None
    votes_background: int | None = None
    kind: Kind | None = None
    cue: str | None = None
    reasons: tuple[str, ...] = ()

    @property
    def slot(self) -> int:
        """Its place among the maps of an image."""
        return self.rank - 1

    @cached_property
    def name(self) -> str | None:
        """A short name in people's words, made of the reasons (`short_names.short_name`); None where there are none."""
        return short_name(self.reasons)


_ALWAYS_KNOWN = ("class_index", "class_name", "feature_index", "rank", "reasons")
_TYPES: dict[str, Any] = {
    "class_name": pa.string(),
    "importance": pa.float64(),
    "kind": pa.string(),
    "cue": pa.string(),
    "reasons": pa.list_(pa.string()),
}
FEATURES_SCHEMA: Any = pa.schema(
    [
        pa.field(f.name, _TYPES.get(f.name, pa.int32()), nullable=f.name not in _ALWAYS_KNOWN)
        for f in dataclasses.fields(Feature)
    ]
)


def features_table(features: Iterable[Feature]) -> Any:
    """The records as an Arrow table of FEATURES_SCHEMA."""
    rows = list(features)
    return pa.Table.from_pydict({n: [getattr(f, n) for f in rows] for n in FEATURES_SCHEMA.names}, FEATURES_SCHEMA)


def features_of(table: Any) -> tuple[Feature, ...]:
    """The records of such a table."""
    return tuple(Feature(**row | {"reasons": tuple(row["reasons"])}) for row in table.to_pylist())


def with_names(table: Any) -> Any:
    """Such a table with each feature's `name` as a further column, which no file holds: it is made of the reasons."""
    names = [short_name(reasons) for reasons in table["reasons"].to_pylist()]
    return table.append_column(pa.field("name", pa.string()), [pa.array(names, pa.string())])


ROWS_AT_A_TIME = 256
"""Images whose directions are gathered at once: 20 MB for five of 2,048 neurons."""
BASIS_SCHEMA: Any = pa.schema(
    [
        pa.field("feature_index", pa.int32(), nullable=False),
        pa.field("bias", pa.float64(), nullable=False),
        pa.field("place_bias", pa.float64(), nullable=False),
        pa.field("direction", pa.list_(pa.float32()), nullable=False),
    ]
)


@dataclass(frozen=True, eq=False)
class Basis:
    """Features that are no neurons but linear combinations of the network's F neurons.

    kind: PCA, or SAE, whose pooled values are rectified too. count: features that the basis has in all, of which
    those that some class uses are kept. numbers: (R,) int64 ascending, their feature_index. directions: (R, F) float32.
    bias: (R,) float64, added to the combination of the pooled neurons; place_bias: (R,) float64, added to that of the
    maps at each place, whose negative values count as zero, as those of a neuron's map do.
    """

    kind: str
    count: int
    numbers: NDArray[np.int64]
    directions: NDArray[np.float32]
    bias: NDArray[np.float64]
    place_bias: NDArray[np.float64]

    @property
    def neurons(self) -> int:
        """F."""
        return int(self.directions.shape[1])

    @property
    def sha256(self) -> str:
        """Hex sha256 of all that decides a feature's value."""
        digest = hashlib.sha256(f"{self.kind} {self.count} {self.directions.shape}".encode())
        for values, kind in (
            (self.numbers, "<i8"),
            (self.directions, "<f4"),
            (self.bias, "<f8"),
            (self.place_bias, "<f8"),
        ):
            digest.update(np.ascontiguousarray(values, dtype=kind).tobytes())
        return digest.hexdigest()

    def places(self, numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Row of each feature, of the shape of `numbers`; any row for -1. Raises SalientError for one that is not
        here."""
        found = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        if bool(((self.numbers[found] != numbers) & (numbers >= 0)).any()):
            raise SalientError(
                "a feature that its basis does not have",
                got=str(numbers[(self.numbers[found] != numbers) & (numbers >= 0)].flat[0]),
            )
        return np.asarray(found, dtype=np.int64)

    def activations(self, pooled: NDArray[np.floating], numbers: NDArray[np.integer]) -> NDArray[np.float32]:
        """(B, K) of images with pooled neurons (B, F): those of features (B, K) each, 0 for -1.

        Summed in float64 by numpy alone, in an order that hangs neither on the batch nor on the threads.
        """
        rows, result = self.places(numbers), np.zeros(numbers.shape, dtype=np.float32)
        for start in range(0, len(pooled), ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            products = self.directions[rows[part]] * pooled[part, None, :].astype(np.float64)
            values = products.sum(axis=2) + self.bias[rows[part]]
            if self.kind == SAE:
                values = np.maximum(values, 0.0)
            result[part] = np.where(numbers[part] >= 0, values, 0.0)
        return result

    def only(self, numbers: NDArray[np.integer]) -> Basis:
        """The same with some of its features; -1 among the numbers is none."""
        kept = np.unique(numbers[numbers >= 0]).astype(np.int64)
        rows = self.places(kept)
        return dataclasses.replace(
            self,
            numbers=kept,
            directions=self.directions[rows],
            bias=self.bias[rows],
            place_bias=self.place_bias[rows],
        )

    def agrees(self, other: Basis) -> bool:
        """Whether the features that both have are the same."""
        if (self.kind, self.count, self.neurons) != (other.kind, other.count, other.neurons):
            return False
        shared = np.intersect1d(self.numbers, other.numbers)
        return self.only(shared).sha256 == other.only(shared).sha256

    def words(self, number: int) -> str:
        """What a feature is, for people."""
        return f"component {number % self.neurons} by variance" if self.kind == PCA else f"latent {number}"

    def to_json(self) -> dict[str, Any]:
        """As a manifest keeps it."""
        return {"kind": self.kind, "features": len(self.numbers), "neurons": self.neurons, "sha256": self.sha256}


def basis_table(basis: Basis) -> Any:
    """The rows of a basis as an Arrow table of BASIS_SCHEMA."""
    offsets = np.arange(0, basis.directions.size + 1, basis.neurons, dtype=np.int32)
    directions = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(basis.directions).reshape(-1)))
    columns = [pa.array(values) for values in (basis.numbers, basis.bias, basis.place_bias)]
    return pa.Table.from_arrays([*columns, directions], names=BASIS_SCHEMA.names).cast(BASIS_SCHEMA)


def basis_of(table: Any, kind: str, count: int) -> Basis:
    """The basis of such a table."""
    numbers, bias, place_bias, directions = (column.combine_chunks() for column in table.columns)
    flat = directions.flatten().to_numpy(zero_copy_only=False)
    return Basis(
        kind,
        count,
        numbers.to_numpy().astype(np.int64),
        flat.reshape(len(numbers), -1),
        bias.to_numpy(),
        place_bias.to_numpy(),
    )
