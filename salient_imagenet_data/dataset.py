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
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import FRAMES, Frame
from salient_imagenet_data.hub_errors import hub_errors
from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.images.table import TableSource
from salient_imagenet_data.joining import Joined, Missing, join
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.places import is_repo_id
from salient_imagenet_data.store.manifest import FORMAT_VERSION, file_sha256
from salient_imagenet_data.store.reading import Store, read_manifest
from salient_imagenet_data.table.join import join_stream, join_table, tell_joined
from salient_imagenet_data.table.mask_table import MaskTable, features

_ROWS_COME_FROM = (
    *("dataset", "table.mask_table", "table.mask_feature", "joining", "images.opening", "images.source"),
    *("imagenet", "store.reading", "store.tables"),
)


@dataclass
class SalientConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """store: folder. images: root of a class-per-folder tree, or None. The version is the
    store's data version. The id, which names the cache folder, also holds the sha256 of the manifest (with its format
    version) and of the code that makes rows: neither a changed store nor a changed builder gives a cached copy of old
    rows."""

    store: str = ""
    images: str | None = None
    frame: str = "crop"
    missing: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.store:
            self.version = datasets.Version(read_manifest(Path(self.store)).data_version)

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        made_of = {"code": _code_sha256()}
        if self.store:
            made_of["manifest"] = file_sha256(Path(self.store) / MANIFEST)
        config_id: str = super().create_config_id({**config_kwargs, **made_of}, custom_features=custom_features)
        return config_id


class SalientImageNetBuilder(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Rows `image_id, (image,) label, core_mask, spurious_mask` of one store."""

    VERSION = datasets.Version(f"{FORMAT_VERSION}.0.0")
    BUILDER_CONFIG_CLASS = SalientConfig
    config: SalientConfig

    def _info(self) -> datasets.DatasetInfo:
        store = Store(self.config.store)
        return datasets.DatasetInfo(features=features(store, self.config.images is not None, _frame(self.config.frame)))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator(Store(self.config.store).manifest.split, gen_kwargs={})]

    def _generate_tables(self) -> Iterator[tuple[int, Any]]:
        config = self.config
        store = Store(config.store)
        source = open_source(config.images, store.manifest.split) if config.images is not None else None
        joined = join(store, source, missing=_missing(config.missing)) if source is not None else None
        yield from enumerate(_tables(store, joined, _frame(config.frame)))


def load_dataset(
    store: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | ImageSource | datasets.Dataset | datasets.IterableDataset | None = None,
    split: str | None = None,
    streaming: bool = False,
    frame: Frame = "crop",
    missing: Missing = "error",
    cache_dir: str | None = None,
) -> Any:
    """A store as a `datasets.Dataset`, or an `IterableDataset` with streaming.

    store: a store folder, an exported folder, or a data set on the Hub ("org/name", "org/name@revision"), whose store
    is downloaded once and checked; annotated. images: the class-per-folder tree it was built from, a `datasets.Dataset`
    with images and labels, a data set on the Hub such as "ILSVRC/imagenet-1k", or any `ImageSource`; without it there
    is no image column. split: the store's own split by default, slices such as `train[:10%]` too (not with streaming).
    frame: "crop" gives image and masks as the robust model saw them; "image" the original image, masks 0 outside the
    crop. missing: what to do about images of the store that are not found, "error" or "skip"; how many rows were joined
    is told on stderr. A stream of images cannot be searched before it is read: it needs missing="skip", and its rows
    are told after each of its shards.

    Columns: image_id string; image RGB; label ClassLabel; core_mask and spurious_mask 8-bit gray images of the
    image's size, 255 = 1, or None where the class has no such feature. Images are read and masks are made when they
    are used; files and tables of images are referred to, never copied.
    """
    opened = Store(store)
    opened.kind_table  # noqa: B018 - says so now if the store is not annotated
    wanted = split or opened.manifest.split
    if wanted.split("[")[0] != opened.manifest.split or (streaming and "[" in wanted):
        raise SalientError(
            f"{opened.path}: no split {wanted!r}",
            expected=repr(opened.manifest.split)
            + (" (streaming takes no slices)" if streaming else " or a slice of it"),
        )
    frame, missing = _frame(frame), _missing(missing)
    if isinstance(images, str) and is_repo_id(images):
        with hub_errors(images, "load the images from the Hub, and there is no such folder"):
            images = datasets.load_dataset(
                images, split=opened.manifest.split, streaming=streaming, cache_dir=cache_dir
            )
    if isinstance(images, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        images = _split_of(images, opened)
    if isinstance(images, datasets.IterableDataset):
        return join_stream(opened, images, frame, missing)
    if isinstance(images, datasets.Dataset):
        joined = _told(join(opened, TableSource(images, like=opened.rows[0].image_id), missing=missing))
        table = _slice(join_table(joined, frame), wanted, opened.manifest.split)
        # Shards are what workers of a DataLoader share.
        return table.to_iterable_dataset(num_shards=min(64, max(1, len(table)))) if streaming else table
    if images is not None and not isinstance(images, (str, os.PathLike)):
        return _from_source(_told(join(opened, images, missing=missing)), wanted, streaming, frame)
    if images is not None:
        _told(join(opened, open_source(images, opened.manifest.split), missing=missing))
    builder = SalientImageNetBuilder(
        cache_dir=cache_dir,
        store=os.path.abspath(opened.path),
        images=None if images is None else os.path.abspath(images),
        frame=frame,
        missing=missing,
    )
    if streaming:
        return builder.as_streaming_dataset(split=wanted)
    with _quiet_unless_terminal():
        builder.download_and_prepare()
    return builder.as_dataset(split=wanted)


def _told(joined: Joined) -> Joined:
    found = np.zeros(len(joined.store), dtype=bool)
    found[joined.rows] = True
    tell_joined(joined.store, found)
    return joined


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


def _tables(store: Store, joined: Joined | None, frame: Frame) -> Iterator[Any]:
    if joined is None:
        return MaskTable(store, frame).tables(range(len(store)), None)
    return MaskTable(store, frame).tables(
        joined.rows.tolist(), lambda item: joined.source.encoded(int(joined.indices[item]))
    )


def _rows(joined: Joined, frame: Frame) -> Iterator[dict[str, Any]]:
    for table in _tables(joined.store, joined, frame):
        yield from table.to_pylist()


def _from_source(joined: Joined, split: str, streaming: bool, frame: Frame) -> Any:
    """Sources without files on disk go in as bytes."""
    columns = features(joined.store, True, frame)
    if streaming:
        kwargs = {"joined": joined, "frame": frame}
        return datasets.IterableDataset.from_generator(_rows, features=columns, gen_kwargs=kwargs)
    table = datasets.Dataset.from_list(list(_rows(joined, frame)), features=columns)
    return _slice(table, split, joined.store.manifest.split)


def _slice(table: datasets.Dataset, wanted: str, split: str) -> datasets.Dataset:
    if "[" not in wanted:
        return table
    (absolute,) = datasets.ReadInstruction.from_spec(wanted).to_absolute({split: len(table)})
    return table.select(range(absolute.from_ or 0, len(table) if absolute.to is None else absolute.to))


def _split_of(images: Any, store: Store) -> Any:
    split = store.manifest.split
    if split not in images:
        raise SalientError(f"the images have no split {split!r}", got=", ".join(images), then="pass one split of them")
    return images[split]


@cache
def _code_sha256() -> str:
    """Of the modules that rows come from: `datasets` hashes scripts, but not the code of an installed package."""
    digest = hashlib.sha256()
    for name in _ROWS_COME_FROM:
        path = import_module(f"salient_imagenet_data.{name}").__file__
        assert path is not None
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _frame(frame: str) -> Frame:
    if frame not in FRAMES:
        raise SalientError("unknown frame", expected=" or ".join(FRAMES), got=repr(frame))
    return "crop" if frame == "crop" else "image"


def _missing(missing: str) -> Missing:
    if missing not in ("error", "skip"):
        raise SalientError("missing", expected="error or skip", got=repr(missing))
    return "skip" if missing == "skip" else "error"
