"""The ways to train a classifier further that a study compares, a record each, and one line that lists it. No torch.

Every method begins with the same network and returns another. Guidance losses are tried at several weights, half a
power of ten to either side of what docs/scenes_mitigation.md has; each weight is a treatment of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.choices import Choice, HeadName
from salient_imagenet_data.evaluation.saliency.methods import Depth
from salient_imagenet_data.evaluation.study.plan import Plan
from salient_imagenet_data.loaders.augment.choices import BACKGROUNDS, Background

if TYPE_CHECKING:
    from torch import nn

    from salient_imagenet_data.evaluation.mitigation.heads.fitting import HeadMethod
    from salient_imagenet_data.evaluation.study.ground import Part
    from salient_imagenet_data.networks.classifiers import Classifier

AT_ONCE = 128
"""Images that go through a network at a time where nothing hangs on it."""


@dataclass(frozen=True)
class Treated:
    """What became of a network. held_out: accuracy on the least spurious images that were kept from the training, by
    which a weight is chosen (`sweep`); None where no weight is."""

    network: nn.Module
    held_out: float | None = None


class Method(Protocol):
    """A way to train on. name; family: what kind it is, in one word. weights: those that are tried, (0,) where there is
    nothing to weigh."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def weights(self) -> tuple[float, ...]: ...

    def treat(self, start: Classifier, part: Part, weight: float, plan: Plan, seed: int) -> Treated:
        """Train the network of `start`, in place, on a part of a store. Raises SalientError where it cannot."""
        ...


@dataclass(frozen=True)
class Untouched:
    """Nothing is done: the network that all begin with."""

    name: str = "before"
    family: str = "start"
    weights: tuple[float, ...] = (0.0,)

    def treat(self, start: Classifier, part: Part, weight: float, plan: Plan, seed: int) -> Treated:
        from salient_imagenet_data.networks.classifiers import network_of

        return Treated(network_of(start))


@dataclass(frozen=True)
class Guided:
    """`finetune` under a loss, or on images with other backgrounds, on three of four images."""

    name: str
    family: str
    loss: str = "none"
    weights: tuple[float, ...] = (0.0,)
    depth: Depth | None = None
    augment: Background | None = None

    def treat(self, start: Classifier, part: Part, weight: float, plan: Plan, seed: int) -> Treated:
        from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune_on, found_for
        from salient_imagenet_data.evaluation.mitigation.sweep import parted, tried_on
        from salient_imagenet_data.evaluation.run.settings import Settings

        settings = part.within(Settings(plan.batch_size, seed=seed, device=plan.device))
        parts = parted(found_for(start, part.store, part.source, settings))
        config = FinetuneConfig(
            loss=self.loss,
            weight=weight,
            depth=self.depth,
            epochs=plan.epochs,
            learning_rate=plan.learning_rate,
            augment=self.augment,
        )
        network, _ = finetune_on(start, parts.training, config, settings)
        preprocessing = start.preprocessing or part.store.manifest.preprocessing
        tried = tried_on(parts, network, preprocessing, weight, Settings(AT_ONCE, device=plan.device))
        return Treated(network, tried.least.value)


@dataclass(frozen=True)
class Head:
    """`retrain-head` by one of its methods."""

    name: str
    method: HeadName
    choice: Choice = "least"
    family: str = "head"
    weights: tuple[float, ...] = (0.0,)

    def treat(self, start: Classifier, part: Part, weight: float, plan: Plan, seed: int) -> Treated:
        from salient_imagenet_data.evaluation.mitigation.heads.retrain import retrain_head
        from salient_imagenet_data.evaluation.run.settings import Settings

        settings = part.within(Settings(AT_ONCE, seed=seed, device=plan.device))
        return Treated(retrain_head(start, part.store, part.source, self._fitted_by(plan), settings)[0])

    def _fitted_by(self, plan: Plan) -> HeadMethod:
        from salient_imagenet_data.evaluation.mitigation.heads.dfr import DFR
        from salient_imagenet_data.evaluation.mitigation.heads.group_dro import GroupDRO
        from salient_imagenet_data.evaluation.mitigation.heads.jtt import JTT
        from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity

        made: dict[HeadName, HeadMethod] = {
            "spuriosity": Spuriosity(self.choice, most=plan.head_images),
            "dfr": DFR(),
            "jtt": JTT(),
            "group-dro": GroupDRO(),
        }
        return made[self.method]


@dataclass(frozen=True)
class Corrected:
    """`spufix`: nothing is trained."""

    name: str = "spufix"
    family: str = "correction"
    weights: tuple[float, ...] = (0.0,)

    def treat(self, start: Classifier, part: Part, weight: float, plan: Plan, seed: int) -> Treated:
        from salient_imagenet_data.evaluation.mitigation.spufix import spufix
        from salient_imagenet_data.evaluation.run.settings import Settings

        settings = part.within(Settings(AT_ONCE, seed=seed, device=plan.device))
        return Treated(spufix(start, part.store, part.source, settings=settings)[0])


BEFORE, CONTROL, GUIDANCE = "before", "none", "guidance"
REGISTERED: tuple[Method, ...] = (
    Untouched(BEFORE),
    Guided(CONTROL, "control"),
    Guided("energy", GUIDANCE, "energy", (3.0, 30.0), "input"),
    Guided("l1", GUIDANCE, "l1", (3.0, 30.0), "last"),
    Guided("ppce", GUIDANCE, "ppce", (0.3, 3.0), "last"),
    Guided("rrr_star", GUIDANCE, "rrr_star", (0.003, 0.03), "input"),
    Guided("rrr", GUIDANCE, "rrr", (0.003, 0.03)),
    Guided("grad_mask", GUIDANCE, "grad_mask", (0.0003, 0.003)),
    Guided("act_diff", GUIDANCE, "act_diff", (0.3, 3.0)),
    Guided("adversarial", GUIDANCE, "adversarial", (0.3, 3.0)),
    Guided("corm", GUIDANCE, "corm"),
    *(Guided(name, "background", augment=name) for name in BACKGROUNDS),
    Head("head least", "spuriosity", "least"),
    Head("head random", "spuriosity", "random"),
    Head("head most", "spuriosity", "most"),
    Head("head dfr", "dfr"),
    Head("head jtt", "jtt"),
    Head("head group-dro", "group-dro"),
    Corrected(),
)
"""All of them, in the order of telling."""
BY_NAME = {method.name: method for method in REGISTERED}
NAMES = tuple(BY_NAME)
FAMILIES = tuple(dict.fromkeys(method.family for method in REGISTERED))


@dataclass(frozen=True)
class Treatment:
    """A method at one weight."""

    method: Method
    weight: float

    @property
    def name(self) -> str:
        """With its weight, where there are several."""
        return f"{self.method.name} {self.weight:g}" if len(self.method.weights) > 1 else self.method.name


def methods_of(names: Sequence[str]) -> tuple[Method, ...]:
    """The methods of some names or families, in the order of telling; of no name all of them. Raises SalientError for
    another name."""
    unknown = sorted({*names} - {*NAMES, *FAMILIES})
    if unknown:
        raise SalientError(
            "method is not known", expected=f"{', '.join(NAMES)}; or {', '.join(FAMILIES)}", got=", ".join(unknown)
        )
    return tuple(m for m in REGISTERED if not names or m.name in names or m.family in names)


def treatments_of(methods: Sequence[Method], plan: Plan) -> Iterator[Treatment]:
    """Each method at each of its first weights."""
    for method in methods:
        for weight in method.weights[: plan.weights]:
            yield Treatment(method, weight)
