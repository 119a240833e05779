"""What a classifier's orders of pixels say: sizes of sufficient subsets, where they lie, what else they carry.

Pure: from figures of single images to means over classes of each class's mean, with bootstrap intervals over images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.bootstrap import value_average
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.score.records import plain
from salient_imagenet_data.ranking.left_out import LeftOutFacts

PARTS = ("core", "spurious", "neither")
"""Of the pixels of an image, as of `subsets.parts`."""


@dataclass(frozen=True)
class Place:
    """share: of a sufficient subset's pixels that lie in a part of the image. area: that part's own share of the image,
    which is what random pixels have there. other: share of the subset in the same part of another image of the class,
    one for all parts, which is what the class's habitual place has; None for the border, which is alike in all."""

    share: Estimate
    area: float
    other: Estimate | None


@dataclass(frozen=True)
class OnSubset:
    """On a share of each image's pixels, all else filled: accuracy on those masked last, and on as many random ones;
    agreement: how often the answer is the one that the whole image gets."""

    share: float
    accuracy: Estimate
    random: Estimate
    agreement: Estimate


@dataclass(frozen=True)
class WrongClass:
    """The control: an order made for a class that is neither the image's nor the answer. found: how often some end of
    it makes the classifier as sure of that class. size: of these, as a share of the image. no_larger: how often one is
    found that is no larger than that of the answer: then a small sufficient subset says little about the answer."""

    found: Estimate
    size: Estimate
    no_larger: Estimate


@dataclass(frozen=True)
class Sufficiency:
    """Figures of one classifier. Sizes are shares of an image's pixels.

    images: with an order. sure: of these, those whose answer on the whole image has a confidence of at least
    `threshold`; all figures of sufficient subsets are of them. empty: sure images for which the fill alone is enough,
    whose subsets lie nowhere. step: by how much sizes are rounded up, as a share. places: by `PARTS`, none where the
    store is not annotated; border: width in pixels, and the subsets' place there. confidence: in the answer, of the
    whole image, the subset, the subset dilated by so many pixels, and as many random pixels. accuracies on the whole
    image, on the border alone, and without it. left_out: what has no order, of the fold's images; None where
    nothing was asked for.
    """

    threshold: float
    images: int
    sure: int
    empty: int
    step: float
    size: Estimate
    median: float
    places: dict[str, Place]
    border_width: int
    border: Place
    confidence: dict[str, Estimate]
    wrong_class: WrongClass | None
    accuracy: Estimate
    border_only: Estimate
    without_border: Estimate
    subsets: tuple[OnSubset, ...]
    left_out: LeftOutFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, with null where a figure is of no image."""
        return plain(self)


def wrong_class(
    wrong_sizes: NDArray[np.int64], sizes: NDArray[np.int64], labels: NDArray[np.int64], cells: int
) -> WrongClass:
    """Of sure images. wrong_sizes, sizes: (n,) cells, negative where there is no such subset."""
    found = wrong_sizes >= 0
    shares = np.where(found, wrong_sizes / cells, np.nan)
    no_larger = (found & (wrong_sizes <= sizes)).astype(np.float64)
    return WrongClass(
        value_average(found.astype(np.float64), labels), value_average(shares, labels), value_average(no_larger, labels)
    )


def place(
    found: Mapping[str, NDArray[np.float64]], name: str, labels: NDArray[np.int64], *, other: bool = True
) -> Place:
    """Of columns `NAME share`, `NAME area` and `NAME other`, each (n,), NaN where an image does not count."""
    share, area = found[f"{name} share"], found[f"{name} area"]
    area = np.where(np.isnan(share), np.nan, area)
    return Place(
        value_average(share, labels),
        value_average(area, labels).value,
        value_average(found[f"{name} other"], labels) if other else None,
    )


def lines(name: str, s: Sufficiency) -> str:
    """The figures of a classifier in lines of text."""
    rows = [f"{name}: {s.images} images, {s.sure} of them with a confidence of at least {s.threshold:g}"]
    if s.empty:
        rows[0] += f"; for {s.empty} of these no pixel is needed"
    if s.left_out is not None:
        rows.append(f"  {s.left_out.words}")
    if not s.sure:
        rows.append("  no sufficient subset to speak of: choose a lower --tau")
    else:
        if remark := s.size.few("sure images"):
            rows.append(f"  {remark}")
        rows.append(f"  size of a sufficient subset, share of the pixels   {s.size.words}   median {s.median:.3f}")
        for part, p in {**s.places, f"border of {s.border_width} px": s.border}.items():
            if p.share.n:
                other = f"   in another image's {p.other.words}" if p.other is not None and p.other.n else ""
                rows.append(f"  in {part:<46}  {p.share.words}   area {p.area:.3f}{other}")
        rows += [f"  confidence, {what:<38} {e.words}" for what, e in s.confidence.items()]
        if s.wrong_class is not None:
            w = s.wrong_class
            rows.append(f"  a subset for a wrong class is found                {w.found.words}")
            if w.size.n:
                rows.append(f"  its size                                           {w.size.words}")
            rows.append(f"  and it is no larger than that of the answer        {w.no_larger.words}")
    rows.append(f"  accuracy                                           {s.accuracy.words}")
    rows.append(f"  accuracy on the border alone                       {s.border_only.words}")
    rows.append(f"  accuracy without the border                        {s.without_border.words}")
    for row in s.subsets:
        what = f"accuracy on the last {100 * row.share:g} % of the pixels"
        rows.append(f"  {what:<50} {row.accuracy.words}   random {row.random.words}")
    return "\n".join(rows)
