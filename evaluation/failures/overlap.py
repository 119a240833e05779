"""Whether two models fail on the same images when their core or their spurious pixels are corrupted, and clean.

Models that lean on different features should fail on different images [Jain et al. 2022]. Predictions are joined by
image id. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.evaluation.numbers.consistency import Together, beyond, together
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.score.outcomes import Outcome, line_up
from salient_imagenet_data.evaluation.score.records import plain
from salient_imagenet_data.evaluation.score.together import check_models
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut, LeftOutFacts
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class PairOverlap:
    """Two models under a condition, on the images of both. one_only: images that only one of them answered, left out.

    mistakes: of all images. broken: of the images that both get right clean; None for the clean condition, and where
    there is no such image. control: error consistency under the same corruption of as many pixels at a random place;
    beyond: how much more it is under the condition. Both None where one of the models has no such control on these
    images, or where nothing can be said.
    """

    first: str
    second: str
    condition: str
    one_only: int
    mistakes: Together
    broken: Together | None
    control: Estimate | None
    beyond: Estimate | None


@dataclass(frozen=True)
class Overlaps:
    """All pairs. models: in the order of their files. conditions: clean first, then as the files have them.
    not_shared: conditions, no controls, that only some files have, so that some pairs lack them. apart: (first, second,
    condition) that both have, but on no image in common. left_out: what no figure is of, of the store's images; None
    where nothing is."""

    models: tuple[str, ...]
    conditions: tuple[str, ...]
    pairs: tuple[PairOverlap, ...]
    not_shared: tuple[str, ...]
    apart: tuple[tuple[str, str, str], ...]
    left_out: LeftOutFacts | None

    def pair(self, first: str, second: str, condition: str) -> PairOverlap | None:
        """Of two models in either order, under a condition."""
        wanted = ({first, second}, condition)
        return next((p for p in self.pairs if ({p.first, p.second}, p.condition) == wanted), None)

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        found: dict[str, Any] = plain(self)
        return found


def overlaps(
    files: Sequence[PredictionsFile], store: Store, conditions: Sequence[str] = (), left_out: LeftOut = NOTHING
) -> Overlaps:
    """Every two models under each condition that both have. conditions: only these, by name; without, clean and all
    that are no control and no second trial. left_out: images that no figure is of.

    Raises SalientError for fewer than two files, files of one model or of different readings, a condition that no file
    has, and where no two files have an image in common.
    """
    if len(files) < 2:
        raise SalientError("one predictions file overlaps with nothing", expected="two or more")
    check_models(files)
    lined = {file.model: line_up(file, store, left_out) for file in files}
    known = dict.fromkeys(
        name for outcomes in lined.values() for name in outcomes if name == CLEAN or Condition.parse(name).compared
    )
    names = [CLEAN, *(name for name in known if name != CLEAN)]
    if unknown := [name for name in conditions if name not in names]:
        raise SalientError(f"{unknown[0]}: no file has this condition", expected=f"one of {some(names, 20)}")
    names = [name for name in names if not conditions or name in conditions]
    pairs, apart = list[PairOverlap](), list[tuple[str, str, str]]()
    for name in names:
        for first, second in combinations([model for model, outcomes in lined.items() if name in outcomes], 2):
            pair = _pair(first, second, name, lined[first], lined[second])
            if pair is None:
                apart.append((first, second, name))
            else:
                pairs.append(pair)
    if not pairs:
        raise SalientError("no two of the files have a condition and an image in common")
    lacking = tuple(name for name in names if any(name not in outcomes for outcomes in lined.values()))
    facts = left_out.facts(store.rows.image_ids.to_pylist())
    return Overlaps(tuple(lined), tuple(names), tuple(pairs), lacking, tuple(apart), facts)


def _pair(
    first: str, second: str, name: str, ours: dict[str, Outcome], theirs: dict[str, Outcome]
) -> PairOverlap | None:
    """None where they have no image in common."""
    rows, one_only = _common(ours[name], theirs[name])
    if not len(rows):
        return None
    wrong, labels = _mistakes(ours[name], theirs[name], rows), ours[name].at(rows).labels
    if name == CLEAN:
        return PairOverlap(first, second, name, one_only, together(wrong[0], wrong[1], labels), None, None, None)
    right = ~_mistakes(ours[CLEAN], theirs[CLEAN], rows).any(axis=0)
    broken = together(wrong[0, right], wrong[1, right], labels[right]) if right.any() else None
    control, more = _control(name, ours, theirs, rows, wrong, labels)
    return PairOverlap(first, second, name, one_only, together(wrong[0], wrong[1], labels), broken, control, more)


def _common(a: Outcome, b: Outcome) -> tuple[NDArray[np.int64], int]:
    """Rows that both have, ascending, and how many only one has."""
    rows = np.intersect1d(a.rows, b.rows)
    return rows, len(a.rows) + len(b.rows) - 2 * len(rows)


def _mistakes(a: Outcome, b: Outcome, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.stack([~a.at(rows).hits, ~b.at(rows).hits])


def _control(
    name: str,
    ours: dict[str, Outcome],
    theirs: dict[str, Outcome],
    rows: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    labels: NDArray[np.int64],
) -> tuple[Estimate | None, Estimate | None]:
    control = replace(Condition.parse(name), control="random").name
    if control not in ours or control not in theirs:
        return None, None
    if any(not np.isin(rows, outcomes[control].rows).all() for outcomes in (ours, theirs)):
        return None, None
    return beyond(wrong, _mistakes(ours[control], theirs[control], rows), labels)
