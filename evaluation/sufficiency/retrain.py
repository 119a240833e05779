"""Are the pixels that suffice a classifier features of the data? New classifiers trained on nothing else [Carter et al.
2021, section 4.3].

For each way to choose pixels, a small network is trained on images of which only these are shown, all else filled, and
tested on other images shown likewise: the pixels masked last, as many random ones of each image, the border, and the
whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from salient_imagenet_data.builder.train import TrainConfig, check_memory, train
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.bootstrap import value_average
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.sufficiency.given import fill_of, joined_with, preprocessing_of
from salient_imagenet_data.evaluation.sufficiency.orders import Orders
from salient_imagenet_data.evaluation.sufficiency.subsets import border, border_width, kept, random_orders, size_of
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Images, Joined
from salient_imagenet_data.loaders.corruption.corruptions import image_seeds
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.networks.smallnet import SmallNetModel
from salient_imagenet_data.store.reading import Store

SHARE = 0.05
"""Of the pixels that are shown, as on CIFAR-10 in the paper; it takes 0.1 on ImageNet."""
TESTED_AT_ONCE = 250
TEST = "test"
"""Of the hash of the fold to test on, so that orders of a fold of the images have images on both sides."""
RECIPE = TrainConfig(epsilon=0.0, shift=0)
SHOWN = ("whole", "last", "random", "border")
"""What is shown: the whole image, the pixels masked last, as many random ones, fixed for each image, the border."""


@dataclass(frozen=True)
class Retrained:
    """A network trained on one kind of subsets. share: of the pixels that were shown. accuracy: on test images of which
    the same kind of subset is shown; loss: mean cross entropy there. on_whole: accuracy on these images as they are."""

    shown: str
    share: float
    accuracy: Estimate
    loss: float
    on_whole: Estimate

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def retrain(
    orders: Orders,
    store: Store | str | Path,
    images: Images,
    config: TrainConfig = RECIPE,
    *,
    share: float = SHARE,
    border_pixels: int | None = None,
    test: Fold = Fold(1, 5),  # noqa: B008 - frozen
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Retrained, ...]:
    """Train on the images of the orders that are not in the fold `test`, and test on those that are.

    config: the recipe of training, whose seed draws the random subsets too. border_pixels: width of the border, None:
    that of `border_width`. test: by a hash of its own, so that it cuts any other fold. Raises SalientError for a store
    of other images, where either side has none, or where images do not fit in memory.
    """
    if not 0.0 < share < 1.0:
        raise SalientError("share of the pixels", expected="above 0 and below 1", got=f"{share:g}")
    tested = test.holds(orders.image_ids, TEST)
    if not tested.any() or tested.all():
        raise SalientError(
            f"fold {test} of {len(orders)} images",
            expected="images to train on and images to test on",
            got=f"{int((~tested).sum())} and {int(tested.sum())}",
            then="choose another --test-fold, or make orders of more images",
        )
    recipe = orders.recipe
    joined, preprocessing = joined_with(orders, store, images), preprocessing_of(orders)
    pixels = _crops(joined, preprocessing, config.memory_limit)
    width = border_width(recipe.side) if border_pixels is None else border_pixels
    fill = fill_of(orders)
    size, names = size_of(share, recipe.cells), joined.store.class_names
    found = []
    for name in SHOWN:
        shown = _shown(name, orders, size, width, config.seed)
        changed = pixels if shown is None else np.where(shown[..., None], pixels, fill)
        model = train(changed[~tested], orders.labels[~tested], names, preprocessing, config, device)
        accuracy, loss = tested_on(model, changed[tested], orders.labels[tested])
        on_whole, _ = tested_on(model, pixels[tested], orders.labels[tested])
        found.append(Retrained(name, 1.0 if shown is None else float(shown.mean()), accuracy, loss, on_whole))
        report(line(found[-1]))
    return tuple(found)


def tested_on(model: SmallNetModel, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[Estimate, float]:
    """Accuracy, the mean over classes, and mean cross entropy of a network on crops (N, S, S, 3)."""
    logits = []
    with torch.inference_mode():
        for start in range(0, len(images), TESTED_AT_ONCE):
            part = torch.from_numpy(images[start : start + TESTED_AT_ONCE])
            logits.append(model(unit_images(part)))
    answers, targets = torch.cat(logits), torch.from_numpy(labels)
    hits = (answers.argmax(dim=1) == targets).numpy().astype(np.float64)
    return value_average(hits, labels), float(F.cross_entropy(answers, targets))


def line(r: Retrained) -> str:
    """The figures of one network in a line of text."""
    words = f"trained on {r.shown}, {100 * r.share:.1f} % of the pixels"
    return f"{words:<42}  accuracy {r.accuracy.words}   on whole images {r.on_whole.words}"


def _shown(name: str, orders: Orders, size: int, width: int, seed: int) -> NDArray[np.bool_] | None:
    """(N, S, S) the pixels that are shown of each image; None: all."""
    recipe, sizes = orders.recipe, np.full(len(orders), size)
    if name == "last":
        return kept(orders.order(0, len(orders)), sizes, recipe.side, recipe.cell)
    if name == "random":
        drawn = random_orders(recipe.cells, image_seeds(seed, orders.image_ids, "retrain"))
        return kept(drawn, sizes, recipe.side, recipe.cell)
    if name == "border":
        return np.broadcast_to(border(recipe.side, width), (len(orders), recipe.side, recipe.side))
    return None


def _crops(joined: Joined, preprocessing: Preprocessing, memory_limit: int) -> NDArray[np.uint8]:
    """(N, S, S, 3) all images. A few copies of them are held at a time."""
    check_memory(len(joined), preprocessing.crop, memory_limit, "make orders of a --fold of the images")
    return np.stack([preprocessing.apply(joined.image(item)) for item in range(len(joined))])
