"""Train a small classifier, plain or robust to l2-bounded perturbations (projected gradient descent).

Adversarial training as in Madry et al. 2018: each batch is replaced by perturbed images inside an l2 ball of
radius epsilon (pixels in [0, 1]) that raise the loss. One step from a random start is the fast variant.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from salient_imagenet_data.builder.attacking import attack
from salient_imagenet_data.builder.training.recipe import check_within
from salient_imagenet_data.builder.training.strides import pixels_kept_first
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.reading import read_ahead
from salient_imagenet_data.images.source import ImageSource, picture_of
from salient_imagenet_data.networks.devices import repeatable
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel
from salient_imagenet_data.progress import counted, progress

MEMORY = 8 << 30
"""Bytes that all crops of a source may take, at most, where they are held."""


@dataclass(frozen=True)
class TrainConfig:
    """Recipe. epsilon: l2 radius, 0 for plain training. steps: gradient steps of the attack.

    shift: random shift of the image by up to so many pixels, edges filled with zeros. input_dropout: share of pixels
    that are replaced by the batch's mean colour, others in each image and epoch [Carter et al. 2021].
    """

    epsilon: float = 0.25
    steps: int = 1
    epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 0.2
    weight_decay: float = 5e-4
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 1
    stem_stride: int = 1
    shift: int = 2
    input_dropout: float = 0.0
    flip: bool = True
    bfloat16: bool = True
    seed: int = 0
    memory_limit: int = MEMORY

    def __post_init__(self) -> None:
        at_least: dict[str, float] = {"steps": 1, "epochs": 1, "batch_size": 1, "blocks": 1, "shift": 0, "epsilon": 0}
        check_within(self, {name: (least, math.inf) for name, least in at_least.items()})
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise SalientError("learning rate of the training", expected="> 0", got=f"{self.learning_rate:g}")
        if not 0.0 <= self.input_dropout < 1.0:
            raise SalientError(
                "input dropout of the training", expected="at least 0 and below 1", got=f"{self.input_dropout:g}"
            )
        if not self.widths or min(self.widths) < 1:
            raise SalientError("widths of the network", expected="one or more numbers >= 1", got=str(self.widths))


def check_memory(images: int, size: int, limit: int, then: str) -> None:
    """Raise SalientError if so many crops of `size` pixels a side take more than `limit` bytes. then: what to do."""
    needed = images * size * size * 3
    if needed > limit:
        raise SalientError(
            "images do not fit in memory",
            expected=f"at most {limit >> 20} MiB at {size} x {size}",
            got=f"{needed >> 20} MiB",
            then=then,
        )


def load_images(
    source: ImageSource,
    preprocessing: Preprocessing,
    memory_limit: int = MEMORY,
    which: Sequence[int] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Crops of a source in memory, all or those of some images: (N, crop, crop, 3) uint8, labels (N,), and the
    unreadable ids.

    Raises SalientError where they would take more than `memory_limit` bytes, or none of them decodes.
    """
    size, which = preprocessing.crop, range(len(source)) if which is None else which
    check_memory(len(which), size, memory_limit, "choose a smaller --crop; this command is for small data sets")
    images = np.empty((len(which), size, size, 3), dtype=np.uint8)
    labels, broken, count = np.empty(len(which), dtype=np.int64), list[str](), 0
    crops = read_ahead(which, lambda i: preprocessing.apply_to_picture(picture_of(source, i)))
    for index, crop in counted(crops, total=len(which), what="read"):
        entry = source.entry(index)
        if isinstance(crop, ImageError):
            broken.append(entry.image_id)
            continue
        images[count], labels[count] = crop, entry.label
        count += 1
    if broken and not count:
        raise SalientError(f"none of {len(broken)} images can be decoded", got=f"such as {broken[0]}")
    return images[:count], labels[:count], broken


def train(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    preprocessing: Preprocessing,
    config: TrainConfig,
    device: str = "cpu",
    report: Callable[[int, float, float], None] | None = None,
) -> SmallNetModel:
    """Train a SmallNet on crops (N, S, S, 3) uint8. `report` is called with each epoch's number, its mean loss and the
    seconds that are left. Fewer images than a batch are one batch. Raises SalientError for none, or if the loss is no
    number."""
    if len(images) == 0:
        raise SalientError("no image to train on", expected="at least one that can be read")
    batch_size = min(config.batch_size, len(images))
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    net = SmallNet(SmallNetConfig(len(class_names), config.widths, config.blocks, config.stem_stride))
    net = net.to(device).to(memory_format=torch.channels_last)
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels)
    per_epoch = len(images) // batch_size
    optimiser = torch.optim.SGD(
        net.parameters(), lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay, nesterov=True
    )
    total_steps = per_epoch * config.epochs
    # A cycle of four steps or fewer has no first part, by whose length torch divides.
    schedule = (
        torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=total_steps, pct_start=0.25)
        if total_steps > 4
        else None
    )
    net.train()
    began = time.monotonic()
    with repeatable(), pixels_kept_first(net), progress((), total=total_steps * batch_size, what="train") as bar:
        for epoch in range(config.epochs):
            order, total = torch.randperm(len(images), generator=generator), 0.0
            for start in range(0, per_epoch * batch_size, batch_size):
                chosen = order[start : start + batch_size]
                x = augment(unit_images(pixels[chosen], torch.channels_last), config, generator)
                x = x.to(device).contiguous(memory_format=torch.channels_last)
                y = targets[chosen].to(device)
                with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.bfloat16):
                    if config.epsilon > 0:
                        x = attack(net, x, y, config.epsilon, config.steps, generator)
                    loss = functional.cross_entropy(net(x), y)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                if schedule is not None:
                    schedule.step()
                total += loss.item()
                bar.update(batch_size)
            if not math.isfinite(total):
                raise SalientError(
                    f"training failed in epoch {epoch + 1}: the loss is no number",
                    then="choose a smaller --learning-rate",
                )
            if report is not None:
                left = (time.monotonic() - began) / (epoch + 1) * (config.epochs - epoch - 1)
                report(epoch + 1, total / per_epoch, left)
    return SmallNetModel(net.cpu().eval(), preprocessing, class_names)


def augment(x: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Mirror half of the images, shift the batch by one random offset, and drop pixels of each image."""
    if config.flip:
        mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
        x = torch.where(mirrored, x.flip(3), x)
    if config.shift:
        padded = functional.pad(x, [config.shift] * 4)
        top, left = torch.randint(0, 2 * config.shift + 1, (2,), generator=generator).tolist()
        x = padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    if config.input_dropout:
        kept = torch.rand(len(x), 1, *x.shape[2:], generator=generator) >= config.input_dropout
        x = torch.where(kept, x, x.mean(dim=(0, 2, 3), keepdim=True))
    return x
