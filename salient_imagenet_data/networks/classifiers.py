"""What a network that was opened is: a model over images in [0, 1], normalisation inside, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.classes import AGREED, SAME_ORDER, ClassMap, Reading

Model = Callable[[Tensor], Tensor]
"""(B, 3, S, S) float32 in [0, 1] -> logits (B, N): of the store's C classes first, then of those that the store has
not, if there are any. Normalisation is the model's."""


@dataclass(frozen=True)
class Classifier:
    """A model to evaluate. name: unique in one evaluation. preprocessing: how it wants images; None: as the
    store's crop.
    details: what is recorded of it, JSON-ready. channels_last: give it images in the memory layout that convolutions
    like best, where `view` fails; a stranger's function gets contiguous ones. class_names: of
    the outputs, as the network itself names them, where it does. class_map: how they were matched with a store's
    classes; None: they are the store's, in order. assumed: what outputs without names are called by their number, as
    a library's ImageNet networks' are (`Opened`)."""

    name: str
    model: Model
    preprocessing: Preprocessing | None = None
    details: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = False
    class_names: tuple[str, ...] | None = None
    class_map: ClassMap | None = None
    assumed: tuple[str, ...] | None = None

    def outputs(self, classes: int) -> int:
        """How many outputs the model has, at a store of `classes` classes."""
        return classes if self.class_map is None else self.class_map.of

    def among(self, reading: Reading) -> Classifier:
        """The same, answering among all its outputs, or among the store's classes only: these are then its outputs."""
        if reading == "all" or self.class_map is None or not self.class_map.subset:
            return self
        kept = self.class_map.outputs or tuple(range(self.class_map.classes))
        inner = self.model.net if isinstance(self.model, Reordered) else self.model
        return replace(self, model=in_order(inner, kept), class_map=replace(self.class_map, of=len(kept), outputs=None))

    def to(self, device: str) -> Classifier:
        """The same on a device, where the model can be moved."""
        moved = self.model.eval().to(device) if isinstance(self.model, nn.Module) else self.model
        return replace(self, model=moved)

    @property
    def recorded(self) -> dict[str, Any]:
        """Name, preprocessing and details, for the metadata of a predictions file."""
        ready = self.preprocessing
        return {"name": self.name, "preprocessing": asdict(ready) if ready else None, **self.details}


def told(details: dict[str, Any], preprocessing: Preprocessing | None) -> list[str]:
    """What a person should hear of an opened network: how its images are made, and whence that is, what it is asked,
    and how its classes were matched."""
    lines = []
    if "question" in details:
        words = "; ".join(f"{word}: {', '.join(map(repr, tokens))}" for word, tokens in details["answers"].items())
        lines.append(f"{details['spec']}: asked {details['prompt']!r} and so on; {words}")
    if "normalisation" in details:
        mean, std = (", ".join(f"{v:.4g}" for v in details["normalisation"][key]) for key in ("mean", "std"))
        made = "" if preprocessing is None else f"{preprocessing}; "
        lines.append(f"{details['spec']}: images {made}minus {mean}, over {std}: {details['normalisation']['from']}")
    if "classes" in details and details["classes"]["how"] not in (SAME_ORDER, AGREED):
        lines.append(f"{details['spec']}: classes {details['classes']['how']}")
    return lines


def network_of(classifier: Classifier) -> nn.Module:
    """The network of a classifier. Raises SalientError for a function, which has nothing to train."""
    if not isinstance(classifier.model, nn.Module):
        raise SalientError(
            f"{classifier.name}: cannot be trained", expected="a network", got=type(classifier.model).__name__
        )
    return classifier.model


def check_output(model: nn.Module, size: int, classes: int, device: str) -> None:
    """Raise SalientError unless a network's output on images of `size` pixels is (B, classes)."""
    with torch.no_grad():
        checked_logits(model(torch.zeros(1, 3, size, size, device=device)), 1, classes)


def checked_logits(output: object, images: int, classes: int) -> Tensor:
    """A model's output, if it is (images, classes). Raises SalientError if not."""
    if not isinstance(output, Tensor) or output.shape != (images, classes):
        more = isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] > classes
        raise SalientError(
            "model's output does not fit the store",
            expected=f"(batch, {classes}) logits",
            got=str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__,
            then="name its outputs with --class-names, if it knows other classes too" if more else "",
        )
    return output


class Normalised(nn.Module):
    """(x - mean) / std in front of a network; `logits` takes the output of networks that return more than a tensor."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        output = self.net((images - self.mean) / self.std)
        return output if isinstance(output, Tensor) else output.logits


def in_order(model: Model, order: Sequence[int]) -> Model:
    """A model whose output i is output order[i] of the one given; a network if that is one."""
    if isinstance(model, nn.Module):
        return Reordered(model, order).eval()
    columns = list(order)
    return lambda images: model(images)[:, columns]


class Reordered(nn.Module):
    """A network whose outputs are in another order, or some of them: output i is the network's output order[i]."""

    def __init__(self, net: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.net, self.order = net, tuple(order)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.net(images)
        return output[:, list(self.order)]
