"""A sheet of images, what is seen of them through masks, and what a classifier makes of that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from salient_imagenet_data.evaluation.certificates.certify import Answered, answered, images_of
from salient_imagenet_data.evaluation.certificates.choices import Asked
from salient_imagenet_data.evaluation.certificates.figures import OTHER, OWN, RANDOM, SEARCHED
from salient_imagenet_data.evaluation.run.found import images_to_swap_in
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.joining import Images, Joined
from salient_imagenet_data.names import CORE, SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.pictures.tiles import Tile, captioned, nothing, stack
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import whole_file

IMAGES, PANEL, AT_ONCE = 6, 128, 8
SHOWN = (OWN, OTHER, RANDOM, SEARCHED)


def sheet(classifier: Classifier, store: Store, images: Images, asked: Asked, settings: Settings) -> Image.Image | None:
    """For at most six images of different classes that are answered right and have a core mask: what is seen through
    it, of as many pixels where another image's core is, elsewhere, and searched for another class, and of the spurious
    mask. Above each stands the probability of the class, of the searched ones that of the other. Raises SalientError
    for no such image."""
    joined = _by_turns(images_of(store, images, settings, lambda line: None))
    pool = images_to_swap_in(joined, settings, lambda line: None) if asked.hidden_by.needs_other else None
    small = Settings(AT_ONCE, seed=settings.seed, device=settings.device)
    strips: dict[int, Image.Image] = {}
    for batch in answered(classifier, joined, pool, asked, small, keep=True):
        core = batch.tried.get(CORE)
        for place, position in enumerate([] if core is None else core.positions.tolist()):
            label = int(joined.store.rows.labels[joined.rows[position]])
            if label not in strips and len(strips) < IMAGES:
                strips[label] = _strip(batch, place, joined, position, label)
        if len(strips) == IMAGES:
            break
    return stack([strips[label] for label in sorted(strips)]) if strips else None


def save_sheet(
    classifier: Classifier, store: Store, images: Images, asked: Asked, settings: Settings, path: Path
) -> str:
    """Write `sheet` as a PNG, where there is something to show. Returns what was done, in words."""
    picture = sheet(classifier, store, images, asked, settings)
    if picture is None:
        return f"no picture: {classifier.name} answers no image with a core mask right"
    with whole_file(path) as file:
        picture.save(file, format="PNG", optimize=True)
    return f"wrote {path}"


def _by_turns(joined: Joined) -> Joined:
    """The first image of each class, then the second of each, so that six classes are soon seen."""
    labels = joined.store.rows.labels[joined.rows]
    turn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        turn[labels == label] = np.arange(int((labels == label).sum()))
    return joined.take(np.lexsort((labels, turn)))


def _strip(batch: Answered, place: int, joined: Joined, position: int, label: int) -> Image.Image:
    names, core = display_names(joined.store.class_names), batch.tried[CORE]
    tiles: list[Tile] = [_pixels(core.shown["whole"][place])]
    words = [f"the image {core.whole[place]:.2f}"]
    called = {OWN: "core", OTHER: "at another's core", RANDOM: "elsewhere"}
    for key in (name for name in SHOWN if name in core.shown):
        tiles.append(_pixels(core.shown[key][place]))
        if key == SEARCHED:
            words.append(f"{names[int(core.wrong[key][place])]} {core.seen[key].wrong[place]:.2f}")
        else:
            words.append(f"{called[key]} {core.seen[key].label[place]:.2f}")
    spurious = batch.tried.get(SPURIOUS)
    there = [] if spurious is None else np.flatnonzero(spurious.positions == position).tolist()
    if spurious is not None and there:
        tiles.append(_pixels(spurious.shown[OWN][there[0]]))
        words.append(f"spurious {spurious.seen[OWN].label[there[0]]:.2f}")
    else:
        tiles.append(np.asarray(nothing((PANEL, PANEL), "no spurious mask")))
        words.append("")
    return captioned(tiles, words, names[label], PANEL)


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    """(3, S, S) float -> (S, S, 3) uint8."""
    found: NDArray[np.uint8] = image.mul(255.0).round().byte().permute(1, 2, 0).numpy()
    return found
