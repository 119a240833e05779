"""Evaluation protocols: which images, which masks, how averaged. A record each, and one line that lists it. No torch.

"iclr2022" [Singla & Feizi 2022, section 5]: noise on the union of the spurious masks gives core accuracy, over
the classes that have one; noise on the core masks gives spurious accuracy. The images of a (class, feature) pair
are its top images; an image counts once, with the masks of the features that it is a top image of. An image
whose class has no such feature does not count.

"corm2022" [Singla, Moayeri, Feizi 2022]: c is the union of the core masks of the image's class, dilated and divided
by its maximum. Noise on 1 - c and on c, on every image whose class has a core feature; class-averaged.

"rival2022" [Moayeri et al. 2022, arXiv 2201.10766]: foreground is the union of the core masks as it is, background
1 minus it. Noise on either, on every image whose class has a core feature; class-averaged.

"spuriosity2023" [Moayeri et al. 2023]: no noise; the most and the least spurious images of each class.

"groups2020" [Sagawa et al. 2020]: no noise; all images, for the accuracy of each (class, cue shown or not).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.regions import (
    ACCURACY_OF,
    BACKGROUND,
    FOREGROUND,
    INSIDE,
    OUTSIDE,
    RegionOfStore,
    boxed,
    core_and_rest,
    dilated_core,
    single_features,
    top_images,
)

if TYPE_CHECKING:
    from salient_imagenet_data.store.reading import Store

Regions = Callable[["Store"], list[RegionOfStore]]


@dataclass(frozen=True)
class Ratio:
    """Accuracies under corruption inside and outside a region, held against each other. name: of the figure, short, and
    title, in words. inside, outside: names of the protocol's regions. What is random may be tried several times on
    them."""

    name: str
    inside: str
    outside: str
    title: str


@dataclass(frozen=True)
class Protocol:
    """How classifiers are evaluated. regions: of a store, where corruptions go. single: those of single features, run
    where asked for. ratio: of a pair of the regions. ends: whether the clean answers on the most and the least spurious
    images of each class are needed; every: on all images, if a class has a spurious feature. left: by region, the name
    of the accuracy that is left when it is corrupted."""

    name: str
    regions: Regions | None = None
    single: Regions | None = None
    ratio: Ratio | None = None
    ends: bool = False
    every: bool = False
    left: Mapping[str, str] = field(default_factory=dict)

    def regions_of(self, store: Store, *, single: bool = False) -> list[RegionOfStore]:
        """Its regions in a store; single: those of single features too."""
        makers = (self.regions, self.single if single else None)
        return [region for maker in makers if maker is not None for region in maker(store)]


REGISTERED: tuple[Protocol, ...] = (
    Protocol("iclr2022", top_images, single_features, left=ACCURACY_OF),
    Protocol(
        "corm2022",
        dilated_core,
        ratio=Ratio("rcs", INSIDE, OUTSIDE, "Relative core sensitivity"),
        left={OUTSIDE: "acc(C)", INSIDE: "acc(S)"},
    ),
    Protocol("rival2022", core_and_rest, ratio=Ratio("rfs", FOREGROUND, BACKGROUND, "Relative foreground sensitivity")),
    Protocol("spuriosity2023", ends=True),
    Protocol("groups2020", every=True),
)
"""All of them, in the order of running."""
PROTOCOLS = tuple(protocol.name for protocol in REGISTERED)
"""Their names."""
RATIOS = {protocol.ratio.name: protocol.ratio for protocol in REGISTERED if protocol.ratio is not None}
"""The ratios, by their names."""
LEFT_OF = {region: name for protocol in REGISTERED for region, name in protocol.left.items()}
"""For every region whose protocol has a name for the accuracy that is left, that name."""


def protocols_of(names: Sequence[str]) -> list[Protocol]:
    """The protocols of some names, in the order of running. Raises SalientError for none, and for another name."""
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        raise SalientError("protocol is not known", expected=f"one of {', '.join(PROTOCOLS)}", got=", ".join(unknown))
    return [protocol for protocol in REGISTERED if protocol.name in names]


def every_region(store: Store) -> dict[str, RegionOfStore]:
    """The regions of all protocols in a store, with their boxes, by name."""
    plain = [region for protocol in REGISTERED for region in protocol.regions_of(store, single=True)]
    return {region.name: region for region in [*plain, *map(boxed, filter(has_box, plain))]}


def has_box(region: RegionOfStore) -> bool:
    """Whether a region's bounding box is one of its own: not of what is left over, nor of a single feature."""
    return not region.region.complement and not region.single
