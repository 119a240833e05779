"""Run a classifier under the conditions of a plan, and keep what it says in a predictions file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.plan.plan import Plan
from salient_imagenet_data.evaluation.run.images import ItemBatch, corrupted, items_of
from salient_imagenet_data.evaluation.run.predictions import (
    FORMAT_VERSION,
    Answers,
    PredictionsFile,
    from_probabilities,
    read_metadata,
    read_predictions,
    to_table,
    write_tables,
)
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import WHOLE
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.loaders.corruption.records import corruption_of
from salient_imagenet_data.loaders.missing.hiding import hiding
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.networks.classes import Reading
from salient_imagenet_data.networks.classifiers import Classifier, checked_logits
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import sweep, write_text

PART_IMAGES = 1024
"""Images, under all conditions, that a stopped run repeats at most."""

RUN = "run.sha256"
"""Name of the file beside the parts that says which run they are of."""


def answers_of(
    classifier: Classifier,
    joined: Joined,
    plan: Plan,
    settings: Settings,
    conditions: Sequence[Condition],
    *,
    pool: Joined | None = None,
    clean: bool = True,
    start: int = 0,
) -> Iterator[tuple[int, dict[str, Answers]]]:
    """Batch after batch: the position after it in `joined`, and the answers by condition.

    pool: as of `items_of`.
    Raises SalientError if the output is not (batch, outputs) finite logits, the store's classes first.
    """
    store, outputs = joined.store, classifier.outputs(len(joined.store.class_names))
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    labels = store.rows.labels[joined.rows]
    needed = dict.fromkeys(c.region for c in conditions)
    items = items_of(joined, plan, preprocessing, list(needed), pool=pool, seed=settings.seed)
    loader: DataLoader[Any] = DataLoader(
        Subset(items, range(start, len(items))),
        batch_size=settings.batch_size,
        num_workers=settings.workers,
        collate_fn=ItemBatch.of,
        pin_memory=torch.device(settings.device).type == "cuda",
    )
    model = classifier.to(settings.device).model
    # Last digits hang on the layout, so it is one for all.
    layout = torch.channels_last if classifier.channels_last else torch.contiguous_format
    hidden = hiding(model) if any(corruption_of(c.corruption).hides for c in conditions) else None
    with progress((), total=len(items), what=classifier.name) as bar:
        bar.update(start)
        for batch in loader:
            found = {}
            # Entered for each batch, so that whoever reads this generator is not left in it.
            with torch.inference_mode():
                for name, which, images, masks in corrupted(
                    batch, conditions, plan.regions, seed=settings.seed, device=settings.device, clean=clean
                ):
                    images = images.contiguous(memory_format=layout)
                    logits = model(images) if masks is None or hidden is None else hidden(images, masks)
                    p, other = _answered(logits, len(which), len(store.class_names), outputs, settings.classes)
                    places = [batch.positions[k] for k in which]
                    ids = [batch.image_ids[k] for k in which]
                    found[name] = from_probabilities(ids, p, labels[places], settings.top_k, other)
            bar.update(len(batch))
            yield batch.positions[-1] + 1, found


def infer(
    classifier: Classifier,
    joined: Joined,
    plan: Plan,
    path: Path,
    settings: Settings,
    *,
    pool: Joined | None = None,
    overwrite: bool = False,
) -> PredictionsFile:
    """Write the predictions of one classifier to `path`, or complete what is there.

    pool: as of `items_of`.
    Conditions that the file already holds, for the same images, are not run again; a run that was stopped goes on after
    its last whole part. Raises SalientError if the file was made of another store, model, seed or device.
    """
    metadata = {
        "format": FORMAT_VERSION,
        "model": classifier.recorded,
        "store_sha256": file_sha256(joined.store.path / MANIFEST),
        "seed": settings.seed,
        "device": torch.device(settings.device).type,
        "top_k": settings.top_k,
        "reading": settings.classes,
    }
    if plan.fold != WHOLE:
        metadata["fold"] = str(plan.fold)
    work = path.with_name(path.name + ".work")
    if overwrite:
        _check_same_model(path, classifier)
        path.unlink(missing_ok=True)
        _sweep(work)
    kept = _kept(path, metadata, joined, plan)
    pending = [c for c in plan.conditions if c.name not in kept]
    clean = CLEAN not in kept
    if not pending and not clean:
        _sweep(work)  # a run killed after its last write leaves it
        return read_predictions(path, len(joined.store.class_names))
    needed = np.unique(np.concatenate([plan.rows] if clean else [plan.regions[c.region].rows for c in pending]))
    part = join(joined.store, joined.source, missing="skip", rows=np.intersect1d(needed, joined.rows).tolist())
    digest = _digest(metadata, part, pending)
    start = _resumed(work, digest)
    tables: list[Any] = []
    for position, found in answers_of(classifier, part, plan, settings, pending, pool=pool, clean=clean, start=start):
        tables += [to_table(name, answers, metadata) for name, answers in found.items()]
        if position - start >= PART_IMAGES or position == len(part):
            work.mkdir(exist_ok=True)
            write_text(work / RUN, digest)
            write_tables(work / f"{start:09d}-{position:09d}.parquet", tables, metadata)
            tables, start = [], position
    whole = [to_table(name, answers, metadata) for name, answers in kept.items()]
    whole += [pq.read_table(file) for file in sorted(work.glob("*.parquet"))]
    write_tables(path, whole, metadata)
    _sweep(work)
    return read_predictions(path, len(joined.store.class_names))


def _check_same_model(path: Path, classifier: Classifier) -> None:
    """What is replaced is of the same name: names that differ in signs only go into one file."""
    try:
        name = read_metadata(path)["model"]["name"]
    except (SalientError, KeyError, TypeError):
        return  # not there, or not whole
    if name != classifier.name:
        raise SalientError(
            f"{path}: holds another model's predictions", got=str(name), then="choose another --name or --out"
        )


def _kept(path: Path, metadata: dict[str, Any], joined: Joined, plan: Plan) -> dict[str, Answers]:
    """The answers in a file that is there which the plan need not run again."""
    if not path.exists():
        return {}
    found = read_metadata(path)
    different = sorted(k for k in {*metadata, *found} if metadata.get(k) != found.get(k))
    if different:
        key, ours, theirs = different[0], metadata.get(different[0]), found.get(different[0])
        if isinstance(ours, dict) and isinstance(theirs, dict):  # name what differs in it
            inner = next(k for k in sorted({*ours, *theirs}) if ours.get(k) != theirs.get(k))
            key, ours, theirs = f"{key}'s {inner}", ours.get(inner), theirs.get(inner)
        raise SalientError(
            f"{path}: made by another run; {key} differs",
            expected=str(ours),
            got=str(theirs),
            then="choose another --out or use --overwrite",
        )
    file, store = read_predictions(path, len(joined.store.class_names)), joined.store
    wanted = {CLEAN: plan.rows} | {c.name: plan.regions[c.region].rows for c in plan.conditions}
    ids = {name: set(_ids(store, np.intersect1d(rows, joined.rows))) for name, rows in wanted.items()}
    return {name: a for name, a in file.conditions.items() if name not in wanted or set(a.image_ids) == ids[name]}


def _ids(store: Store, rows: NDArray[np.int64]) -> list[str]:
    """Image ids of some rows."""
    ids: list[str] = store.rows.image_ids.take(pa.array(rows)).to_pylist()
    return ids


def _digest(metadata: dict[str, Any], joined: Joined, conditions: Sequence[Condition]) -> str:
    """What the parts of a run must agree on: who answers, on which images, under which conditions."""
    text = json.dumps([metadata, _ids(joined.store, joined.rows), [c.name for c in conditions]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _resumed(work: Path, digest: str) -> int:
    """The position after the last whole part of the very same run; parts of any other run are removed, and so are one
    that a power cut left damaged and those after it."""
    header = work / RUN
    if not header.is_file() or header.read_text() != digest:
        _sweep(work)
        return 0
    position, damaged = 0, False
    for file in sorted(work.glob("*.parquet")):
        first, last = (int(v) for v in file.stem.split("-"))
        damaged = damaged or not _whole(file)
        if damaged:
            file.unlink()
            continue
        if first != position:
            raise SalientError(f"{file}: a part before it is missing", then=f"remove {work} and run again")
        position = last
    return position


def _whole(file: Path) -> bool:
    try:
        pq.read_table(file)
    except (OSError, pa.ArrowException):
        return False
    return True


def _sweep(work: Path) -> None:
    """Remove the parts of a run, and nothing else: a folder of this name without the run's note is not ours. The note
    goes last, so that what is left of a removal that was stopped is known as ours."""
    if not work.exists() and not work.is_symlink():
        return
    sweep(work)
    parts = list(work.glob("*.parquet"))
    others = [path for path in work.iterdir() if path.name != RUN and path not in parts]
    if others or (parts and not (work / RUN).is_file()):
        raise SalientError(
            f"{work}: not the parts of a run",
            expected=f"a file {RUN} in it, and parts",
            got=(others or parts)[0].name,
            then="move it elsewhere",
        )
    for part in parts:
        part.unlink()
    (work / RUN).unlink(missing_ok=True)
    work.rmdir()


def _answered(
    output: Tensor, images: int, classes: int, outputs: int, reading: Reading
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Probabilities, float32, of a model's output after checking it: (b, N) among all, or (b, C) among the store's
    classes. And the answers (b,) under the other reading, None where the two are one."""
    logits = checked_logits(output, images, outputs).float()
    if not bool(torch.isfinite(logits).all()):
        raise SalientError("model's output holds NaN or infinities", expected="finite logits")
    mine, other = (logits, logits[:, :classes])[:: 1 if reading == "all" else -1]
    there = None if outputs == classes else other.argmax(dim=1).cpu().numpy()
    return mine.softmax(dim=1).cpu().numpy(), there
