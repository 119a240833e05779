"""Import the official release: worker processes make the grids, this one writes the store.

Shard by shard, so memory does not grow with the release. A shard's report is kept in `work` before its arrays are
written; an import that was stopped goes on with the shards that are missing and gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.applying import with_verdicts
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import wnid_of_words
from salient_imagenet_data.images.likeness import likenesses
from salient_imagenet_data.images.source import ImageSource, index_by_id
from salient_imagenet_data.names import OFFICIAL_RELEASE, WORK
from salient_imagenet_data.official.archive import Archive, open_archive
from salient_imagenet_data.official.fit import pooling
from salient_imagenet_data.official.layout import Plan, make_plan
from salient_imagenet_data.official.rows import feature_rows, image_sizes, image_table
from salient_imagenet_data.official.work import Report, Settings, Task, run
from salient_imagenet_data.places import Folder, is_url
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.arrays import CHUNK_ROWS
from salient_imagenet_data.store.claiming import Claim, claimed, unclaim
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.locks import end_with_parent
from salient_imagenet_data.store.manifest import Manifest, check_version
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.writing import StoreWriter
from salient_imagenet_data.whole_file import write_text

FULL_SHARD_ROWS = 64
"""Rows of a shard of whole masks: 16 MB before packing."""
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class ImportConfig:
    """Choices of an import.

    grid: what the masks are reduced to, (7, 7) for the network that made them; None keeps all their pixels.
    preprocessing: what the masks' frame is; they must be crop x crop pixels. feature_count: of the network; feature
    indices lie below it. broken: whether a mask that cannot be decoded ends the import or goes to quarantine.
    """

    grid: tuple[int, int] | None = (7, 7)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    feature_count: int = 2048
    majority: int = 3
    split: str = "train"
    broken: Literal["error", "skip"] = "error"
    shard_rows: int | None = None
    data_version: str = "1.0.0"

    def __post_init__(self) -> None:
        check_version(self.data_version)

    @property
    def rows_of_a_shard(self) -> int:
        """Given, or small enough that a shard fits into memory several times."""
        return self.shard_rows or (FULL_SHARD_ROWS if self.grid is None else CHUNK_ROWS)


@dataclass(frozen=True)
class _Pool:
    """Worker processes. size: how many."""

    executor: ProcessPoolExecutor
    size: int


@contextmanager
def _workers(processes: int) -> Iterator[_Pool]:
    """Processes that start at once, while the release is being looked through."""
    with (
        _one_thread_each(),
        ProcessPoolExecutor(processes, get_context("spawn"), initializer=end_with_parent) as executor,
    ):
        for _ in range(processes):
            executor.submit(os.getpid)
        try:
            yield _Pool(executor, processes)
        except BrokenProcessPool as error:
            raise SalientError(
                "a worker process was stopped", then="is there enough memory? go on with --resume and fewer --workers"
            ) from error
        finally:
            executor.shutdown(cancel_futures=True)


def import_official(
    release: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    annotations: Annotations | None = None,
    images: ImageSource | None = None,
    config: ImportConfig | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Store:
    """Make a store at `out` of the official release, a zip (read in place) or a folder, and open it.

    annotations: people's answers; without them the store is annotated later. images: the user's own, to read the
    images' sizes from; classes of the release that are not among theirs are left out. Without images sizes stay unknown
    and only the crop frame can be used. workers: processes, one a core by default; the store's bytes do not depend on
    it. Raises SalientError for input that does not fit.
    """
    if is_url(os.fspath(out)):
        raise SalientError(f"{out}: an import writes to a folder", then="import to a disk, then copy or publish it")
    config = config or ImportConfig()
    with _workers(workers or os.cpu_count() or 1) as pool:
        this = _read(release, annotations, images, config)
        place, claim = Folder.of(out), Claim("import", _made_of(this), "release, answers, images and options")
        with claimed(place, claim, resume=resume, overwrite=overwrite) as finished:
            if not finished:
                _make(this, Path(out), claim.key, pool)
            unclaim(place)
    return Store(out)


@dataclass(frozen=True)
class _Import:
    """All that an import is given, read and checked. sizes: (N, 2) int32. likenesses: see the manifest. sha256: of the
    archive."""

    archive: Archive
    plan: Plan
    features: tuple[Feature, ...]
    sizes: NDArray[np.int32]
    likenesses: dict[str, str]
    annotations: Annotations | None
    sha256: str
    config: ImportConfig


def _read(
    release: str | os.PathLike[str], annotations: Annotations | None, images: ImageSource | None, config: ImportConfig
) -> _Import:
    archive = open_archive(release)
    verdicts = annotations.verdicts(config.majority) if annotations else ()
    wanted = None if images is None else {*images.class_names, *map(wnid_of_words, images.class_names)}
    plan = make_plan(archive, verdicts, config.feature_count, wanted)
    features = tuple(feature_rows(plan))
    if annotations is not None:
        features = with_verdicts(features, verdicts, plan.class_names)
    sizes = image_sizes(plan, images)  # which checks that all are there
    return _Import(
        archive, plan, features, sizes, _likenesses(plan, images), annotations, archive.fingerprint(), config
    )


def _likenesses(plan: Plan, images: ImageSource | None) -> dict[str, str]:
    if images is None:
        return {}
    index = index_by_id(images)
    return likenesses(images, np.array([index[plan.image_id(row)] for row in range(len(plan.names))], dtype=np.int64))


def _make(this: _Import, folder: Path, key: str, pool: _Pool) -> None:
    """Maps, tables and manifest, in a folder that is claimed."""
    archive, plan, config = this.archive, this.plan, this.config
    work, size = folder / WORK, config.preprocessing.crop
    work.mkdir(exist_ok=True)
    grid = config.grid or (size, size)
    rows, slots = plan.places.shape
    writer = StoreWriter(folder, images=rows, features=slots, grid=grid, shard_rows=config.rows_of_a_shard)
    settings = Settings(archive.reader, size, slots, config.grid, config.broken == "skip", not archive.is_zip)
    _write_maps(writer, this, settings, work, pool)

    reports = [Report.from_json(_report_path(work, s).read_text()) for s in range(-(-rows // writer.shard_rows))]
    broken = [(writer.rows(s).start + row, slot, why) for s, r in enumerate(reports) for row, slot, why in r.broken]
    in_top = plan.places >= 0
    for row, slot, _ in broken:
        in_top[row, slot] = False
    manifest = Manifest(
        class_names=plan.class_names,
        images=rows,
        features_per_class=slots,
        grid=grid,
        shard_rows=writer.shard_rows,
        split=config.split,
        preprocessing=config.preprocessing,
        group_by="release",
        top_images=_longest_list(plan),
        weights_sha256="unknown",
        architecture="unknown",
        feature_count=config.feature_count,
        quarantined=len(broken),
        annotations_sha256=this.annotations.sha256 if this.annotations else None,
        majority=config.majority,
        versions={name: version(name) for name in ("salient-imagenet-data", "numpy", "pillow", "zarr")},
        files={},
        data_version=config.data_version,
        made_of=key,
        likenesses=this.likenesses,
        origin=_origin(this, reports),
    )
    quarantine = [
        {"image_id": plan.image_id(row), "label": int(plan.labels[row]), "reason": why} for row, _, why in broken
    ]
    writer.finish(manifest, image_table(plan, this.sizes, in_top, config.preprocessing), this.features, quarantine)


def _write_maps(writer: StoreWriter, this: _Import, settings: Settings, work: Path, pool: _Pool) -> None:
    missing, places = writer.missing(), this.plan.places
    total = sum(int((places[_slice(writer.rows(s))] >= 0).sum()) for s in missing)
    with progress((), total=total, what="masks", unit="mask") as bar:
        for shard, maps, report in _results((_task(writer, this, s) for s in missing), settings, pool):
            write_text(_report_path(work, shard), report.to_json())
            # The release holds neither: not zeros, which would be values.
            unknown = np.full(maps.shape[:2], np.nan, dtype=np.float32)
            writer.write_shard(shard, maps, unknown, unknown)
            bar.update(report.masks + len(report.broken))


def _results(tasks: Iterator[Task], settings: Settings, pool: _Pool) -> Iterator[tuple[int, NDArray[np.uint8], Report]]:
    """Do tasks in worker processes, two waiting for each."""
    packed, running = pickle.dumps(settings), set[Future[tuple[int, NDArray[np.uint8], Report]]]()
    while True:
        while len(running) < 2 * pool.size and (task := next(tasks, None)) is not None:
            running.add(pool.executor.submit(run, packed, task))
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        # A list would keep finished shards alive while the next ones are made.
        while done:
            yield done.pop().result()


def _task(writer: StoreWriter, this: _Import, shard: int) -> Task:
    archive, plan, rows = this.archive, this.plan, writer.rows(shard)
    places = plan.places[_slice(rows)]
    found = np.argwhere(places >= 0)
    # In the order of the zip, so that a disk reads forward.
    found = found[np.argsort(archive.index.offset[places[found[:, 0], found[:, 1]]], kind="stable")]
    where = found.tolist()
    paths = (plan.mask_path(rows.start + row, slot) for row, slot in where)
    files = archive.index.members(places[found[:, 0], found[:, 1]], paths)
    return Task(shard, len(rows), [(row, slot, file) for (row, slot), file in zip(where, files, strict=True)])


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers started in here use one thread for matrix products: there are as many workers as wanted threads, and
    the last bit of a product may depend on the number of threads."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _origin(this: _Import, reports: list[Report]) -> dict[str, Any]:
    archive, plan, config = this.archive, this.plan, this.config
    masks = sum(r.masks for r in reports)
    origin: dict[str, Any] = {
        "kind": OFFICIAL_RELEASE,
        "sha256": this.sha256
        if archive.is_zip
        else hashlib.sha256("".join(r.digest for r in reports).encode()).hexdigest(),
        "sha256_of": "the zip file" if archive.is_zip else "the masks read, shard by shard",
        "masks": masks,
        "classes_absent": plan.absent,
        "columns_passed_over": plan.others,
        "files_not_listed": len(archive.index)
        - len(archive.tables)
        - int((plan.places >= 0).sum())
        - plan.masks_left_out,
    }
    if plan.left_out:
        origin |= {"classes_left_out": len(plan.left_out), "masks_left_out": plan.masks_left_out}
    if config.grid is not None:
        worst, whole = max(reports, key=lambda r: r.max_error), sum(r.whole_masks for r in reports)
        origin["grid_error"] = {
            "pool": pooling(config.preprocessing.crop, config.grid),
            "mean": sum(r.error_sum for r in reports) / max(masks, 1),
            "max": worst.max_error,
            "worst": worst.worst,
            "whole_masks": whole,
            "whole_mean": sum(r.whole_error_sum for r in reports) / max(whole, 1),
            "whole_max": max(r.whole_max_error for r in reports),
        }
    return origin


def _longest_list(plan: Plan) -> int:
    """Images of the pair that has most."""
    listed = plan.places >= 0
    starts = np.flatnonzero(np.diff(plan.labels, prepend=-1))
    return int(np.add.reduceat(listed.astype(np.int64), starts, axis=0).max())


def _made_of(this: _Import) -> dict[str, Any]:
    return {
        "release": this.sha256,
        "sizes": hashlib.sha256(this.sizes.tobytes()).hexdigest(),
        "likenesses": this.likenesses,
        "annotations": this.annotations.sha256 if this.annotations else None,
        "config": dataclasses.asdict(this.config),
    }


def _report_path(work: Path, shard: int) -> Path:
    return work / f"shard-{shard:05d}.json"


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop)
