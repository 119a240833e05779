"""What a study found of one network under one treatment, a file of its own, so that a stopped study goes on. No
torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.names import stem_of
from salient_imagenet_data.evaluation.score.records import from_json, plain
from salient_imagenet_data.evaluation.study.methods import Treatment
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.whole_file import write_text

if TYPE_CHECKING:
    from salient_imagenet_data.networks.classifiers import Classifier

ABOUT, ROWS = "study.plan.json", "rows"
"""What decides the rows of a folder, and where they are."""


@dataclass(frozen=True)
class Row:
    """start: the network's name. method, weight: the treatment. network: which it began with (`identity_of`). measures:
    by key, None where there is no value. counts: how many test images, and how many each of the scarcer measures is of.
    truth: by `measures.WITHOUT` and so on, empty where nobody knows it. held_out: as of `Treated`. failed: why the
    method could not be used, and then there is nothing else."""

    start: str
    method: str
    weight: float
    network: str = ""
    measures: dict[str, float | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    truth: dict[str, float] = field(default_factory=dict)
    held_out: float | None = None
    failed: str = ""


def identity_of(classifier: Classifier) -> str:
    """Which network it is: the hash of its state or of its file; of a function, which has neither, its spec."""
    known = (classifier.details.get(key) for key in ("network_sha256", "weights_sha256", "spec"))
    return str(next((value for value in known if value), ""))


def path_of(folder: Path, start: str, treatment: Treatment) -> Path:
    """The file of a row."""
    return folder / ROWS / f"{stem_of(start)}.{stem_of(treatment.name)}.json"


def write_row(path: Path, row: Row) -> None:
    """Whole, or not at all."""
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps(plain(row), indent=1) + "\n")


def read_row(path: Path) -> Row:
    """Raises SalientError that names the field for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SalientError(f"{path}: not understood", expected="a row of a study", then="remove it") from error
    return from_json(Row, data, str(path))


def claim(folder: Path, about: Mapping[str, Any]) -> None:
    """Write down what decides the rows, or find it written: so rows of different plans never stand in one folder.
    Raises SalientError for a folder of anything else."""
    path, text = folder / ABOUT, json.dumps(about, indent=1, sort_keys=True) + "\n"
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise SalientError(
                f"{folder}: holds a study of another plan",
                expected=f"what stands in {ABOUT}",
                then="choose another --out, or repeat the options that it was begun with",
            )
        return
    if any(p.name != LOCK for p in folder.iterdir()):
        raise SalientError(
            f"{folder}: not a study", expected="an empty folder, or a study's", then="choose another --out"
        )
    write_text(path, text)
