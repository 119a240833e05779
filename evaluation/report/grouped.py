"""The groups of a store in lines of text, and as a table of images. No torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.groups import Groups
from salient_imagenet_data.evaluation.plan.vocabulary import BY_KEY
from salient_imagenet_data.evaluation.score.results import GroupFigures
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.names import IMAGE_ID, LABEL
from salient_imagenet_data.store.reading import Store

LINES = 40
"""Classes, and groups of a model, that are printed at most."""
COLUMNS = (IMAGE_ID, LABEL, "class_name", "spuriosity", "cue")


def sizes_words(groups: Groups, store: Store) -> str:
    """How many images each group has, class by class."""
    sizes, names = groups.sizes(), display_names(store.class_names)
    classes = sorted({number // 2 for number in sizes})
    without = int((~groups.counted).sum())
    least, most = min(sizes.values()), max(sizes.values())
    lines = [
        f"{len(groups.labels)} images: {len(sizes)} groups of {len(classes)} classes, {least} to {most} images each; "
        f"{without} images of classes without a spurious feature are in none",
        groups.rule.words,
        "",
        f"{'class':<28} {'images':>7} {'shown':>7} {'hidden':>7}",
    ]
    for label in classes[:LINES]:
        hidden, shown = sizes.get(2 * label, 0), sizes.get(2 * label + 1, 0)
        lines.append(f"{names[label][:28]:<28} {hidden + shown:>7} {shown:>7} {hidden:>7}")
    if len(classes) > LINES:
        lines.append(f"and {len(classes) - LINES} more classes")
    return "\n".join(lines)


def figures_words(name: str, found: GroupFigures, store: Store, worst: int = 5) -> str:
    """A model's accuracies over groups, and its worst groups."""
    names = display_names(store.class_names)
    lines = [f"{name}: {len(found.groups)} groups"]
    lines += [f"  {BY_KEY[key].name:<40} {figure.words} n = {figure.n}" for key, figure in found.named.items()]
    if found.absent:
        lines.append(f"  {found.absent:.1%} of the other data are in groups without an image here, and left out")
    for group in found.lowest[:worst]:
        words = f"{names[group.class_index]}, cue {'shown' if group.shown else 'hidden'}"
        lines.append(f"    {words:<38} {group.accuracy.words} n = {group.accuracy.n}")
    return "\n".join(lines)


def table_of(groups: Groups, rows: NDArray[np.int64], store: Store) -> str:
    """CSV of the images: id, label, class, spuriosity, and whether the cue is shown or hidden; the last two are empty
    in a class without one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    ids: Sequence[str] = store.rows.image_ids.take(rows).to_pylist()
    for place, image_id in enumerate(ids):
        label = int(groups.labels[place])
        known = bool(groups.has_cue[label])
        score = f"{groups.scores[place]:.6f}" if known else ""
        cue = ("shown" if groups.shown[place] else "hidden") if known else ""
        writer.writerow([image_id, label, store.class_names[label], score, cue])
    return text.getvalue()
