"""Export a store as a folder laid out as its Hub repository.

Everything is written to `<out>.partial`, shard by shard, and that folder is renamed at the end: a folder called `out`
is whole. A stopped export goes on where it was, if store and options are the same; what is there is read first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub import layout
from salient_imagenet_data.hub.batches import ExportedRows
from salient_imagenet_data.hub.card import write_card
from salient_imagenet_data.hub.croissant import write_croissant
from salient_imagenet_data.hub.parquet import is_whole, shard_facts, write_shard
from salient_imagenet_data.hub.picture import write_picture
from salient_imagenet_data.hub.target import Target
from salient_imagenet_data.imagenet import is_imagenet
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.names import FEATURES_TABLE
from salient_imagenet_data.places import check_repo_id
from salient_imagenet_data.store.checks.checking import read_manifest
from salient_imagenet_data.store.locks import end_with_parent
from salient_imagenet_data.store.manifest import file_sha256, write_manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.configs import FEATURES, GRIDS, MASKS, WITH_IMAGES
from salient_imagenet_data.whole_file import whole_file, write_bytes


@dataclass(frozen=True)
class ExportConfig:
    """Rows of a shard file and of a row group, by kind of config. A row group is what a streaming reader fetches first
    and what the Hub's viewer reads; several shards let workers and `num_proc` share the work."""

    grid_shard_rows: int = 131_072
    grid_group_rows: int = 8_192
    mask_shard_rows: int = 32_768
    mask_group_rows: int = 1_024

    def shard_rows(self, config: str) -> int:
        return self.mask_shard_rows if config in (MASKS, WITH_IMAGES) else self.grid_shard_rows

    def group_rows(self, config: str) -> int:
        return self.mask_group_rows if config in (MASKS, WITH_IMAGES) else self.grid_group_rows


@dataclass(frozen=True)
class Shard:
    """One Parquet file to write: rows start to stop of a config."""

    config: str
    path: str
    start: int
    stop: int


def export(
    store: Store,
    out: Path,
    *,
    repo: str = "ORG/NAME",
    source: ImageSource | None = None,
    redistribute: bool = False,
    config: ExportConfig | None = None,
    workers: int = 1,
    overwrite: bool = False,
    done: Callable[[int, int], None] = lambda finished, total: None,
) -> Path:
    """Write the repository folder of an annotated store to `out`, and return it.

    repo: the name that the card's examples use. source and redistribute: add the config `with_images`, if whoever
    exports says that the images may be passed on. workers: processes that draw masks, and threads for the rest. done:
    called with (finished, total) shards. An export that is there already is kept if it is of the same store and
    options. Raises SalientError if images may not be passed on, if the store is damaged or not annotated, or if `out`
    holds something else.
    """
    check_repo_id(repo)
    target = Target.at(out, store.path)
    store.kind_table  # noqa: B018 - says so now if the store is not annotated
    check_images(store, source, redistribute)
    config = config or ExportConfig()
    key = _key(store, repo, source, config)
    if target.is_finished(key, overwrite=overwrite):
        return out
    partial = target.begin(key)
    _copy_store(store, partial / layout.STORE_FOLDER)
    rows = ExportedRows(store, source)
    shards = list(plan(rows, config))
    _write_shards(rows, shards, partial, config, workers, done)
    _remove_others(partial, shards)
    facts = {s.path: shard_facts(partial / s.path) for s in shards}
    write_picture(rows, partial / layout.PICTURE)
    write_card(store, facts, partial, repo)
    write_croissant(store, facts, partial)
    check_unchanged(store)
    target.finish(key)
    return out


def plan(rows: ExportedRows, config: ExportConfig) -> Iterator[Shard]:
    """The shards of an export."""
    split = rows.manifest.split
    for name in (MASKS, GRIDS, FEATURES, *([WITH_IMAGES] if rows.source else [])):
        size, total = config.shard_rows(name), rows.count(name)
        count = max(1, -(-total // size))
        for shard in range(count):
            path = layout.shard_path(name, split, shard, count)
            yield Shard(name, path, shard * size, min((shard + 1) * size, total))


def check_images(store: Store, source: ImageSource | None, redistribute: bool) -> None:
    """Images go out only if their owner says so, and ImageNet's never. Raises SalientError where they may not, or one
    is not the store's."""
    if source is None:
        return
    names = (*store.class_names, *source.class_names)
    paths = (str(source.encoded(i)["path"] or "") for i in range(len(source)))
    ids = (source.entry(i).image_id for i in range(len(source)))
    if any(map(is_imagenet, names)) or any(map(is_imagenet, ids)) or any(map(is_imagenet, paths)):
        raise SalientError(
            "the images are ImageNet's",
            expected="images that may be passed on; ImageNet's terms allow research use by each who signed them, and "
            "no redistribution",
            then="export without --images: readers join masks to their own copy by image id",
        )
    if not redistribute:
        raise SalientError(
            "exporting images puts copies of them into the repository",
            expected="--redistribute beside --images, if their licence allows it",
        )
    joined = join(store, source)
    for item in range(len(joined)):
        joined.image(item)  # every size is checked before anything is written


def _key(store: Store, repo: str, source: ImageSource | None, config: ExportConfig) -> str:
    """What decides the bytes of an export: the store, the options, and the versions that write."""
    parts = {
        "manifest": hashlib.sha256(store.manifest.to_json().encode()).hexdigest(),
        "config": dataclasses.asdict(config),
        "repo": repo,
        "images": source is not None,
        "versions": {name: version(name) for name in ("salient-imagenet-data", "pyarrow", "deflate")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _copy_store(store: Store, folder: Path) -> None:
    """Copy what the manifest lists, checking each hash; the manifest last."""
    for name, expected in sorted(store.manifest.files.items()):
        target = folder / name
        if target.is_file() and file_sha256(target) == expected:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == FEATURES_TABLE:
            write_bytes(target, store.features_bytes)
            continue
        with (store.path / name).open("rb") as original, whole_file(target) as file:
            shutil.copyfileobj(original, file)
        got = file_sha256(target)
        if got != expected:
            raise SalientError(f"{store.path / name}: damaged", expected=f"sha256 {expected}", got=got, then="rebuild")
    write_manifest(folder, store.manifest)


def check_unchanged(store: Store) -> None:
    """Workers open the store for themselves, so nobody may have annotated it in the meantime. Raises SalientError."""
    if read_manifest(store.path) != store.manifest:
        raise SalientError(f"{store.path}: was changed while it was exported", then="export it again")


def _write_shards(
    rows: ExportedRows,
    shards: list[Shard],
    folder: Path,
    config: ExportConfig,
    workers: int,
    done: Callable[[int, int], None],
) -> None:
    left = [s for s in shards if not is_whole(folder / s.path, s.stop - s.start)]
    finished = len(shards) - len(left)
    # Drawing masks is work for processes. All else is done here, by threads: Arrow and Zarr free the interpreter lock,
    # and a source of images need not go through a pipe.
    there = [s for s in left if workers > 1 and s.config == MASKS]
    with ThreadPoolExecutor(workers) as threads:
        for _ in threads.map(lambda shard: _write(rows, shard, folder, config), [s for s in left if s not in there]):
            done(finished := finished + 1, len(shards))
    if there:
        with ProcessPoolExecutor(workers, get_context("spawn"), _start, (str(rows.store.path), folder, config)) as pool:
            for _ in pool.map(_work, there):
                done(finished := finished + 1, len(shards))


def _write(rows: ExportedRows, shard: Shard, folder: Path, config: ExportConfig) -> None:
    batches = rows.batches(shard.config, shard.start, shard.stop, config.group_rows(shard.config))
    write_shard(folder / shard.path, rows.schema(shard.config), batches)


_task: tuple[ExportedRows, Path, ExportConfig]


def _start(store: str, folder: Path, config: ExportConfig) -> None:
    """In a worker process: open the store once."""
    end_with_parent()
    global _task
    _task = ExportedRows(Store(store)), folder, config


def _work(shard: Shard) -> None:
    rows, folder, config = _task
    _write(rows, shard, folder, config)


def _remove_others(folder: Path, shards: list[Shard]) -> None:
    """Nothing but the shards may stay in the configs' folders."""
    wanted = {s.path for s in shards}
    for path in folder.rglob("*.parquet"):
        name = path.relative_to(folder).as_posix()
        if name not in wanted and not name.startswith(f"{layout.STORE_FOLDER}/"):
            path.unlink()
