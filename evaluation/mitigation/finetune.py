"""Train a classifier further under guidance by core masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import Truth
from salient_imagenet_data.evaluation.mitigation.annotated import Annotation, annotated, check_fraction
from salient_imagenet_data.evaluation.mitigation.backgrounds import with_other_backgrounds
from salient_imagenet_data.evaluation.mitigation.guidance import ON_MAPS, Looking, guidance
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.plan.regions import FOREGROUND, labels_of
from salient_imagenet_data.evaluation.run.found import images_found
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.evaluation.saliency.attributions import check_place, chosen_layer
from salient_imagenet_data.evaluation.saliency.methods import Depth, Method
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Images, Joined, opened
from salient_imagenet_data.loaders.augment.choices import BACKGROUNDS, Background
from salient_imagenet_data.networks.classifiers import Classifier, check_output, network_of
from salient_imagenet_data.networks.devices import repeatable
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.reading import Store

METHOD: Method = "input_x_gradient"
Report = Callable[[int, float, float], None]


@dataclass(frozen=True)
class FinetuneConfig:
    """Recipe. loss: of `guidance`. weight: of it, beside the classification loss. method, layer: where the losses on
    attributions look, as of `attributions`; by default at input x gradient of the image. depth: instead of a layer, as
    of `layer_at`. annotated_fraction: share of the images whose mask is used, as of `share_of`. augment: change the
    background of half of these images, by name. flip: mirror half of the images with their masks. AdamW at a constant
    rate."""

    loss: str = "energy"
    weight: float = 10.0
    method: Method | None = None
    layer: str | None = None
    depth: Depth | None = None
    annotated_fraction: float = 1.0
    epochs: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    flip: bool = True
    augment: Background | None = None

    def __post_init__(self) -> None:
        rates = math.isfinite(self.learning_rate + self.weight + self.weight_decay)
        if self.epochs < 1 or not (rates and 0 < self.learning_rate <= 1 and self.weight >= 0):
            raise SalientError(
                "recipe",
                expected="epochs >= 1, a learning rate above 0 and at most 1, a weight >= 0",
                got=f"{self.epochs}, {self.learning_rate:g}, {self.weight:g}",
            )
        if self.augment not in (None, *BACKGROUNDS):
            raise SalientError("augmentation", expected=f"one of {', '.join(BACKGROUNDS)}", got=str(self.augment))
        check_fraction(self.annotated_fraction)
        check_place(self.layer, self.depth)
        if not self.uses_masks and self.annotated_fraction != 1.0:
            raise no_masks("an annotated fraction")
        if self.loss not in ON_MAPS and (self.method or self.layer or self.depth):
            raise SalientError(
                f"{self.loss} looks at no attributions",
                expected=f"a saliency, layer or depth with {', '.join(ON_MAPS)} only",
                then="leave them out",
            )

    @property
    def uses_masks(self) -> bool:
        """Whether anything looks at them."""
        return self.loss != "none" or self.augment is not None


def no_masks(what: str) -> SalientError:
    """What is said of something that the control does not read."""
    return SalientError(f"the loss none uses no masks, so {what} says nothing", then="leave it out")


@dataclass(frozen=True)
class Finetuned:
    """What was done. annotation: whose masks guided, or told the background apart; None where none was needed. layer:
    where the losses on attributions looked. losses: after each epoch, mean cross entropy and mean guidance loss of the
    guided images."""

    annotation: Annotation | None
    layer: str | None
    losses: tuple[tuple[float, float], ...]


def finetune(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    config: FinetuneConfig,
    settings: Settings = SMALL,
    *,
    boxes: Truth | None = None,
    report: Report | None = None,
) -> tuple[nn.Module, Finetuned]:
    """Train a classifier's network further, in place, on a store's images; returns it, on the CPU, and what was done.

    Loss: mean cross entropy + weight * guidance, the mean over a batch's guided images: those of the annotated share
    whose class has a core feature, whose masks are the unions of their core maps; or with `boxes`, as `localise` takes
    them, those that have a box. Images are preprocessed as the classifier wants them, cropped at the centre. The
    network stays in evaluation mode: batch normalisation keeps its statistics and dropout is off, so that images do not
    mix. settings: seed and batch size are part of the recipe, and so are the classes that the losses are among, of a
    network that knows more classes than the store's: all, or the store's. report: called with each epoch's number and
    its mean losses. On one CPU with one number of threads the result is the same for the same seed. Raises SalientError
    for a model or store that will not do.
    """
    joined = found_for(classifier, *opened(store, images), settings)
    return finetune_on(classifier, joined, config, settings, boxes=boxes, report=report)


def found_for(classifier: Classifier, store: Store, source: ImageSource, settings: Settings) -> Joined:
    """A fold's images, to train a classifier on. Raises SalientError for one that cannot be trained."""
    network_of(classifier)
    return images_found(store, source, settings, rows_in(store, settings.fold, settings.left_out))


def finetune_on(
    classifier: Classifier,
    joined: Joined,
    config: FinetuneConfig,
    settings: Settings = SMALL,
    *,
    boxes: Truth | None = None,
    report: Report | None = None,
) -> tuple[nn.Module, Finetuned]:
    """`finetune` on images of a store that are found already, whatever the settings' fold."""
    if boxes is not None and not config.uses_masks:
        raise no_masks("a file of boxes")
    store, device = joined.store, settings.device
    classifier = classifier.among(settings.classes)
    network = network_of(classifier).to(device).eval().requires_grad_(True)
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    labels = torch.from_numpy(labels_of(store)[joined.rows])
    check_output(network, preprocessing.crop, classifier.outputs(len(store.class_names)), device)
    looking = None
    if config.loss in ON_MAPS:
        method = config.method or METHOD
        layer = chosen_layer(network, method, config.layer, config.depth, preprocessing.crop)
        looking = Looking(method, layer)
    generator = torch.Generator().manual_seed(settings.seed)
    guide = guidance(config.loss, network, looking, generator=generator)
    items, annotation = Items(joined, preprocessing), None
    if config.uses_masks:
        items, annotation = annotated(joined, preprocessing, config.annotated_fraction, settings.seed, boxes)
    loader = _loader(items, settings)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses: list[tuple[float, float]] = []
    with repeatable(), progress((), total=len(joined) * config.epochs, what="finetune") as bar:
        for epoch in range(config.epochs):
            sums = np.zeros(3)
            for batch in loader:
                pixels, masks, known, guided = _ready(batch, device)
                if config.flip:
                    mirrored = (torch.rand(len(pixels), 1, 1, 1, generator=generator) < 0.5).to(device)
                    pixels, masks, known = (torch.where(mirrored, x.flip(3), x) for x in (pixels, masks, known))
                targets = labels[batch.positions].to(device)
                if config.augment is not None:
                    pixels = with_other_backgrounds(config.augment, batch, pixels, targets, masks, known, generator)
                logits, penalty = guide(pixels, targets, masks, known)
                classified = F.cross_entropy(logits, targets)
                penalties, count = (penalty * guided).sum(), guided.sum()
                penalised = penalties / count.clamp_min(1.0)
                optimiser.zero_grad()
                (classified + config.weight * penalised).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                here = torch.stack([classified.detach(), penalties.detach(), count]).tolist()  # one wait for a device
                _check_finite(here, epoch)
                sums += [here[0] * len(pixels), *here[1:]]
                bar.update(len(pixels))
            losses.append((float(sums[0] / len(joined)), float(sums[1] / max(sums[2], 1.0))))
            if report is not None:
                report(epoch + 1, *losses[-1])
    optimiser.zero_grad()
    _check_finite([float(p.detach().abs().max()) for p in network.parameters() if p.numel()], config.epochs - 1)
    done = Finetuned(annotation, None if looking is None else looking.layer, tuple(losses))
    return network.cpu().requires_grad_(False), done


def _check_finite(numbers: Sequence[float], epoch: int) -> None:
    if not np.isfinite(numbers).all():
        raise SalientError(
            f"the loss or the weights are not finite in epoch {epoch + 1}", then="use a smaller learning rate or weight"
        )


def _loader(items: Items, settings: Settings) -> DataLoader[Any]:
    """Images with their masks, in an order by the seed."""
    order = RandomSampler(items, generator=torch.Generator().manual_seed(settings.seed))
    return DataLoader(items, settings.batch_size, sampler=order, num_workers=settings.workers, collate_fn=ItemBatch.of)


def _ready(batch: ItemBatch, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (B, 3, S, S), masks and what is known (B, 1, S, S), and which images are guided (B,), 0 or 1.

    Of an image that is not annotated nothing is known.
    """
    batch = batch.to(device)
    images, guided = unit_images(batch.images), torch.zeros(len(batch), device=device)
    masks, known = torch.zeros_like(images[:, :1]), torch.zeros_like(images[:, :1])
    which = batch.which.get(FOREGROUND, [])
    if which:
        masks[which], known[which], guided[which] = batch.masks[FOREGROUND], batch.known[which].float(), 1.0
    return images, masks, known, guided
