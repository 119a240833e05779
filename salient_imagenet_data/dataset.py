"""The `datasets` builder: a store as a `datasets.Dataset`, with the user's images joined where given."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.features.features import register_feature
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import FRAMES, Frame, Preprocessing
from salient_imagenet_data.images import FolderSource, ImageSource, encode_png, open_source
from salient_imagenet_data.join import Missing, join
from salient_imagenet_data.manifest import file_sha256
from salient_imagenet_data.masks import to_uint8
from salient_imagenet_data.names import IMAGE, IMAGE_ID, KINDS, LABEL, MANIFEST, MASK_COLUMN
from salient_imagenet_data.store import Store


@dataclass
class CropImage(datasets.Image):  # type: ignore[misc]
    """A `datasets.Image` that is decoded into the crop frame: the file is referred to, not copied."""

    resize: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        self._type = "CropImage"

    def decode_example(self, value: dict[str, Any], token_per_repo_id: Any = None) -> Any:
        image = super().decode_example(value, token_per_repo_id=token_per_repo_id)
        pixels = Preprocessing(self.resize, self.crop).apply(np.asarray(image.convert("RGB")))
        return Image.fromarray(pixels)


with warnings.catch_warnings():
    # datasets calls this function experimental on every use; 3.6 to 5.x have it unchanged.
    warnings.simplefilter("ignore", UserWarning)
    register_feature(CropImage, "CropImage")


@dataclass
class SalientConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """store: folder. images: root of a class-per-folder tree, or None. fingerprint: the manifest's sha256,
    so that a changed store never gives a cached copy of the old one."""

    store: str = ""
    images: str | None = None
    frame: str = "crop"
    missing: str = "error"
    fingerprint: str = ""


class SalientImageNetBuilder(datasets.GeneratorBasedBuilder):  # type: ignore[misc]
    """Rows `image_id, (image,) label, core_mask, spurious_mask` of one store."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = SalientConfig
    config: SalientConfig

    def _info(self) -> datasets.DatasetInfo:
        store = Store(self.config.store)
        return datasets.DatasetInfo(features=features(store, self.config.images is not None, _frame(self.config.frame)))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator(Store(self.config.store).manifest.split, gen_kwargs={})]

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.config
        source = FolderSource(config.images) if config.images is not None else None
        yield from enumerate(examples(Store(config.store), source, _frame(config.frame), _missing(config.missing)))


def load_dataset(
    store: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | ImageSource | None = None,
    split: str | None = None,
    streaming: bool = False,
    frame: Frame = "crop",
    missing: Missing = "error",
    cache_dir: str | None = None,
) -> Any:
    """A store as a `datasets.Dataset`, or an `IterableDataset` with streaming.

    store: a store folder, annotated. images: the class-per-folder tree it was built from, or any
    `ImageSource`; without it there is no image column. split: the store's own split by default, slices such
    as `train[:10%]` too (not with streaming). frame: "crop" gives image and masks as the robust model saw
    them; "image" the original image, masks 0 outside the crop. missing: what to do about images that are not
    found.

    Columns: image_id string; image RGB; label ClassLabel; core_mask and spurious_mask 8-bit gray images of the
    image's size, 255 = 1, or None where the class has no such feature. Images of a folder are read when they
    are used, never copied into the cache.
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
    if images is not None and not isinstance(images, (str, os.PathLike)):
        return _from_source(opened, images, wanted, streaming, frame, missing, cache_dir)
    if images is not None:
        join(opened, open_source(images), missing=missing)
    builder = SalientImageNetBuilder(
        cache_dir=cache_dir,
        store=os.path.abspath(opened.path),
        images=None if images is None else os.path.abspath(images),
        frame=_frame(frame),
        missing=missing,
        fingerprint=file_sha256(Path(opened.path) / MANIFEST),
    )
    if streaming:
        return builder.as_streaming_dataset(split=wanted)
    with _quiet_unless_terminal():
        builder.download_and_prepare()
    return builder.as_dataset(split=wanted)


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


def features(store: Store, with_images: bool, frame: Frame) -> datasets.Features:
    """The columns of a store."""
    p = store.manifest.preprocessing
    image = CropImage(resize=p.resize, crop=p.crop) if frame == "crop" else datasets.Image()
    return datasets.Features(
        {
            IMAGE_ID: datasets.Value("string"),
            **({IMAGE: image} if with_images else {}),
            LABEL: datasets.ClassLabel(names=list(store.class_names)),
            **{column: datasets.Image() for column in MASK_COLUMN.values()},
        }
    )


def examples(store: Store, source: ImageSource | None, frame: Frame, missing: Missing) -> Iterator[dict[str, Any]]:
    """Encoded rows, in store order."""
    joined = join(store, source, missing=missing) if source is not None else None
    rows = joined.rows.tolist() if joined is not None else range(len(store))
    for item, row in enumerate(rows):
        record = store.rows[row]
        example: dict[str, Any] = {IMAGE_ID: record.image_id, LABEL: record.label}
        if joined is not None:
            example[IMAGE] = joined.source.encoded(int(joined.indices[item]))
        for kind in KINDS:
            if frame == "crop":
                mask = store.mask(row, kind)
            else:
                found = store.image_mask(row, kind)
                mask = None if found is None else found[0]
            png = None if mask is None else {"path": None, "bytes": encode_png(to_uint8(mask))}
            example[MASK_COLUMN[kind]] = png
        yield example


def _from_source(
    store: Store,
    source: ImageSource,
    split: str,
    streaming: bool,
    frame: Frame,
    missing: Missing,
    cache_dir: str | None,
) -> Any:
    """Sources without files on disk go in as bytes."""
    columns = features(store, True, frame)
    kwargs = {"store": store, "source": source, "frame": frame, "missing": missing}
    if streaming:
        return datasets.IterableDataset.from_generator(examples, features=columns, gen_kwargs=kwargs)
    table = datasets.Dataset.from_list(list(examples(**kwargs)), features=columns)  # type: ignore[arg-type]
    if "[" not in split:
        return table
    instruction = datasets.ReadInstruction.from_spec(split)
    (absolute,) = instruction.to_absolute({store.manifest.split: len(table)})
    return table.select(range(absolute.from_ or 0, len(table) if absolute.to is None else absolute.to))


def _frame(frame: str) -> Frame:
    if frame not in FRAMES:
        raise SalientError("unknown frame", expected=" or ".join(FRAMES), got=repr(frame))
    return "crop" if frame == "crop" else "image"


def _missing(missing: str) -> Missing:
    return "skip" if missing == "skip" else "error"
