"""Images whose label may be wrong, by confident learning [Northcutt et al. 2021], through cleanlab. No torch.

The threshold of a class is the mean probability of it over the images that are labelled as it. An image labelled i
whose most probable class among those above their threshold is j counts as i that is j; the counts, scaled to the labels
that there are, say how many images of each pair of classes are wrong, and those least likely by the probabilities are
the candidates. A candidate is a question to a person, no verdict.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError, many, not_installed
from salient_imagenet_data.evaluation.labels.choices import USUAL, Prune
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.ranking.left_out import COLUMN, LeftOut

COLUMNS = ("rank", COLUMN, "label", "suggested", "self_confidence", "suggested_probability")
_FILTERS = {"noise-rate": "prune_by_noise_rate", "class": "prune_by_class", "both": "both"}
"""What cleanlab calls them."""
SHOWN = 10
"""Candidates, and classes, that are printed."""


@dataclass(frozen=True)
class OutOfSample:
    """What a classifier says of images that it was not fitted on. image_ids: n. labels: (n,) int64. probabilities:
    (n, C) float64, rows add up to 1. source: in words."""

    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    source: str

    def without(self, left_out: LeftOut) -> OutOfSample:
        """Of the images that are not left out. Raises SalientError where none is."""
        kept = np.flatnonzero(~left_out.holds(self.image_ids))
        if not len(kept):
            raise SalientError("all images are left out", expected="some that are not")
        ids = tuple(self.image_ids[place] for place in kept.tolist())
        return OutOfSample(ids, self.labels[kept], self.probabilities[kept], self.source)


@dataclass(frozen=True)
class Candidate:
    """An image whose label may be wrong. rank: from 1, the least likely label first. self_confidence: probability of
    its label. suggested: the most probable class, suggested_probability: of it."""

    rank: int
    image_id: str
    label: int
    suggested: int
    self_confidence: float
    suggested_probability: float


@dataclass(frozen=True)
class OfClass:
    """images: labelled as the class, candidates: of these."""

    class_name: str
    images: int
    candidates: int


@dataclass(frozen=True)
class LabelErrors:
    """What was found. images: that were asked about. classes: those that have any, in order. prune: how candidates were
    chosen. source: of the probabilities, in words."""

    images: int
    prune: Prune
    source: str
    classes: tuple[OfClass, ...]
    candidates: tuple[Candidate, ...]

    def words(self, names: Sequence[str]) -> str:
        """As `label-errors` prints it. names: (C,) of the classes."""
        shown, found = display_names(tuple(names)), self.candidates
        lines = [
            f"{len(found)} of {many(self.images, 'image')} may be labelled wrong ({len(found) / self.images:.1%}), "
            f"by {self.prune} on {self.source}",
            "",
        ]
        if single := [c.class_name for c in self.classes if c.images == 1]:
            lines.insert(1, f"{many(len(single), 'class', 'classes')} with one image cannot have a candidate")
        by_name = dict(zip(names, shown, strict=True))
        most = sorted((c for c in self.classes if c.candidates), key=lambda c: (-c.candidates, c.class_name))
        if most:
            lines.append(f"{'labelled as':<28} {'images':>7} {'candidates':>10}")
            lines += [f"{by_name[c.class_name][:28]:<28} {c.images:>7} {c.candidates:>10}" for c in most[:SHOWN]]
            if len(most) > SHOWN:
                rest = sum(c.candidates for c in most[SHOWN:])
                lines.append(f"and {many(len(most) - SHOWN, 'more class', 'more classes')} with {rest}")
            lines += ["", f"{'rank':>4} {'labelled as':<20} {'p':>6}  {'suggested':<20} {'p':>6}  image"]
        for c in found[:SHOWN]:
            of, other = shown[c.label][:20], shown[c.suggested][:20]
            line = f"{c.rank:>4} {of:<20} {c.self_confidence:>6.3f}  {other:<20} {c.suggested_probability:>6.3f}"
            lines.append(f"{line}  {c.image_id}")
        if len(found) > SHOWN:
            lines.append(f"and {len(found) - SHOWN} more")
        return "\n".join(lines).rstrip()

    def table(self, names: Sequence[str]) -> str:
        """CSV of the candidates, classes by the store's names: what --leave-out reads."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for c in self.candidates:
            numbers = f"{c.self_confidence:.6f}", f"{c.suggested_probability:.6f}"
            writer.writerow([c.rank, c.image_id, names[c.label], names[c.suggested], *numbers])
        return text.getvalue()


def label_errors(given: OutOfSample, names: Sequence[str], prune: Prune = USUAL) -> LabelErrors:
    """The candidates among some images, the lowest probability of the label first, equal ones by id.

    names: (C,) of the classes. Raises SalientError where cleanlab is not installed, or the labels are of fewer than two
    classes.
    """
    labels, p = given.labels, given.probabilities
    counts = np.bincount(labels, minlength=len(names))
    if (counts > 0).sum() < 2:
        raise SalientError("labels of one class", expected="images of two classes or more")
    places = np.flatnonzero(_wrong(labels, p, prune))
    own = p[places, labels[places]]
    order = sorted(range(len(places)), key=lambda k: (own[k], given.image_ids[places[k]]))
    candidates = []
    for rank, k in enumerate(order, start=1):
        row = int(places[k])
        suggested = int(p[row].argmax())
        confident = float(own[k]), float(p[row, suggested])
        candidates.append(Candidate(rank, given.image_ids[row], int(labels[row]), suggested, *confident))
    found = np.bincount(labels[places], minlength=len(names))
    classes = tuple(OfClass(name, int(n), int(wrong)) for name, n, wrong in zip(names, counts, found, strict=True) if n)
    return LabelErrors(len(labels), prune, given.source, classes, tuple(candidates))


def _wrong(labels: NDArray[np.int64], probabilities: NDArray[np.float64], prune: Prune) -> NDArray[np.bool_]:
    """(n,) as cleanlab has it, in this process."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that it would rather have
            from cleanlab.filter import find_label_issues
    except ModuleNotFoundError as error:
        raise not_installed("cleanlab", "label-errors") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without images, and with one, which `words` tells
        found = find_label_issues(labels, probabilities, filter_by=_FILTERS[prune], n_jobs=1)
    return np.asarray(found, dtype=np.bool_)
