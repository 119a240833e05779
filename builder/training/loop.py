"""The loop of a fine-tuning: perturbed batches, a step, the running mean of the weights.

Adversarial training [Madry et al. 2018] from a pretrained network. The attack sees the network in evaluation mode, so
that its passes neither move the statistics of batch normalisation nor draw drop-out, as in the robustness library.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from salient_imagenet_data.builder.attacking import climb, random_start, stepped
from salient_imagenet_data.builder.training.crops import training_crop
from salient_imagenet_data.builder.training.processes import Processes
from salient_imagenet_data.builder.training.recipe import Recipe
from salient_imagenet_data.builder.training.state import State
from salient_imagenet_data.builder.training.strides import pixels_kept_first
from salient_imagenet_data.builder.units.engine import default_threads
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.images.reading import Ahead, read_ahead
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.networks.devices import repeatable
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.progress import progress

Normalisation = nn.modules.batchnorm._NormBase
Part = tuple[Tensor, Tensor, Tensor, int]
"""Of a batch, a process's: see `_batches`."""


@dataclass(frozen=True)
class Epoch:
    """What is told of an epoch. loss, right: of its perturbed images, before each step. left: seconds."""

    number: int
    side: int
    loss: float
    right: float
    unreadable: int
    left: float


def fine_tune(
    model: nn.Module,
    source: ImageSource,
    labels: NDArray[np.int64],
    filter: str,
    recipe: Recipe,
    state: State,
    device: str = "cpu",
    processes: Processes | None = None,
    report: Callable[[Epoch], None] | None = None,
    keep: Callable[[State], None] | None = None,
) -> None:
    """Fine-tune a model over images in [0, 1] in place, on `device`; afterwards it holds the mean of its weights.

    labels: (images of the source,) output of each. filter: of the crops' resize. state: where to begin, see `state`.
    report: called after each epoch. keep: likewise, with what a later run needs to go on. Raises SalientError for no
    image that can be read, or a loss that is no number.
    """
    processes = processes or Processes()
    batch = min(recipe.batch_size, len(source))
    per_epoch = len(source) // batch
    model.to(device, memory_format=torch.channels_last).requires_grad_(True)  # type: ignore[call-overload]
    state.to(device)
    optimiser = torch.optim.SGD(_groups(model, recipe), lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    if state.optimiser is not None:
        optimiser.load_state_dict(state.optimiser)
    total = per_epoch * recipe.epochs * recipe.replays
    began, first = time.monotonic(), state.epoch
    on_gpu = torch.device(device).type == "cuda"
    threads = default_threads() if on_gpu else 2  # beside a network on the same processors, two are enough
    with (
        repeatable(),
        pixels_kept_first(model),
        progress((), total=per_epoch * batch * (recipe.epochs - first), what="train") as bar,
    ):
        for epoch in range(first, recipe.epochs):
            sums, bad = np.zeros(3), 0
            step = epoch * per_epoch * recipe.replays
            made = _batches(source, labels, filter, recipe, epoch, per_epoch, batch, processes, threads)
            stream = Ahead(_pinned(made), 2) if on_gpu else made  # a device would have to wait
            with closing(stream):
                for x, y, start, missing in stream:
                    x = unit_images(x.to(device, non_blocking=True), torch.channels_last)
                    for loss, right in _steps(model, optimiser, recipe, x, y.to(device), start, batch, processes):
                        for group in optimiser.param_groups:
                            group["lr"] = recipe.rate(step, total)
                        optimiser.step()
                        state.average(model, recipe.weight(step))
                        step += 1
                        sums += (loss, right, len(x))
                    bad += missing
                    bar.update(batch)
            loss, right, seen, missed = processes.sums([*sums, bad], device)
            if seen == 0:
                raise SalientError("no image to train on", expected="at least one that can be read")
            if not math.isfinite(loss):
                raise SalientError(
                    f"training failed in epoch {epoch + 1}: the loss is no number",
                    then="choose a smaller --learning-rate",
                )
            processes.mean(b for b in (*model.buffers(), *state.mean.values()) if b.is_floating_point())
            state.epoch, state.optimiser = epoch + 1, optimiser.state_dict()
            if keep is not None:
                keep(state)
            if report is not None:
                left = (time.monotonic() - began) / (epoch + 1 - first) * (recipe.epochs - epoch - 1)
                report(Epoch(epoch + 1, recipe.side(epoch), float(loss / seen), float(right / seen), int(missed), left))
    state.into(model)
    model.eval().requires_grad_(False)


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Weights decay; what shifts or scales a channel does not."""
    own = list(model.parameters())
    return [
        {"params": [p for p in own if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _batches(
    source: ImageSource,
    labels: NDArray[np.int64],
    filter: str,
    recipe: Recipe,
    epoch: int,
    per_epoch: int,
    batch: int,
    processes: Processes,
    threads: int,
) -> Generator[Part, None, None]:
    """This process's part of each batch: crops (b, S, S, 3) uint8, labels (b,), the attack's starts, and how many could
    not be read. The images that fill no batch wait for another epoch, in which others are left over."""
    order = np.random.default_rng((recipe.seed, epoch)).permutation(len(source))[: per_epoch * batch]
    places = np.arange(batch)[processes.rank :: processes.world]
    mine = order.reshape(per_epoch, batch)[:, places].ravel()
    side = recipe.side(epoch)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence((recipe.seed, epoch)).generate_state(1)[0]))
    read = read_ahead(mine.tolist(), lambda index: training_crop(source, index, epoch, recipe, filter), threads=threads)
    for _ in range(per_epoch):
        start = random_start(torch.Size((batch, 3, side, side)), recipe.radius(side), generator, recipe.norm)[places]
        crops, there, targets = [], [], []
        for place in range(len(places)):
            index, crop = next(read)
            if not isinstance(crop, ImageError):
                crops.append(crop)
                there.append(place)
                targets.append(labels[index])
        pixels = torch.from_numpy(np.array(crops, dtype=np.uint8).reshape(-1, side, side, 3))
        yield pixels, torch.tensor(targets, dtype=torch.int64), start[there], len(places) - len(there)


def _pinned(parts: Generator[Part, None, None]) -> Generator[Part, None, None]:
    """In memory that a device copies from."""
    with closing(parts):
        for x, y, start, missing in parts:
            yield x.pin_memory(), y.pin_memory(), start.pin_memory(), missing


def _steps(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    batch: int,
    processes: Processes,
) -> Iterator[tuple[float, float]]:
    """For each replay of a batch: gradients where the optimiser finds them, and the sum of the losses and how many
    images were right. A batch's loss is the sum over its images by their number in all processes."""
    radius, delta = recipe.radius(x.shape[-1]), start.to(x.device, memory_format=torch.channels_last)
    free = recipe.replays > 1
    if not free and recipe.epsilon > 0 and len(x):
        model.eval()
        # A context of its own: autocast keeps the rounded weights, and those of an attack have no gradients.
        with _autocast(recipe, x):
            delta = climb(model, x, y, delta, radius, recipe.steps, recipe.norm) - x
    elif recipe.epsilon == 0:
        delta = torch.zeros_like(x)
    _train(model, recipe)
    for _ in range(recipe.replays):
        optimiser.zero_grad(set_to_none=False)
        loss, right = 0.0, 0.0
        if len(x):
            given = (x + delta).clamp(0.0, 1.0).detach().requires_grad_(free)
            with _autocast(recipe, x):
                output = model(given).float()
                losses = functional.cross_entropy(output, y, reduction="sum")
            (losses * (processes.world / batch)).backward()  # type: ignore[no-untyped-call]
            loss, right = float(losses.detach()), float((output.argmax(dim=1) == y).sum())
            if free:
                assert given.grad is not None
                delta = stepped(x, delta, given.grad, radius, radius, recipe.norm)
        processes.mean(_gradients(model, processes))
        yield loss, right


def _gradients(model: nn.Module, processes: Processes) -> Iterator[Tensor]:
    """Of every parameter that has one in any process: zeros where this one has had no image yet."""
    parameters = list(model.parameters())
    if processes.world > 1:
        own = [float(p.grad is not None) for p in parameters]
        for p, anywhere in zip(parameters, processes.sums(own, str(parameters[0].device)), strict=True):
            if p.grad is None and anywhere:
                p.grad = torch.zeros_like(p)
    return (p.grad for p in parameters if p.grad is not None)


def _train(model: nn.Module, recipe: Recipe) -> None:
    """Training mode; batch normalisation in evaluation mode where its statistics are kept."""
    model.train()
    if recipe.statistics == "kept":
        for module in model.modules():
            if isinstance(module, Normalisation):
                module.eval()


def _autocast(recipe: Recipe, x: Tensor) -> AbstractContextManager[object]:
    return torch.autocast(x.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
