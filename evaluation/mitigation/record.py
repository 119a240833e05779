"""What a fine-tuning did, as JSON beside the weights that it wrote."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, Finetuned
from salient_imagenet_data.evaluation.mitigation.sweep import Sweep
from salient_imagenet_data.evaluation.plan.plan import left_out_in
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.score.records import to_json
from salient_imagenet_data.joining import Joined
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.whole_file import check_new, write_text


def record_of(out: Path) -> Path:
    """The file of a file of weights: energy.safetensors has energy.finetune.json."""
    return out.with_suffix(".finetune.json")


def check_record(out: Path, overwrite: bool) -> None:
    """Raises SalientError where the record of a file of weights is there already, unless `overwrite`."""
    check_new(record_of(out), overwrite)


def write_record(
    out: Path,
    joined: Joined,
    config: FinetuneConfig,
    settings: Settings,
    done: Finetuned,
    *,
    boxes: Path | None = None,
    sweep: Sweep | None = None,
) -> Path:
    """Write the record of weights: recipe, with the weight that was used; the store's data version and what of it was
    trained on and left out; whose masks guided; losses by epoch; the weights that were tried. Returns its path.

    boxes: file or folder that they are from, of which a file's sha256 is kept.
    """
    given = None
    if boxes is not None:
        given = {"path": boxes.name, "sha256": file_sha256(boxes) if boxes.is_file() else None}
    fields = {
        "recipe": dataclasses.asdict(config),
        "data_version": joined.store.manifest.data_version,
        "images": len(joined),
        "missing": len(joined.missing),
        "fold": str(settings.fold),
        "left_out": to_json(left_out_in(joined.store, settings.fold, settings.left_out)),
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "classes": settings.classes,
        "layer": done.layer,
        "annotation": None if done.annotation is None else dataclasses.asdict(done.annotation),
        "boxes": given,
        "losses": [{"cross_entropy": a, "guidance": b} for a, b in done.losses],
        "sweep": None if sweep is None else dataclasses.asdict(sweep),
    }
    path = record_of(out)
    write_text(path, json.dumps(fields, indent=2) + "\n")
    return path
