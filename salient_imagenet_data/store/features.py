"""features.parquet: the features of each class, as records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from salient_imagenet_data.names import Kind


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
