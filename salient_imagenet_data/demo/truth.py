"""The demo's figures against the truth of the scenes: functions on a store and the scenes, results as records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.names import CORE, SPURIOUS
from salient_imagenet_data.scenes import CLASSES
from salient_imagenet_data.scenes.render import CueKind, Scene, cue_kind
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class PlantedCue:
    """A cue that was planted in a class. kind: what it is, `background` or `separate_object`. features: indices of the
    class's features that were called spurious and of this kind."""

    class_name: str
    cue: str
    kind: CueKind
    features: tuple[int, ...]

    @property
    def found(self) -> bool:
        """Whether some feature shows it."""
        return bool(self.features)

    def to_json(self) -> dict[str, Any]:
        return {
            "class": self.class_name,
            "cue": self.cue,
            "kind": self.kind,
            "found": self.found,
            "features": list(self.features),
        }


@dataclass(frozen=True)
class FalseAlarm:
    """A feature that was called spurious in a class without a cue."""

    class_name: str
    feature_index: int

    def to_json(self) -> dict[str, Any]:
        return {"class": self.class_name, "feature": self.feature_index}


def find_cues(features: Sequence[Feature]) -> tuple[tuple[PlantedCue, ...], tuple[FalseAlarm, ...]]:
    """For each planted cue, the class's features that were called spurious and of the cue's kind; and the spurious
    features of classes without a cue."""
    cues: list[PlantedCue] = []
    false_alarms: list[FalseAlarm] = []
    for class_index, scene_class in enumerate(CLASSES):
        spurious = [f for f in features if f.class_index == class_index and f.kind == SPURIOUS]
        if scene_class.cue is None:
            false_alarms += [FalseAlarm(scene_class.name, f.feature_index) for f in spurious]
            continue
        kind = cue_kind(scene_class.cue)
        found = tuple(f.feature_index for f in spurious if f.cue == kind)
        cues.append(PlantedCue(scene_class.name, scene_class.cue, kind, found))
    return tuple(cues), tuple(false_alarms)


@dataclass(frozen=True)
class Overlap:
    """How well masks cover what is there: means over n images of the AUROC and of the IoU at 0.5; None for no image."""

    auroc: float | None
    iou: float | None
    n: int

    @staticmethod
    def of(masks: Sequence[NDArray[np.float32]], truths: Sequence[NDArray[np.bool_]]) -> Overlap:
        """masks: (H, W) each, in [0, 1]. truths: (H, W) each, where the thing is."""
        from salient_imagenet_data.evaluation.numbers.overlap import auroc, iou

        if not masks:
            return Overlap(None, None, 0)
        pairs = list(zip(masks, truths, strict=True))
        return Overlap(
            float(np.mean([auroc(*pair) for pair in pairs])), float(np.mean([iou(*pair) for pair in pairs])), len(pairs)
        )


@dataclass(frozen=True)
class MaskScores:
    """Masks of one kind against truth. whole: over all images. classes: by name of the class."""

    whole: Overlap
    classes: Mapping[str, Overlap]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self.whole), "per_class": {name: vars(overlap) for name, overlap in self.classes.items()}}


def score_masks(store: Store, scene_of: Callable[[str], Scene]) -> dict[str, MaskScores]:
    """Masks against the scenes' pixels: "core", and the spurious ones by the kind of the cue.

    A spurious mask is scored on images that show the class's own cue. scene_of: the scene of an image id.
    """
    masks: dict[str, dict[int, list[NDArray[np.float32]]]] = {"core": {}, "background": {}, "separate_object": {}}
    truths: dict[str, dict[int, list[NDArray[np.bool_]]]] = {kind: {} for kind in masks}

    def note(kind: str, label: int, mask: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
        masks[kind].setdefault(label, []).append(mask)
        truths[kind].setdefault(label, []).append(truth)

    for row, record in enumerate(store.rows):
        scene, cue = scene_of(record.image_id), CLASSES[record.label].cue
        core, spurious = store.mask(row, CORE), store.mask(row, SPURIOUS)
        if core is not None:
            note("core", record.label, core, scene.core)
        if spurious is not None and cue is not None and scene.cue == cue and scene.spurious.any():
            note(cue_kind(cue), record.label, spurious, scene.spurious)
    return {kind: _scores(masks[kind], truths[kind]) for kind in masks}


def _scores(
    masks: Mapping[int, list[NDArray[np.float32]]], truths: Mapping[int, list[NDArray[np.bool_]]]
) -> MaskScores:
    labels = sorted(masks)
    whole = Overlap.of([m for k in labels for m in masks[k]], [t for k in labels for t in truths[k]])
    return MaskScores(whole, {CLASSES[k].name: Overlap.of(masks[k], truths[k]) for k in labels})
