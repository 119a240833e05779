"""Export the masks of a store in a format of another tool.

As exports for the Hub, a folder is made beside its place, unit by unit, and renamed at the end (`hub/target.py`): a
folder called `out` is whole. A stopped export goes on where it was; what is there is read first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.formats.about import THRESHOLD, About, Format
from salient_imagenet_data.formats.coco import COCO
from salient_imagenet_data.formats.fiftyone import FIFTYONE
from salient_imagenet_data.formats.label_studio import LABEL_STUDIO
from salient_imagenet_data.formats.masked import Masked, check_sizes, masked_images
from salient_imagenet_data.formats.names import Name
from salient_imagenet_data.formats.unit import PARTS, Unit, Written
from salient_imagenet_data.formats.webdataset import WEBDATASET
from salient_imagenet_data.hub.export import check_images, check_unchanged
from salient_imagenet_data.hub.target import Target
from salient_imagenet_data.images.folder import FileSource
from salient_imagenet_data.images.reference import FiledSource, identity_of
from salient_imagenet_data.images.source import ImageSource, encoded_bytes
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.store.locks import end_with_parent
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import write_text

FORMATS: dict[Name, Format] = {
    "coco": COCO,
    "fiftyone": FIFTYONE,
    "webdataset": WEBDATASET,
    "label-studio": LABEL_STUDIO,
}
COUNTS = "counts.json"
"""In an export: what was counted while it was made."""


@dataclass(frozen=True)
class Exported:
    """Where an export is, and what was counted: images, masks by kind, and what was left out, by reason."""

    folder: Path
    counts: dict[str, int]


def export_masks(
    store: Store,
    out: Path,
    name: Name,
    *,
    threshold: float | None = None,
    source: ImageSource | None = None,
    redistribute: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    unit_rows: int | None = None,
    done: Callable[[int, int], None] = lambda finished, total: None,
) -> Exported:
    """Write the masks of an annotated store to the folder `out`, in pixels of the original images.

    threshold: from which on a pixel of the soft mask belongs to a mask of two values, in formats that have such; 0.5.
    source: the images: `webdataset` copies them, if whoever exports says with redistribute that they may be passed on;
    the others take the names of the files. workers: processes. unit_rows: rows that are written at a time. done: called
    with (finished, total) units. An export that is there already is kept if it is of the same store and options.
    Raises SalientError for options that do not fit the format, images that may not be passed on, sizes that the store
    does not know, a store that is damaged or not annotated, or an `out` that holds something else.
    """
    form = FORMATS[name]
    target = Target.at(out, store.path)
    store.kind_table  # noqa: B018 - says so now if the store is not annotated
    check_sizes(store)
    joined = _joined(store, form, source, redistribute)
    about = _about(store, form, threshold)
    rows = unit_rows or form.unit_rows
    key = _key(form, about, joined, rows)
    if target.is_finished(key, overwrite=overwrite):
        return Exported(out, json.loads((out / COUNTS).read_text(encoding="utf-8")))
    partial = target.begin(key)
    (partial / PARTS).mkdir(exist_ok=True)
    bounds = range(0, len(store), rows)
    units = [Unit(partial, i, start, min(start + rows, len(store))) for i, start in enumerate(bounds)]
    counts = _write_units(store, units, form, about, joined, workers, done)
    check_unchanged(store)
    form.finish(partial, units, about)
    write_text(partial / COUNTS, json.dumps(counts, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(partial / PARTS)
    target.finish(key)
    return Exported(out, dict(counts))


def _joined(store: Store, form: Format, source: ImageSource | None, redistribute: bool) -> Joined | None:
    """The store's rows with the user's images, as far as the format has a use for them."""
    if source is None:
        if form.images == "named":
            raise SalientError(
                f"--format {form.name} refers to the files of the images", expected="--images, a folder of files"
            )
        if redistribute:
            raise SalientError("--redistribute is about images", expected="--images beside it")
        return None
    if form.images == "copied, if given":
        check_images(store, source, redistribute)
        return join(store, source)
    if redistribute:
        raise SalientError(f"--format {form.name} copies no image", then="leave --redistribute out")
    if not isinstance(source, FileSource):
        raise SalientError(
            f"--format {form.name} refers to files", expected="a folder of image files", got=type(source).__name__
        )
    return join(store, source)


def _about(store: Store, form: Format, threshold: float | None) -> About:
    if threshold is not None and not form.thresholded:
        raise SalientError(f"--format {form.name} keeps soft masks", then="leave --threshold out")
    if threshold is not None and not 0 < threshold <= 1:
        raise SalientError("threshold of a soft mask", expected="above 0, at most 1", got=f"{threshold:g}")
    m = store.manifest
    digest = hashlib.sha256(m.to_json().encode()).hexdigest()
    return About(m.data_version, digest, m.split, m.class_names, THRESHOLD if threshold is None else threshold)


def _key(form: Format, about: About, joined: Joined | None, rows: int) -> str:
    """What decides the bytes of an export: store, options, names of files, or the files that are copied (images of a
    table count by their ids alone), and the versions that write."""
    names = hashlib.sha256()
    if joined is not None and form.images == "copied, if given":
        names.update(identity_of(joined.source).encode() if isinstance(joined.source, FiledSource) else b"")
    elif joined is not None:
        for name in _files(joined, form, 0, len(joined)):
            names.update(os.fsencode(name) + b"\0")
    parts = {
        "format": form.name,
        "manifest": about.manifest,
        "threshold": about.threshold,
        "images": None if joined is None else names.hexdigest(),
        "rows": rows,
        "versions": {package: version(package) for package in ("salient-imagenet-data", "numpy", "deflate")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(joined: Joined, form: Format, start: int, stop: int) -> Iterator[str]:
    """Files of rows start to stop, as the format wants them."""
    source = joined.source
    assert isinstance(source, FileSource)
    indices = map(int, joined.indices[start:stop])
    if form.images == "located":
        return (os.path.abspath(source.path(index)) for index in indices)
    return map(source.below_root, indices)


def _write_units(
    store: Store,
    units: list[Unit],
    form: Format,
    about: About,
    joined: Joined | None,
    workers: int,
    done: Callable[[int, int], None],
) -> Counter[str]:
    counts: Counter[str] = Counter()
    left = []
    for unit in units:
        there = unit.counts()
        if there is None:
            left.append(unit)
        else:
            counts += there
    finished = len(units) - len(left)
    copies = joined is not None and form.images == "copied, if given"
    named = joined if not copies else None
    work = ((unit, list(_files(named, form, unit.start, unit.stop)) if named else None) for unit in left)
    if workers > 1 and not copies:  # a source of images need not go through a pipe
        with ProcessPoolExecutor(workers, get_context("spawn"), _start, (str(store.path), form.name, about)) as pool:
            while some := list(islice(work, 2 * workers)):  # the pool would take all there are, and their names
                for counted in pool.map(_work, some):
                    counts += counted
                    done(finished := finished + 1, len(units))
        return counts

    def picture(image: Masked) -> bytes:
        assert joined is not None
        return encoded_bytes(joined.source, int(joined.indices[image.row]))

    pictures = picture if copies else None
    for unit, files in work:
        written = Written(unit)
        form.write(written, masked_images(store, unit.start, unit.stop, files), about, pictures)
        counts += written.finish()
        done(finished := finished + 1, len(units))
    return counts


_task: tuple[Store, Format, About]


def _start(store: str, name: Name, about: About) -> None:
    """In a worker process: open the store once."""
    end_with_parent()
    global _task
    _task = Store(store), FORMATS[name], about


def _work(given: tuple[Unit, list[str] | None]) -> Counter[str]:
    (store, form, about), (unit, files) = _task, given
    written = Written(unit)
    form.write(written, masked_images(store, unit.start, unit.stop, files), about, None)
    return written.finish()
