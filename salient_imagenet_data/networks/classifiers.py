"""What a network that was opened is: a model over images in [0, 1], normalisation inside, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing

SAME_ORDER = "by name, in the same order"
"""How classes are matched that need no word."""
Model = Callable[[Tensor], Tensor]
"""(B, 3, S, S) float32 in [0, 1] -> logits (B, C). Normalisation is the model's."""


@dataclass(frozen=True)
class Classifier:
    """A model to evaluate. name: unique in one evaluation. preprocessing: how it wants images; None: as the
    store's crop.
    details: what is recorded of it, JSON-ready. channels_last: give it images in the memory layout that convolutions
    like best, where `view` fails; a stranger's function gets contiguous ones. class_names: of
    the outputs, as the network itself names them, where it does."""

    name: str
    model: Model
    preprocessing: Preprocessing | None = None
    details: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = False
    class_names: tuple[str, ...] | None = None

    def to(self, device: str) -> Classifier:
        """The same on a device, where the model can be moved."""
        moved = self.model.eval().to(device) if isinstance(self.model, nn.Module) else self.model
        return replace(self, model=moved)

    @property
    def recorded(self) -> dict[str, Any]:
        """Name, preprocessing and details, for the metadata of a predictions file."""
        ready = self.preprocessing
        return {"name": self.name, "preprocessing": asdict(ready) if ready else None, **self.details}


def told(details: dict[str, Any]) -> list[str]:
    """What a person should hear of an opened network: whence its normalisation is, and how its classes were matched."""
    lines = []
    if "normalisation" in details:
        mean, std = (", ".join(f"{v:.4g}" for v in details["normalisation"][key]) for key in ("mean", "std"))
        lines.append(f"{details['spec']}: images minus {mean}, over {std}: {details['normalisation']['from']}")
    if "classes" in details and details["classes"] != SAME_ORDER:
        lines.append(f"{details['spec']}: classes {details['classes']}")
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
        raise SalientError(
            "model's output does not fit the store",
            expected=f"(batch, {classes}) logits",
            got=str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__,
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


class Reordered(nn.Module):
    """A network whose outputs are in another order: output i is the network's output order[i]."""

    def __init__(self, net: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.net, self.order = net, tuple(order)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.net(images)
        return output[:, list(self.order)]
