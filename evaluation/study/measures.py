"""The measures that a study puts side by side, a record each: what it is, and whether more or less of it is better. No
torch.

None of them is given the truth: each is of a store's masks or of its spuriosity, on images in which the cue goes with
its class as it did in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from salient_imagenet_data.evaluation.saliency.methods import Method

if TYPE_CHECKING:
    from salient_imagenet_data.evaluation.certificates.figures import Certificates
    from salient_imagenet_data.evaluation.numbers.estimates import Estimate
    from salient_imagenet_data.evaluation.saliency.alignment import Alignment
    from salient_imagenet_data.evaluation.saliency.curves import Curves
    from salient_imagenet_data.evaluation.score.results import ModelResult
    from salient_imagenet_data.evaluation.sufficiency.figures import Sufficiency
    from salient_imagenet_data.names import Kind

WITHOUT, AGAIN, WITH = "without the cue", "without the cue, other images", "with the cue"
"""What a truth holds: accuracy where the cue says nothing, the same on other such images, and where it goes with its
class as in training."""
SALIENCIES: dict[Method, str] = {"input_x_gradient": "input x gradient", "grad_cam": "Grad-CAM"}
"""With what they are called."""
CURVES_OF: Method = "input_x_gradient"
PROTOCOLS = ("iclr2022", "corm2022", "rival2022", "spuriosity2023", "groups2020")


@dataclass(frozen=True)
class Looked:
    """All that is measured of a network. alignment: by `SALIENCIES`. curves: of `CURVES_OF`."""

    sigma: float
    result: ModelResult
    alignment: Mapping[Method, Alignment]
    curves: Curves
    sufficiency: Sufficiency
    certificates: Certificates


@dataclass(frozen=True)
class Measure:
    """key: its column. title: in words. better: 1 where more of it is to be better, -1 where less. source: who proposed
    it. read: its value; None where the network or the store has none."""

    key: str
    title: str
    better: int
    source: str
    read: Callable[[Looked], float | None]

    @property
    def wanted(self) -> str:
        """In a word."""
        return "more" if self.better > 0 else "less"


def _value(found: Estimate | None) -> float | None:
    return None if found is None or not found.n else found.value


def _left(accuracy: str) -> Callable[[Looked], float | None]:
    def read(looked: Looked) -> float | None:
        found = looked.result.left(accuracy, looked.sigma)
        return None if found is None else found.accuracy.value

    return read


def _ratio(name: str) -> Callable[[Looked], float | None]:
    return lambda looked: next((row.ratio.value for row in looked.result.ratios.get(name, ())), None)


def _worst(looked: Looked) -> float | None:
    return None if looked.result.groups is None else _value(looked.result.groups.worst_group)


def _hidden(looked: Looked) -> float | None:
    """Mean over classes of the accuracy on the half of the images that show the cue less."""
    groups = () if looked.result.groups is None else looked.result.groups.groups
    found = [group.accuracy.value for group in groups if not group.shown]
    return float(np.mean(found)) if found else None


def _aligned(method: Method, name: str) -> Callable[[Looked], float | None]:
    return lambda looked: _value(getattr(looked.alignment[method], name))


def _curve(name: str) -> Callable[[Looked], float | None]:
    return lambda looked: _value(getattr(looked.curves, name))


def _subset(part: str) -> Callable[[Looked], float | None]:
    def read(looked: Looked) -> float | None:
        place = looked.sufficiency.places.get(part)
        return None if place is None else _value(place.share)

    return read


def _certificate(kind: Kind, name: str) -> Callable[[Looked], float | None]:
    def read(looked: Looked) -> float | None:
        of = looked.certificates.kinds.get(kind)
        return None if of is None or not of.images else _value(getattr(of.masks["own"], name))

    return read


ACCURACY, EVALUATED = "clean", "Singla & Feizi 2022"
REGISTERED: tuple[Measure, ...] = (
    Measure(ACCURACY, "accuracy", 1, "", lambda looked: _value(looked.result.clean_accuracy)),
    Measure("core", "core accuracy", 1, EVALUATED, _left("core_accuracy")),
    Measure("spurious", "spurious accuracy", -1, EVALUATED, _left("spurious_accuracy")),
    Measure("rcs", "RCS", 1, "Singla et al. 2022", _ratio("rcs")),
    Measure("rfs", "RFS", 1, "Moayeri et al. 2022", _ratio("rfs")),
    Measure("worst", "worst-group accuracy", 1, "Sagawa et al. 2020", _worst),
    Measure("hidden", "accuracy, cue least shown", 1, "Moayeri et al. 2023", _hidden),
    Measure("gap", "spurious gap", -1, "Moayeri et al. 2023", lambda looked: _value(looked.result.spurious_gap)),
    *(
        Measure(f"{name} {method}", f"{words}, {said}", better, source, _aligned(method, name))
        for method, said in SALIENCIES.items()
        for name, words, better, source in (
            ("mass", "mass on core", 1, "Wang et al. 2020"),
            ("mass_spurious", "mass on spurious", -1, "Wang et al. 2020"),
            ("iou", "IoU with core", 1, "Moayeri et al. 2022"),
            ("pointing", "pointing at core", 1, "Zhang et al. 2018"),
        )
    ),
    Measure("insertion", "insertion", 1, "Petsiuk et al. 2018", _curve("insertion")),
    Measure("deletion", "deletion", -1, "Petsiuk et al. 2018", _curve("deletion")),
    Measure("insertion_core", "insertion, core first", 1, "Petsiuk et al. 2018", _curve("insertion_core")),
    Measure("sis_size", "SIS size", 1, "Carter et al. 2021", lambda looked: _value(looked.sufficiency.size)),
    Measure("sis_core", "SIS share in core", 1, "Carter et al. 2021", _subset("core")),
    Measure("sis_spurious", "SIS share in spurious", -1, "Carter et al. 2021", _subset("spurious")),
    Measure("certified_core", "certified by core", 1, "Gupta et al. 2022", _certificate("core", "certified")),
    Measure("complete_core", "completeness of core", 1, "Gupta et al. 2022", _certificate("core", "completeness")),
    Measure(
        "certified_spurious", "certified by spurious", -1, "Gupta et al. 2022", _certificate("spurious", "certified")
    ),
)
"""All of them, in the order of telling."""
BY_KEY = {measure.key: measure for measure in REGISTERED}
SHOWN: tuple[str, ...] = (
    *("clean", "core", "spurious", "rcs", "worst", "gap", "mass input_x_gradient", "mass grad_cam"),
    *("sis_core", "certified_core", "certified_spurious"),
)
"""Those of the table of methods, which has no room for all."""
