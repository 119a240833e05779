"""What a fine-tuning needs to go on after a stop: kept after each epoch, whole, beside the weights to be written."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salient_imagenet_data.builder.training.recipe import Recipe
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.whole_file import write_bytes

SUFFIX = ".training"
"""What the name of the file ends in, after that of the weights."""


@dataclass
class State:
    """epoch: how many are done. mean: the running mean of the network's tensors of floats. optimiser: its state."""

    mean: dict[str, Tensor]
    epoch: int = 0
    optimiser: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, model: nn.Module) -> State:
        """Before the first step."""
        return cls({k: v.detach().clone() for k, v in _floats(model).items()})

    def to(self, device: str) -> None:
        self.mean = {k: v.to(device) for k, v in self.mean.items()}

    @torch.no_grad()
    def average(self, model: nn.Module, weight: float) -> None:
        """Take a step into the mean: weight * mean + (1 - weight) * now."""
        now = _floats(model)
        torch._foreach_lerp_(list(self.mean.values()), [now[k] for k in self.mean], 1.0 - weight)

    @torch.no_grad()
    def into(self, model: nn.Module) -> None:
        """Put the mean into the network."""
        for name, value in _floats(model).items():
            value.copy_(self.mean[name])


def _floats(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach() for k, v in model.state_dict().items() if v.is_floating_point()}


def file_of(out: Path) -> Path:
    """Where the state of a training of `out` lies."""
    return out.with_name(out.name + SUFFIX)


def said(recipe: Recipe, source: ImageSource, network: str, **more: Any) -> dict[str, Any]:
    """All that must be the same where a training goes on: the recipe, the images by id and class, the start."""
    names = sha256()
    for index in range(len(source)):
        entry = source.entry(index)
        names.update(f"{entry.image_id}\0{source.class_names[entry.label]}\n".encode())
    return asdict(recipe) | {"images": names.hexdigest(), "network": network, **more}


def keep(path: Path, state: State, model: nn.Module, said: dict[str, Any]) -> None:
    """Write a state, whole or not at all."""
    file = io.BytesIO()
    kept = {"said": said, "epoch": state.epoch, "mean": state.mean, "optimiser": state.optimiser}
    torch.save(kept | {"model": model.state_dict()}, file)
    write_bytes(path, file.getvalue())


def go_on(path: Path, model: nn.Module, wanted: dict[str, Any]) -> State:
    """The state of a file, with its weights put into the model. Raises SalientError where it is of another training."""
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        said, epoch = kept["said"], kept["epoch"]
    except Exception as error:  # whatever torch makes of a file that is none of ours
        raise SalientError(f"{path}: not the state of a training", then="use --overwrite to begin anew") from error
    for name, value in wanted.items():
        if said.get(name) != value:
            raise SalientError(
                f"{path}: state of a training with another {name.replace('_', ' ')}",
                expected=str(said.get(name)),
                got=str(value),
                then="give the same options, or --overwrite to begin anew",
            )
    model.load_state_dict(kept["model"])
    return State(kept["mean"], epoch, kept["optimiser"])
