"""Names by a network of images and words [Radford et al. 2021]: of a bank of words the one that fits best to what a
feature's maps leave of its highest images.

A picture is the store's crop of a photograph, each pixel between itself and the network's mean colour by the map's
value there: what the map does not cover is nothing to the network. A word's score is the mean over the pictures of the
cosine between picture and word.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salient_imagenet_data.annotation.sheets import seen, top_rows
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.joining import Images, Joined, Missing, join
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import Kind
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.opening import inside, open_network
from salient_imagenet_data.networks.words.zero_shot import ZeroShot
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.describing import in_columns
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store

COUNT = 5
"""Images of a feature, the highest, which people see as well."""
BATCH = 32


@dataclass(frozen=True)
class ClipName:
    """What a network calls a feature. people: what people called it, None where no reason was given; nothing of either
    goes into the other. score: of the word, in [-1, 1]. second: the next best word, margin: how much better the first
    is. elsewhere: the first word's mean score over the other features, None where there is none: a word that fits
    everything says little. images: how many pictures the scores are means over."""

    class_index: int
    class_name: str
    feature_index: int
    rank: int
    kind: Kind | None
    people: str | None
    word: str
    score: float
    second: str
    margin: float
    elsewhere: float | None
    images: int


@dataclass(frozen=True)
class ClipNames:
    """names: by class and rank. words: how many there were to choose from. unseen: features none of whose images is
    there. network: what was opened."""

    names: tuple[ClipName, ...]
    words: int
    unseen: int
    network: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return asdict(self)


def open_words(spec: str, bank: tuple[str, ...], weights: str | None = None, device: str = "cpu") -> Classifier:
    """A network of open_clip over a bank of words. spec: NAME or NAME:PRETRAINED, with or without `clip:` before it.
    weights: a file, instead of a download. Raises SalientError as `open_network` does."""
    opened = open_network(f"clip:{spec.removeprefix('clip:')}", weights=weights, outputs=bank)
    return opened.to(device)


def name_features(
    store: Store,
    images: Images,
    classifier: Classifier,
    *,
    count: int = COUNT,
    kind: Kind | None = None,
    missing: Missing = "error",
    device: str = "cpu",
) -> ClipNames:
    """Name the store's features, or those of a kind, by what `open_words` opened. count: images of a feature.

    Raises SalientError where images are missing, unless missing="skip": their places stay empty.
    """
    bank = classifier.class_names
    if bank is None or not isinstance(inside_words(classifier), ZeroShot):
        raise SalientError(f"{classifier.name}: cannot name anything", expected="a network of `open_words`")
    features = [f for f in store.features if kind is None or f.kind == kind]
    if not features:
        raise SalientError(
            f"{store.path}: no {kind or ''} features to name", then="apply answers first" if kind else ""
        )
    joined = join(store, images, missing=missing)
    scores = np.full((len(features), len(bank)), np.nan)
    counts = np.zeros(len(features), dtype=np.int64)
    for number, feature in enumerate(progress(features, total=len(features), what="name", unit="feature")):
        found = [_cosines(classifier, batch, device) for batch in _pictures(joined, feature, classifier, count)]
        if found:
            each = np.concatenate(found)
            scores[number], counts[number] = each.mean(axis=0), len(each)
    there = counts > 0
    total, several = scores[there].sum(axis=0), int(there.sum())
    names = tuple(
        _named(feature, bank, of_words, int(n), total, several)
        for feature, of_words, n, ok in zip(features, scores, counts, there, strict=True)
        if ok
    )
    return ClipNames(names, len(bank), len(features) - len(names), classifier.recorded)


def weighted(photo: NDArray[np.uint8], soft: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """A photograph (S, S, 3) uint8 of which a map (S, S) in [0, 1] leaves what it covers, the mean colour (3,) in [0,
    1] elsewhere: (S, S, 3) float32 in [0, 1]."""
    pixels = photo.astype(np.float32) / np.float32(255.0)
    return mean + soft[..., None] * (pixels - mean)


def inside_words(classifier: Classifier) -> Any:
    """The network with its words, without the normalisation before it."""
    model = classifier.model
    return inside(model) if isinstance(model, torch.nn.Module) else model


def _pictures(joined: Joined, feature: Feature, classifier: Classifier, count: int) -> Iterator[NDArray[np.float32]]:
    """Batches (B, S, S, 3) of a feature's highest images that are there."""
    assert classifier.preprocessing is not None
    side = classifier.preprocessing.crop
    mean = np.array(classifier.details["normalisation"]["mean"], dtype=np.float32)
    item_of = {int(row): item for item, row in enumerate(joined.rows)}
    rows = [int(row) for row in top_rows(joined.store, feature.class_index, feature.slot, count)]
    made = []
    for row in rows:
        if row in item_of:
            soft = to_crop_frame(dequantise(joined.store.maps[row, feature.slot]), side, side)
            made.append(weighted(seen(joined, item_of[row], side), soft, mean))
    for start in range(0, len(made), BATCH):
        yield np.stack(made[start : start + BATCH])


@torch.inference_mode()
def _cosines(classifier: Classifier, pictures: NDArray[np.float32], device: str) -> NDArray[np.float64]:
    """(B, S, S, 3) -> (B, W): the zero-shot head's logits without their scale and bias."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device)
    cosines: NDArray[np.float64] = inside_words(classifier).cosines(classifier.model(x)).double().cpu().numpy()
    return cosines


def _named(
    feature: Feature,
    bank: tuple[str, ...],
    scores: NDArray[np.float64],
    images: int,
    total: NDArray[np.float64],
    several: int,
) -> ClipName:
    first, second = np.argsort(-scores, kind="stable")[:2].tolist()
    return ClipName(
        feature.class_index,
        feature.class_name,
        feature.feature_index,
        feature.rank,
        feature.kind,
        feature.name,
        bank[first],
        float(scores[first]),
        bank[second],
        float(scores[first] - scores[second]),
        float((total[first] - scores[first]) / (several - 1)) if several > 1 else None,
        images,
    )


def csv_of(names: tuple[ClipName, ...]) -> str:
    """As text of a CSV file, a row a feature."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(ClipName.__dataclass_fields__)
    writer.writerows(asdict(name).values() for name in names)
    return table.getvalue()


def lines(found: ClipNames, store: Store) -> str:
    """A line a feature: what the network calls it, with its figures, and in a column of its own what people call it."""
    shown = display_names(store.class_names)
    rows = [("feature", "kind", "people", "network", "score", "margin", "elsewhere", "next")]
    for n in found.names:
        elsewhere = "" if n.elsewhere is None else f"{n.elsewhere:.3f}"
        figures = (f"{n.score:.3f}", f"{n.margin:.3f}", elsewhere, n.second)
        rows.append((f"{shown[n.class_index]} {n.feature_index}", n.kind or "", n.people or "", n.word, *figures))
    said = f"{len(found.names)} features named among {found.words} words"
    return "\n".join((in_columns(rows), said + (f"; {found.unseen} have no image here" if found.unseen else "")))
