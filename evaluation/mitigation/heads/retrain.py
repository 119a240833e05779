"""The linear head of a classifier: its inputs, and fitting it anew on some images, by one of several methods.

The body of the network stays as it is. The methods stand each in a file: `least_spurious`, `dfr`, `jtt`, `group_dro`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.fitting import Data, Fitted, HeadMethod
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.found import images_found
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items
from salient_imagenet_data.evaluation.run.settings import DEFAULT, Settings
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Images, Joined, opened
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier, Reordered, check_output, network_of
from salient_imagenet_data.networks.grid import linear_head
from salient_imagenet_data.networks.openers.corrected import CorrectedHead
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.progress import progress
from salient_imagenet_data.ranking.spuriosity import check_known, spuriosity
from salient_imagenet_data.store.reading import Store

LEAST_SPURIOUS = Spuriosity()


def head_of(model: nn.Module, images: Tensor) -> tuple[str, nn.Linear]:
    """Name and module of the linear head that can be fitted. images: some, (B, 3, S, S).

    Raises SalientError where there is none, as `linear_head`, or where its weight is made of other parameters, or is
    another layer's too: then it cannot be fitted by itself.
    """
    if any(isinstance(module, CorrectedHead) for module in model.modules()):
        raise SalientError(
            f"{type(model).__name__}: its head has a correction of `spufix`, made for the head as it is",
            then="give the network that spufix was given",
        )
    head = linear_head(model, images, type(model).__name__)
    own = head.module._parameters.get("weight")
    shared = sum(p is own for m in model.modules() for p in m._parameters.values())
    if own is None or shared != 1:
        raise SalientError(
            f"{head.name}: cannot be fitted by itself",
            expected="a weight of its own",
            got="one made of other parameters" if own is None else "one that other layers share",
        )
    return head.name, head.module


def features_and_logits(model: nn.Module, head: nn.Linear, images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, F) inputs of the head, as `head_of` finds it, and the logits (B, C)."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        logits = model(images)
    finally:
        handle.remove()
    return seen[-1], logits


def body_and_head(
    classifier: Classifier, crop: int, classes: int, device: str
) -> tuple[nn.Module, nn.Linear, nn.Module]:
    """A classifier's network as its head sees it, the head, and the whole network, on a device. crop: pixels of a side.
    classes: of the store. Raises SalientError for a network that answers otherwise, or without a linear head."""
    network = network_of(classifier).to(device).eval()
    check_output(network, crop, classifier.outputs(classes), device)
    example = torch.rand(2, 3, crop, crop, generator=torch.Generator().manual_seed(0))
    # A network in another order of classes has its head in its own.
    inner = network.net if isinstance(network, Reordered) else network
    return inner, head_of(inner, example.to(device))[1], network


def head_inputs(
    model: nn.Module, head: nn.Linear, joined: Joined, preprocessing: Preprocessing, settings: Settings
) -> Tensor:
    """(n, F) float32, on the settings' device, of all images that were joined, in their order."""
    items, parts = Items(joined, preprocessing), []
    with torch.inference_mode(), progress((), total=len(items), what="features") as bar:
        for batch in DataLoader(items, settings.batch_size, num_workers=settings.workers, collate_fn=ItemBatch.of):
            images = unit_images(batch.images.to(settings.device))
            parts.append(features_and_logits(model, head, images)[0].float())
            bar.update(len(batch))
    return torch.cat(parts)


def retrain_head(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    method: HeadMethod = LEAST_SPURIOUS,
    settings: Settings = DEFAULT,
) -> tuple[nn.Module, Fitted]:
    """Fit the head of a classifier's network anew, in place, by a method: `Spuriosity`, `DFR`, `JTT` or `GroupDRO`, on
    features in the classifier's own preprocessing. Returns the network, on the CPU, and what was fitted.

    Images are chosen among those of the settings' fold. The cross entropy of a network that knows more classes than the
    store is among all of them, or the store's, as the settings say; what is not among them stays as it is. Images that
    are missing are left out before the choice. Raises SalientError for a store without answers, a network without a
    linear head, or what the method cannot do.
    """
    store, source = opened(store, images)
    device = settings.device
    classifier = classifier.among(settings.classes)
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    found = images_found(store, source, settings, rows_in(store, settings.fold, settings.left_out))
    labels, activations = labels_of(store)[found.rows], store.activations[found.rows]
    if method.ranks:
        check_known(activations, store.path)
    spurious = store.kind_table[SPURIOUS]
    chosen = method.places(activations, labels, spurious, settings.seed)
    joined = found.take(chosen)
    inner, head, network = body_and_head(classifier, preprocessing.crop, len(store.class_names), device)
    outputs = list(network.order if isinstance(network, Reordered) else range(head.out_features))
    features = head_inputs(inner, head, joined, preprocessing, settings).clone()  # not an inference tensor
    targets = torch.from_numpy(labels[chosen]).to(device)
    bias = None if head.bias is None else head.bias.detach().float()[outputs]
    weight, scores = head.weight.detach().float()[outputs], spuriosity(activations, labels, spurious)[chosen]
    fitted = method.fit(Data(features, targets, weight, bias, scores, store.has(SPURIOUS), settings.seed))
    with torch.no_grad():
        head.weight[outputs] = fitted.weight.to(head.weight)
        if fitted.bias is not None:
            head.bias[outputs] = fitted.bias.to(head.bias)
    return network.cpu().requires_grad_(False), fitted
