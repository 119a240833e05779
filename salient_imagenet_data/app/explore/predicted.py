"""What models said about the images: the file of predictions, by row of the store, and which answers flip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.plan.regions import BACKGROUND, FOREGROUND
from salient_imagenet_data.evaluation.plan.vocabulary import corruption_words, region_words
from salient_imagenet_data.evaluation.run.predictions import Answers, read_predictions
from salient_imagenet_data.names import CORE, SPURIOUS, Kind
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Said:
    """A model's answers under one condition. rows: (n,) of the store, ascending. classes: (n,) answers; from the number
    of the store's classes up, some that it does not have. confidence: (n,) their probability."""

    rows: NDArray[np.int64]
    classes: NDArray[np.int32]
    confidence: NDArray[np.float32]

    def at(self, row: int) -> tuple[int, float] | None:
        """Answer and probability about a row; None where there is none."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            return None
        return int(self.classes[place]), float(self.confidence[place])


@dataclass(frozen=True)
class Flips:
    """Of n images that were answered both clean and under a condition: lost, rows that were right and no longer are, by
    how sure the clean answer was; gained, how many became right."""

    n: int
    right: int
    lost: tuple[int, ...]
    gained: int


@dataclass(frozen=True)
class Model:
    """A model's predictions. name: to show. said: by condition, the clean one first."""

    name: str
    said: Mapping[str, Said]

    def flips(self, condition: str, labels: NDArray[np.integer]) -> Flips:
        """What changes from clean to a condition. labels: (N,) of the store's rows."""
        clean, other = self.said[CLEAN], self.said[condition]
        rows, at, where = np.intersect1d(clean.rows, other.rows, assume_unique=True, return_indices=True)
        before, after = clean.classes[at] == labels[rows], other.classes[where] == labels[rows]
        lost = np.flatnonzero(before & ~after)
        order = lost[np.argsort(-clean.confidence[at][lost], kind="stable")]
        return Flips(len(rows), int(before.sum()), tuple(rows[order].tolist()), int((~before & after).sum()))

    @property
    def corrupted(self) -> tuple[str, ...]:
        """Conditions beside the clean one, those of spurious pixels first."""
        others = [name for name in self.said if name != CLEAN]
        return tuple(sorted(others, key=lambda name: (name.partition("@")[2] != SPURIOUS, name)))


def read_model(path: Path, store: Store) -> Model:
    """A file of predictions, by rows of a store. Raises SalientError for a file that is none, for images that the store
    does not have, and without clean answers."""
    file = read_predictions(path, len(store.class_names))
    if CLEAN not in file.conditions:
        raise SalientError(
            f"{path}: no clean answers", expected=f"a condition {CLEAN!r}", got=", ".join(sorted(file.conditions))
        )
    names = sorted(file.conditions, key=lambda name: (name != CLEAN, name))
    return Model(file.model, {name: _said(file.conditions[name], store, path) for name in names})


def _said(answers: Answers, store: Store, path: Path) -> Said:
    ids = pa.array(answers.image_ids, pa.string())
    rows = pc.fill_null(pc.index_in(ids, value_set=store.rows.image_ids), -1).to_numpy().astype(np.int64)
    if (rows < 0).any():
        unknown = answers.image_ids[int(np.flatnonzero(rows < 0)[0])]
        raise SalientError(
            f"{path}: {int((rows < 0).sum())} images are not in the store",
            expected=f"ids such as {store.rows.image_ids[0].as_py()}",
            got=unknown,
            then="give predictions about this store's images",
        )
    order = np.argsort(rows)
    return Said(rows[order], answers.predicted[order], answers.confidence[order])


def kind_of(name: str) -> Kind | None:
    """Whose mask the region of a condition is made of: that of the core features also for foreground and background;
    None for one that is made of neither."""
    region = name.partition("@")[2].removeprefix("not_")
    if region.startswith(SPURIOUS):
        return SPURIOUS
    return CORE if region.startswith((CORE, FOREGROUND, BACKGROUND)) else None


def condition_words(name: str) -> str:
    """A condition in words: "clean", "noise 0.25 on the spurious pixels", and controls by what they are."""
    if name == CLEAN:
        return CLEAN
    try:
        condition = Condition.parse(name)
    except SalientError:
        return name
    where = region_words(condition.region)
    if condition.control:
        what = "a random region as large" if condition.control == "random" else "another image's mask"
        where = f"{what} as {where}"
    trial = f", trial {condition.trial}" if condition.trial > 1 else ""
    return f"{corruption_words(condition.corruption)} on {where}{trial}"
