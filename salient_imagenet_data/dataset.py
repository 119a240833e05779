"""The `datasets` builder: a store as a `datasets.Dataset`, with the user's images joined where given.

`SalientImageNetBuilder` is used directly with any supported version. This file also loads as a script where `datasets`
still does that (3.x): `datasets.load_dataset(".../dataset.py", store="...", trust_remote_code=True)`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

import salient_imagenet_data
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import FRAMES, Frame
from salient_imagenet_data.images.reference import FiledSource, identity_of
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Images, Joined, Missing, check_missing, images_of, join, table_of
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.places import on_disk
from salient_imagenet_data.store.checks.checking import read_manifest
from salient_imagenet_data.store.manifest import FORMAT_VERSION, file_sha256
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.batches import Rows
from salient_imagenet_data.table.configs import MASKS, OF_STORE, columns
from salient_imagenet_data.table.join import join_stream, join_table, stream_of
from salient_imagenet_data.table.mask_table import Empty, MaskTable, features

_ROWS_COME_FROM = (
    *("dataset", "table", "joining", "store", "images", "pictures"),
    *("hub_errors", "masks", "places", "geometry", "imagenet", "names", "whole_file", "errors"),
)
"""Rooms whose code decides the rows: all that these modules import, whole rooms at a time (a test follows imports)."""
_BATCH_ROWS = 8192
_SHARDS = 64
"""Of a stream."""


@dataclass
class SalientConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """name: of the table. store: folder. images: a folder or tar shards, or None. identity: of the images' files, found
    where it is not given. The version is the store's data version. The id, which names the cache folder, also holds the
    sha256 of the manifest (with its format version), of the code that makes rows, and of path, size and time of every
    file of images: neither a changed store nor changed images nor a changed builder gives a cached copy of old rows."""

    name: str = MASKS
    store: str = ""
    images: str | None = None
    frame: str = "crop"
    missing: str = "error"
    empty: str = "none"
    identity: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.store:
            self.version = datasets.Version(read_manifest(on_disk(self.store)).data_version)

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        made_of = {"code": _code_sha256()}
        if self.store:
            made_of["manifest"] = file_sha256(on_disk(self.store) / MANIFEST)
        if self.images is not None and not self.identity:
            self.identity = _identity(images_of(Store(self.store), self.images))
        made_of["identity"] = self.identity
        config_id: str = super().create_config_id({**config_kwargs, **made_of}, custom_features=custom_features)
        return config_id


class SalientImageNetBuilder(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Rows `image_id, (image,) label, core_mask, spurious_mask, has_core, has_spurious` of one store, or its table
    `grids` or `features`."""

    VERSION = datasets.Version(f"{FORMAT_VERSION}.0.0")
    BUILDER_CONFIG_CLASS = SalientConfig
    config: SalientConfig

    def _info(self) -> datasets.DatasetInfo:
        config, store = self.config, Store(self.config.store)
        if _name(config.name) != MASKS:
            return datasets.DatasetInfo(features=columns(store.manifest, config.name))
        return datasets.DatasetInfo(features=features(store, config.images is not None, _frame(config.frame)))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        store = Store(self.config.store)
        if not dl_manager.is_streaming:
            store.verify()  # rows of a damaged store would stay in the cache after it was mended
        return [datasets.SplitGenerator(store.manifest.split, gen_kwargs={})]

    def _generate_tables(self) -> Iterator[tuple[int, Any]]:
        config = self.config
        store = Store(config.store)
        if config.name != MASKS:
            yield from enumerate(_arrow(store, config.name))
            return
        joined = None if config.images is None else join(store, config.images, missing=check_missing(config.missing))
        every = range(len(store) if joined is None else len(joined))
        yield from enumerate(_tables(store, joined, every, _frame(config.frame), _empty(config.empty)))


def load_dataset(
    store: Store | str | os.PathLike[str],
    name: str = MASKS,
    *,
    images: Images | None = None,
    split: str | datasets.NamedSplit | datasets.ReadInstruction | None = None,
    streaming: bool = False,
    frame: Frame = "crop",
    missing: Missing = "error",
    empty: Empty = "none",
    cache_dir: str | None = None,
) -> Any:
    """A store as a `datasets.Dataset`, or an `IterableDataset` with streaming.

    store: an open store, its folder, an exported folder, or a data set on the Hub ("org/name", "org/name@revision"),
    whose store is downloaded once and checked. name: of a table, as on the Hub: "masks", of a store with answers, or
    without images "grids" (the maps as they are stored) or "features" (one row a class and feature); their columns are
    those of `table.configs.columns`. images: the folder it was built from, tar shards, a `datasets.Dataset`
    (or dictionary of splits, or stream) with images and labels, a data set on the Hub such as "ILSVRC/imagenet-1k" or
    "org/name@revision", or any `ImageSource`; without it there is no image column. split: the store's own split by
    default, slices such as `train[:10%]` too (not with streaming). frame: "crop" gives image and masks as the robust
    model saw them; "image" the original image, masks 0 outside the crop. missing: what to do about images of the store
    that are not found, "error" or "skip"; how many rows were joined is told on stderr. A stream of images cannot be
    searched before it is read: it needs missing="skip", and its rows are told after each of its shards.
    empty: a mask of a class without such a feature is None with "none", black with "zeros" (for tensors in batches,
    which cannot hold None).

    Columns of "masks": image_id string; image RGB; label ClassLabel; core_mask and spurious_mask 8-bit gray images of
    the image's size, 255 = 1; has_core and has_spurious bool, whether the class has such a feature. Images are read and
    masks are made when they are used; files and tables of images are referred to, never copied.
    """
    opened = store if isinstance(store, Store) else Store(store)
    if _name(name) == MASKS:
        opened.kind_table  # noqa: B018 - says so now if the store is not annotated
    elif (images, frame, missing, empty) != (None, "crop", "error", "none"):
        raise SalientError(f"{name}: images, frame, missing and empty are about masks", then="leave them out")
    wanted = _split(opened, split, streaming)
    frame, missing, empty = _frame(frame), check_missing(missing), _empty(empty)
    given = None if images is None else table_of(opened, images, streaming=streaming, cache_dir=cache_dir)
    if isinstance(given, datasets.IterableDataset):
        return join_stream(opened, given, frame, missing, empty)
    joined = None if images is None else join(opened, images if given is None else given, missing=missing)
    if joined is not None:
        joined.tell()
    if given is not None and joined is not None:
        table = _slice(join_table(joined, frame, empty, _code_sha256()), wanted, opened.manifest.split)
        return table.to_iterable_dataset(num_shards=min(_SHARDS, max(1, len(table)))) if streaming else table
    if streaming and name == MASKS:
        return _stream(opened, joined, frame, empty)
    if joined is not None and not isinstance(images, (str, os.PathLike)):
        # Sources without files on a disk go in as bytes.
        rows = list(_rows(opened, joined, [range(len(joined))], frame, empty))
        table = datasets.Dataset.from_list(rows, features=features(opened, True, frame))
        return _slice(table, wanted, opened.manifest.split)
    with _cache_errors(cache_dir):
        builder = SalientImageNetBuilder(
            cache_dir=cache_dir,
            config_name=name,
            store=os.path.abspath(opened.path),
            images=None if images is None else os.path.abspath(on_disk(images)),
            frame=frame,
            missing=missing,
            empty=empty,
            identity="" if joined is None else _identity(joined.source),
        )
        if streaming:
            return builder.as_streaming_dataset(split=wanted)
        with _quiet_unless_terminal():
            builder.download_and_prepare()
        return builder.as_dataset(split=wanted)


@contextmanager
def _cache_errors(cache_dir: str | None) -> Iterator[None]:
    """What goes wrong while rows are put into the cache of `datasets`, as one line."""
    try:
        yield
    except OSError as error:
        raise _no_cache(cache_dir, error) from error
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, OSError):
            raise _no_cache(cache_dir, error.__cause__) from error
        if isinstance(error.__cause__, SalientError):
            raise error.__cause__ from None
        raise


def _no_cache(cache_dir: str | None, error: OSError) -> SalientError:
    return SalientError(
        f"{error.filename or cache_dir or datasets.config.HF_DATASETS_CACHE}: the cache of `datasets` cannot be used",
        got=error.strerror or str(error),
        then="give cache_dir=FOLDER, or set HF_DATASETS_CACHE, where there is room and you may write",
    )


@contextmanager
def _quiet_unless_terminal() -> Iterator[None]:
    """datasets shows its progress bars in log files too; ours are for terminals only."""
    hide = not sys.stderr.isatty() and datasets.utils.is_progress_bar_enabled()
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            datasets.enable_progress_bars()


def _tables(store: Store, joined: Joined | None, part: range, frame: Frame, empty: Empty) -> Iterator[Any]:
    """Some of the rows: of the store, or of those that are joined."""
    if joined is None:
        return MaskTable(store, frame, empty).tables(part, None)
    source, items = joined.source, joined.take(np.arange(part.start, part.stop))
    encoded = source.referred if isinstance(source, FiledSource) else source.encoded
    return MaskTable(store, frame, empty).tables(items.rows.tolist(), lambda item: encoded(int(items.indices[item])))


def _arrow(store: Store, name: str) -> Iterator[Any]:
    """Tables of the rows of grids or features, as an export has them."""
    rows = Rows(store)
    for batch in rows.batches(name, 0, rows.count(name), _BATCH_ROWS):
        yield pa.Table.from_batches([batch])


def _identity(source: ImageSource) -> str:
    return identity_of(source) if isinstance(source, FiledSource) else ""


def _rows(
    store: Store, joined: Joined | None, parts: list[range], frame: Frame, empty: Empty
) -> Iterator[dict[str, Any]]:
    for part in parts:
        for table in _tables(store, joined, part, frame, empty):
            yield from table.to_pylist()


def _stream(store: Store, joined: Joined | None, frame: Frame, empty: Empty) -> Any:
    """The rows in their order, in shards, which are what workers of a DataLoader share."""
    count = len(store) if joined is None else len(joined)
    shards = min(_SHARDS, max(1, count))
    parts = [range(count * i // shards, count * (i + 1) // shards) for i in range(shards)]
    columns, split = features(store, joined is not None, frame), store.manifest.split
    return stream_of(_rows, columns, split, store=store, joined=joined, parts=parts, frame=frame, empty=empty)


def _split(store: Store, split: Any, streaming: bool) -> str:
    """What is asked for, as `datasets` writes it: the store's split, or slices of it and their sums."""
    own = store.manifest.split
    wanted = own if split is None else split.to_spec() if isinstance(split, datasets.ReadInstruction) else str(split)
    expected, got = f"{own!r} or slices of it", ""
    if streaming:
        expected = f"{own!r} (streaming takes no slices)"
    elif wanted != own:
        try:
            datasets.ReadInstruction.from_spec(wanted).to_absolute({own: len(store)})
            return wanted
        except ValueError as error:
            got = str(error)
    if wanted != own:
        raise SalientError(f"{store.path}: no split {wanted!r}", expected=expected, got=got)
    return wanted


def _slice(table: datasets.Dataset, wanted: str, split: str) -> datasets.Dataset:
    if wanted == split:
        return table
    parts = datasets.ReadInstruction.from_spec(wanted).to_absolute({split: len(table)})
    ranges = [range(part.from_, part.to) for part in parts]
    return table.select(ranges[0] if len(ranges) == 1 else [row for rows in ranges for row in rows])


def rows_code() -> list[Path]:
    """Files of the rooms that rows come from, sorted; those of data beside the code too."""
    package = Path(salient_imagenet_data.__file__).parent  # not of this file, which `datasets` copies as a script
    found = [path for room in _ROWS_COME_FROM for path in (package / room).rglob("*.py")]
    found += [package / f"{room}.py" for room in _ROWS_COME_FROM if (package / f"{room}.py").is_file()]
    return sorted([*found, *package.glob("*.txt")])


@cache
def _code_sha256() -> str:
    """Of the modules that rows come from: `datasets` hashes scripts, but not the code of an installed package."""
    digest = hashlib.sha256()
    for path in rows_code():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _name(name: str) -> str:
    if name not in OF_STORE:
        raise SalientError("no such table of a store", expected=" or ".join(OF_STORE), got=repr(name))
    return name


def _frame(frame: str) -> Frame:
    if frame not in FRAMES:
        raise SalientError("unknown frame", expected=" or ".join(FRAMES), got=repr(frame))
    return "crop" if frame == "crop" else "image"


def _empty(empty: str) -> Empty:
    if empty not in ("none", "zeros"):
        raise SalientError("empty", expected="none or zeros", got=repr(empty))
    return "zeros" if empty == "zeros" else "none"
