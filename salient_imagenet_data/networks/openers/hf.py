"""hf:NAME or hf:FOLDER, an image classifier of transformers, with its processor's preprocessing."""

from __future__ import annotations

from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.hub_errors import cached_where_offline
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.openers.opened import Opened, needed, normalised
from salient_imagenet_data.networks.weights import load_into


def open_hf(name: str, class_names: tuple[str, ...] | None, weights: Checkpoint | None) -> Opened:
    """An image classifier of transformers; weights: instead of those of the name."""
    transformers = needed("transformers")
    try:
        with cached_where_offline(f"hf:{name}: cannot be opened"):
            net = transformers.AutoModelForImageClassification.from_pretrained(name).float()
            config = transformers.AutoImageProcessor.from_pretrained(name).to_dict()
    except (OSError, ValueError) as error:
        raise SalientError(
            f"hf:{name}: cannot be opened", got=(str(error).splitlines() or [type(error).__name__])[0][:300]
        ) from error
    own = load_into(net, weights, f"hf:{name}") if weights else None
    mean, std = (config["image_mean"], config["image_std"]) if config.get("do_normalize") else ((0.0,) * 3, (1.0,) * 3)
    model, details = normalised(net, own, mean, std, "the image processor's")
    details["library"] = f"transformers {transformers.__version__}"
    labels = {int(index): str(label) for index, label in net.config.id2label.items()}
    count = int(net.config.num_labels)
    names = tuple(labels[i] for i in range(count)) if labels.keys() == set(range(count)) else None
    return Opened(model, hf_preprocessing(config, name), details, count, names)


def hf_preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """How an image processor's config, as its `to_dict()` gives it, wants images.

    `size` with a shortest edge keeps the shape, with height and width it does not; ConvNeXt's `crop_pct` resizes to
    edge / crop_pct and crops, or squashes from 384 pixels up. Raises SalientError for a config without a square.
    """
    size, crop = config.get("size") or {}, config.get("crop_size") or {}
    resample = config.get("resample")
    numbers = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    interpolation = numbers.get(2 if resample is None else int(resample), "")
    edge, percent = size.get("shortest_edge"), config.get("crop_pct")
    if edge and percent:
        squashed = edge >= 384
        return Preprocessing(edge if squashed else int(edge / percent), edge, interpolation, squashed)
    squash = edge is None and size.get("height") == size.get("width")
    resize = edge or (size.get("height") if squash else None)
    cropped = crop.get("height") if config.get("do_center_crop") else (resize if squash else None)
    if not resize or not cropped or (config.get("do_center_crop") and crop.get("height") != crop.get("width")):
        raise SalientError(
            f"hf:{name}: its input cannot be made", expected="square crops", got=f"size {size}, crop {crop}"
        )
    return Preprocessing(resize, cropped, interpolation, squash)
