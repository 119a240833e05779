"""One Parquet shard, with a checksum of every page."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from salient_imagenet_data.names import IMAGE_ID
from salient_imagenet_data.whole_file import whole_file

_ARROW_BYTES = b"arrow_bytes"
_FEW_VALUES = ("label", "maps", "feature_indices", "class_name", "kind", "cue")
_CHUNKING = "use_content_defined_chunking"  # pyarrow 21 and later


def write_shard(path: Path, schema: Any, batches: Iterable[Any]) -> None:
    """Write batches, one row group each. The footer keeps their size in memory, for `dataset_info`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with whole_file(path) as file, pq.ParquetWriter(file, schema, **_options(schema)) as writer:
        for batch in batches:
            size += batch.nbytes
            writer.write_batch(batch)
        writer.add_key_value_metadata({_ARROW_BYTES.decode(): str(size)})


def is_whole(path: Path, rows: int) -> bool:
    """Whether a shard is there with that many rows, every page as its checksum says: a power cut leaves names of files
    that are empty or half written."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as shard:
            counted: int = sum(batch.num_rows for batch in shard.iter_batches())
            return counted == rows
    except (OSError, pa.ArrowException):
        return False


def shard_facts(path: Path) -> tuple[int, int, int]:
    """Rows, bytes in memory, and bytes on disk of a shard."""
    metadata = pq.read_metadata(path)
    return metadata.num_rows, int(metadata.metadata[_ARROW_BYTES]), path.stat().st_size


def _options(schema: Any) -> dict[str, Any]:
    leaves = [f"{name}{_levels(schema.field(name).type)}" for name in schema.names]
    encoded = {leaf: "BYTE_STREAM_SPLIT" for leaf in leaves if leaf.startswith(("peaks", "activations"))}
    if IMAGE_ID in leaves:
        encoded[IMAGE_ID] = "DELTA_BYTE_ARRAY"  # ids come sorted and share most of their bytes
    # Parquet has no 8-bit integers and stores uint8 in four bytes; through a dictionary a cell takes one.
    dictionary = [leaf for leaf in leaves if leaf.split(".")[0] in _FEW_VALUES]
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 1,  # smaller than 3 on maps through a dictionary, and quicker
        "use_dictionary": dictionary or False,
        "column_encoding": encoded or None,
        "write_page_index": True,
        "write_page_checksum": True,
    }
    if _CHUNKING in inspect.signature(pq.ParquetWriter.__init__).parameters:
        options[_CHUNKING] = True
    return options


def _levels(kind: Any) -> str:
    """The path that Parquet gives the values of a nested list."""
    suffix = ""
    while hasattr(kind, "value_type"):
        suffix, kind = suffix + ".list.element", kind.value_type
    return suffix
