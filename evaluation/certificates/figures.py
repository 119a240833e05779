"""What masks certify, from probabilities of single images: means over classes, with intervals. Pure.

Of an image x of class y, a mask m and what is seen of x through it [Gupta et al. 2022, arXiv 2211.02912]:

    completeness    min(1, p(y | x m) / p(y | x))
    certified       p(y | x m) >= alpha p(y | x)
    wrong           p(a | x m) >= alpha p(y | x) for another class a: the bar that is held to the right class
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
from salient_imagenet_data.names import Kind
from salient_imagenet_data.ranking.left_out import LeftOutFacts

OWN, OTHER, RANDOM, SEARCHED = "own", "other", "random", "searched"
WORDS = {
    OWN: "the image's own mask",
    OTHER: "where another's mask is",
    RANDOM: "as many pixels elsewhere",
    SEARCHED: "as many, searched for",
}
"""The masks that are tried, in the order of telling."""


@dataclass(frozen=True)
class Seen:
    """What a classifier makes of some images through masks. label, wrong: (n,) probability of the image's own class,
    and the largest of any other. Searched masks are two: for `label` the one that was searched for the own class, for
    `wrong` the one for any other."""

    label: NDArray[np.float64]
    wrong: NDArray[np.float64]


@dataclass(frozen=True)
class OfMask:
    """completeness, certified, wrong: as above, the latter two as shares of the images."""

    completeness: Estimate
    certified: Estimate
    wrong: Estimate


@dataclass(frozen=True)
class OfKind:
    """The core or the spurious masks. images: that count. empty: images left out because no pixel of their mask reaches
    the threshold. area: of the masks, as a share of the image. masks: by `WORDS`; no search, no searched ones. over:
    completeness of the image's own mask minus that of the other masks, on the same images, by `WORDS`."""

    images: int
    empty: int
    area: Estimate
    masks: dict[str, OfMask]
    over: dict[str, Estimate]


@dataclass(frozen=True)
class Certificates:
    """Figures of one classifier. images: that were answered, right: of these, those with the right answer, of which all
    figures are. confidence: p(y | x) of these. kinds: core and spurious, those that the store has. left_out: what no
    figure is of, of the fold's images; None where nothing was asked for."""

    alpha: float
    threshold: float
    fill: str
    images: int
    right: int
    confidence: Estimate
    kinds: dict[Kind, OfKind]
    left_out: LeftOutFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, with null where a figure is of no image."""
        return plain(self)


def of_mask(whole: NDArray[np.float64], seen: Seen, labels: NDArray[np.int64], alpha: float) -> OfMask:
    """Figures of one way to mask. whole: (n,) p(y | x). labels: (n,) classes."""
    return OfMask(
        value_average(completeness(whole, seen), labels),
        value_average((seen.label >= alpha * whole).astype(np.float64), labels),
        value_average((seen.wrong >= alpha * whole).astype(np.float64), labels),
    )


def completeness(whole: NDArray[np.float64], seen: Seen) -> NDArray[np.float64]:
    """(n,) of each image."""
    return np.asarray(np.minimum(1.0, seen.label / whole))


def of_kind(
    whole: NDArray[np.float64],
    seen: Mapping[str, Seen],
    areas: NDArray[np.float64],
    labels: NDArray[np.int64],
    empty: int,
    alpha: float,
) -> OfKind:
    """Figures of the masks of one kind. seen: by `WORDS`. areas: (n,) of the images' own masks."""
    complete = {name: completeness(whole, each) for name, each in seen.items()}
    return OfKind(
        len(labels),
        empty,
        value_average(areas, labels),
        {name: of_mask(whole, each, labels, alpha) for name, each in seen.items()},
        {name: value_average(complete[OWN] - each, labels) for name, each in complete.items() if name != OWN},
    )


def lines(name: str, c: Certificates) -> str:
    """The figures of a classifier in lines of text."""
    told = f"{name}: {c.images} images, {c.right} answered right"
    rows = [told + (f" with a mean confidence of {c.confidence.words}" if c.right else "; nothing to certify")]
    if c.left_out is not None:
        rows.append(f"  {c.left_out.words}")
    for kind, of in c.kinds.items():
        left = f"; {of.empty} more have an empty one" if of.empty else ""
        rows.append(f"  {kind} masks of {of.images} images{left}")
        if not of.images:
            continue
        rows[-1] += f", {of.area.value:.3f} of the pixels, all others {c.fill}"
        if remark := of.area.few("images"):
            rows.append(f"    {remark}")
        rows.append(f"    {'':<24}  {'completeness':<22} {f'certifies at {c.alpha:g}':<22}  a wrong class")
        for key, mask in of.masks.items():
            numbers = f"{mask.completeness.words:<22} {mask.certified.words:<22}  {mask.wrong.words}"
            rows.append(f"    {WORDS[key]:<24}  {numbers}")
        for key, more in of.over.items():
            rows.append(f"    more than {WORDS[key]:<24}  {more.words}")
    return "\n".join(rows)
