"""What the demo shows: a sheet of masks, a page, and the same in a few lines of text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from salient_imagenet_data.demo.classifiers import Figures
from salient_imagenet_data.demo.truth import FalseAlarm, MaskScores, PlantedCue
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.pictures.classes import SIDE, Shown, corner, sheet
from salient_imagenet_data.pictures.page import render
from salient_imagenet_data.pictures.tiles import GAP
from salient_imagenet_data.scenes import CLASSES
from salient_imagenet_data.store.reading import Store

PAGE, SHEET = "index.html", "contact_sheet.png"
TILES = 1 + len(KINDS)
"""Of a class on the sheet: the scene, and a mask of each kind."""


@dataclass(frozen=True)
class DemoResult:
    """All that the demo finds. counts: of scenes, features, and rows of each way to read the store. masks: by kind, as
    of `score_masks`. classifiers: by name. seconds: by stage. peak_mib: the process's memory at most."""

    counts: Mapping[str, int]
    cues: tuple[PlantedCue, ...]
    false_alarms: tuple[FalseAlarm, ...]
    masks: Mapping[str, MaskScores]
    sigmas: tuple[float, ...]
    classifiers: Mapping[str, Figures]
    seconds: Mapping[str, float]
    peak_mib: int

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "cues": [cue.to_json() for cue in self.cues],
            "spurious_in_classes_without_cue": [alarm.to_json() for alarm in self.false_alarms],
            "masks": {kind: scores.to_json() for kind, scores in self.masks.items()},
            "sigmas": list(self.sigmas),
            "classifiers": {name: figures.to_json() for name, figures in self.classifiers.items()},
            "resources": {"seconds": {k: round(v, 2) for k, v in self.seconds.items()}, "peak_mib": self.peak_mib},
        }


def page(result: DemoResult) -> str:
    """The page, without times and memory, so that a second run writes the same."""
    shown = {key: value for key, value in result.to_json().items() if key not in ("resources", "classifiers")}
    places = [corner(number, TILES) for number in range(len(CLASSES))]
    steps = [tile * (SIDE + GAP) for tile in range(TILES)]
    classes = [
        {"name": c.name, "lefts": [left + step for step in steps], "top": top}
        for c, (left, top) in zip(CLASSES, places, strict=True)
    ]
    shown |= {"side": SIDE, "gap": GAP, "classifiers": result.classifiers}
    return render("salient_imagenet_data.demo", "demo.html", sheet=SHEET, classes=classes, **shown)


def contact_sheet(store: Store, source: ImageSource) -> Image.Image:
    """Photograph, core mask in blue and spurious mask in orange of each class's first image; hatched where there is no
    such mask."""
    joined = join(store, source)
    rows = [int(np.flatnonzero(store.rows.labels == label)[0]) for label in range(len(store.class_names))]
    masks = [{kind: store.mask(row, kind) for kind in KINDS} for row in rows]
    names = display_names(store.class_names)
    return sheet([Shown(*one) for one in zip(names, map(joined.crop, rows), masks, strict=True)])


def words(result: DemoResult, out: Path) -> str:
    """The result in a few lines of text. out: the demo's folder."""
    lines = [
        f"{name}: spurious gap {figures.spurious_gap.words}, accuracy without the cue {figures.decorrelated.words}"
        for name, figures in result.classifiers.items()
        if figures.spurious_gap is not None
    ]
    heads = ("core accuracy", "spurious accuracy", "clean accuracy", "without the cue")
    lines += ["", f"{'classifier':<10} {'sigma':>5} " + " ".join(f"{head:>20}" for head in heads)]
    for name, figures in result.classifiers.items():
        plain = [figures.clean, figures.decorrelated]
        for sigma in figures.core:
            masked = [figures.core[sigma].accuracy, figures.spurious[sigma].accuracy]
            lines.append(f"{name:<10} {sigma:>5} " + " ".join(e.words for e in (*masked, *plain)))
    lines.append(f"cues found: {sum(cue.found for cue in result.cues)} of {len(result.cues)}")
    lines.append(f"spurious features in classes without a cue: {len(result.false_alarms)}")
    for kind, scores in result.masks.items():
        whole = scores.whole
        told = "none" if whole.n == 0 else f"AUROC {whole.auroc:.3f}, IoU {whole.iou:.3f} ({whole.n} images)"
        lines.append(f"{kind} masks against truth: {told}")
    lines.append(f"{sum(result.seconds.values()):.1f} s, {result.peak_mib} MiB; see {out / PAGE}")
    given = shlex.join([str(out / "store"), "--images", str(out / "images")])
    lines.append(f"answer yourself: salient-imagenet label {given} --annotator me")
    lines.append(f"look into it: salient-imagenet explore {given}")
    return "\n".join(lines)
