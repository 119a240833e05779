"""The linear head of a classifier: its inputs, and fitting it anew on some images.

Mitigation by spuriosity [Moayeri et al. 2023]: the head is tuned on the images of each class that show the class's
spurious features least. The body of the network stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.choices import CHOICES, Choice
from salient_imagenet_data.evaluation.numbers.spuriosity import MOST, ends, spuriosity
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.found import images_found
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items, unit_images
from salient_imagenet_data.evaluation.run.settings import DEFAULT, Settings
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Images, Joined, opened
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier, Reordered, check_output, network_of
from salient_imagenet_data.networks.grid import linear_head
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.reading import Store

DECAY = 1e-3
MOST_STEPS = 500
SLOPE = 1e-6
"""The largest derivative of the objective at which L-BFGS stops."""
FLAT = 1e-4
"""The largest derivative of the objective that counts as its minimum; times the decay, its least curvature, above 1."""


def choose_rows(
    activations: NDArray[np.floating],
    labels: NDArray[np.integer],
    spurious: NDArray[np.bool_],
    choice: Choice,
    most: int = MOST,
    seed: int = 0,
) -> NDArray[np.int64]:
    """(m,) rows to fit a head on, ascending: k = min(most, n // 2) of each class, at least one.

    activations: (n, K) of the class's own features; labels: (n,); spurious: (C, K) bool. Equal spuriosity goes by row.
    A class without a spurious feature has no ranking: k of its images are drawn at random, so that it keeps its place
    among the classes. "random" draws k of every class. Raises SalientError for another choice.
    """
    if choice not in CHOICES:
        raise SalientError("which images is not known", expected=", ".join(CHOICES), got=choice)
    found, rng = ends(spuriosity(activations, labels, spurious), labels, most), np.random.default_rng(seed)
    ranked = {"least": found.bottom, "most": found.top, "random": np.zeros(0, dtype=np.int64)}[choice]
    chosen, done = [ranked], set(labels[ranked].tolist())
    for label in np.unique(labels).tolist():
        mine = rng.permutation(np.flatnonzero(labels == label))  # for each class, so that none hangs on another's
        if label not in done:
            chosen.append(mine[: max(1, min(most, len(mine) // 2))])
    return np.sort(np.concatenate(chosen))


def head_of(model: nn.Module, images: Tensor) -> tuple[str, nn.Linear]:
    """Name and module of the linear head that can be fitted. images: some, (B, 3, S, S).

    Raises SalientError where there is none, as `linear_head`, or where its weight is made of other parameters, or is
    another layer's too: then it cannot be fitted by itself.
    """
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


@dataclass(frozen=True)
class Fitted:
    """A head, on the CPU. weight: (C, F); bias: (C,) or None. steps: of L-BFGS. loss: mean cross entropy, before and
    after. images: how many it was fitted on."""

    weight: Tensor
    bias: Tensor | None
    steps: int
    loss: tuple[float, float]
    images: int


def fit_head(
    features: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    decay: float = DECAY,
    most_steps: int = MOST_STEPS,
) -> Fitted:
    """Tune a linear head from where it is: the minimum of

        mean cross entropy + decay / 2 * (s^2 |W - W0|^2 + |b - b0|^2),  s^2 = mean of squared features,

    which is convex, so that neither the order of images nor a learning rate plays a part. Reckoned in float64: in
    float32 the line search loses its way in the rounding of the loss before the slope is near 0. features: (n, F)
    float32; labels: (n,) int64; weight: (C, F) and bias: (C,) float32, or None for a head without. Raises SalientError
    where L-BFGS does not get there in `most_steps`.
    """
    if not decay > 0:
        raise SalientError("decay", expected="a number > 0, which makes the minimum unique", got=str(decay))
    x = features.double()
    scale = x.square().mean().sqrt().clamp_min(1e-12)
    x, start = x / scale, weight.double() * scale
    if bias is not None:
        x, start = torch.cat([x, torch.ones_like(x[:, :1])], dim=1), torch.cat([start, bias.double()[:, None]], dim=1)
    change = torch.zeros_like(start, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [change],
        max_iter=most_steps,
        max_eval=4 * most_steps,
        tolerance_grad=SLOPE,
        tolerance_change=0.0,  # only a slope says that it is the minimum
        line_search_fn="strong_wolfe",
    )

    def classified() -> Tensor:
        return F.cross_entropy(x @ (start + change).T, labels)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = classified() + decay / 2 * change.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    before = classified().item()
    optimiser.step(closure)  # type: ignore[no-untyped-call]
    closure()
    assert change.grad is not None
    steps, slope = int(optimiser.state[change]["n_iter"]), float(change.grad.abs().max())
    if not slope <= FLAT * max(1.0, decay):
        raise SalientError(
            "the head was not fitted",
            expected=f"a gradient below {FLAT:g} within {most_steps} steps",
            got=f"{slope:.1g} after {steps}",
            then="use a larger decay",
        )
    found, after = (start + change).detach(), classified().item()
    inputs = features.shape[1]
    found[:, :inputs] /= scale
    found = found.to(weight.dtype).cpu()
    fitted = found[:, :inputs].contiguous(), None if bias is None else found[:, inputs].contiguous()
    return Fitted(*fitted, steps, (before, after), len(labels))


def retrain_head(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    *,
    choice: Choice = "least",
    most: int = MOST,
    decay: float = DECAY,
    settings: Settings = DEFAULT,
) -> tuple[nn.Module, Fitted]:
    """Fit the head of a classifier's network anew, in place: `fit_head` on the images of `choose_rows`, in the
    classifier's own preprocessing. Returns the network, on the CPU, and what was fitted.

    Images are chosen among those of the settings' fold. The cross entropy of a network that knows more classes than the
    store is among all of them, or the store's, as the settings say; what is not among them stays as it is. Images that
    are missing are left out before the choice. Raises SalientError for a store without answers, or a network without a
    linear head.
    """
    store, source = opened(store, images)
    device = settings.device
    classifier = classifier.among(settings.classes)
    network = network_of(classifier).to(device).eval()
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    found = images_found(store, source, settings, rows_in(store, settings.fold))
    labels, activations = labels_of(store)[found.rows], store.activations[found.rows]
    chosen = choose_rows(activations, labels, store.kind_table[SPURIOUS], choice, most, settings.seed)
    joined = found.take(chosen)
    check_output(network, preprocessing.crop, classifier.outputs(len(store.class_names)), device)
    example = torch.rand(2, 3, preprocessing.crop, preprocessing.crop, generator=torch.Generator().manual_seed(0))
    # A network in another order of classes has its head in its own.
    inner = network.net if isinstance(network, Reordered) else network
    _, head = head_of(inner, example.to(device))
    outputs = list(network.order if isinstance(network, Reordered) else range(head.out_features))
    features = head_inputs(inner, head, joined, preprocessing, settings).clone()  # not an inference tensor
    targets = torch.from_numpy(labels[chosen]).to(device)
    bias = None if head.bias is None else head.bias.detach().float()[outputs]
    fitted = fit_head(features, targets, head.weight.detach().float()[outputs], bias, decay)
    with torch.no_grad():
        head.weight[outputs] = fitted.weight.to(head.weight)
        if fitted.bias is not None:
            head.bias[outputs] = fitted.bias.to(head.bias)
    return network.cpu().requires_grad_(False), fitted
