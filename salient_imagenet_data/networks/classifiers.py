"""Classifiers by name: `timm:`, `torchvision:`, `hf:`, `clip:` and `module:function`, each as its own config wants it.

A classifier here takes images in [0, 1] in its own crop; the normalisation is put in front of it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError, not_installed
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.networks.checkpoint import Checkpoint, fetch, read_checkpoint
from salient_imagenet_data.networks.prompts import zero_shot_weights
from salient_imagenet_data.networks.weights import load_into, normaliser

Model = Callable[[Tensor], Tensor]
"""(B, 3, S, S) float32 in [0, 1] -> logits (B, C). Normalisation is the model's."""


@dataclass(frozen=True)
class Classifier:
    """A model to evaluate. name: unique in one evaluation. preprocessing: how it wants images; None: as the
    store's crop.
    details: what is recorded of it, JSON-ready. channels_last: give it images in the memory layout that convolutions
    like best, where `view` fails; a stranger's function gets contiguous ones."""

    name: str
    model: Model
    preprocessing: Preprocessing | None = None
    details: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = False

    def to(self, device: str) -> Classifier:
        """The same on a device, where the model can be moved."""
        moved = self.model.eval().to(device) if isinstance(self.model, nn.Module) else self.model
        return replace(self, model=moved)

    @property
    def recorded(self) -> dict[str, Any]:
        """Name, preprocessing and details, for the metadata of a predictions file."""
        ready = self.preprocessing
        return {"name": self.name, "preprocessing": asdict(ready) if ready else None, **self.details}


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


class ZeroShot(nn.Module):
    """An image tower and one unit vector a class: logits are scaled cosines."""

    weight: Tensor

    def __init__(self, clip: nn.Module, weight: Tensor) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        embedded = torch.nn.functional.normalize(self.clip.encode_image(images), dim=-1)  # type: ignore[operator]
        scaled: Tensor = self.clip.logit_scale.exp() * embedded @ self.weight.T  # type: ignore[operator]
        return scaled


def open_model(
    spec: str, class_names: tuple[str, ...], weights: str | Path | None = None, *, name: str = ""
) -> Classifier:
    """The classifier that a spec names.

    timm:NAME, torchvision:NAME[:WEIGHTS], hf:NAME-OR-FOLDER, clip:NAME[:PRETRAINED], or MODULE:FUNCTION, whose
    function is called without arguments and returns a model over images in [0, 1] in the store's crop; its
    attribute `preprocessing`, a `geometry.Preprocessing`, asks for another. weights: a file, or `hf://owner/name/file`,
    to load exactly instead of the library's download; also a checkpoint of the robustness library.
    Raises SalientError for a spec that is not understood, a package that is not installed, or weights that do not fit.
    """
    kind, _, rest = spec.partition(":")
    if not rest:
        raise SalientError(
            f"model {spec!r} is not understood",
            expected="timm:NAME, torchvision:NAME, hf:NAME, clip:NAME or MODULE:FUNCTION",
        )
    opener = OPENERS.get(kind)
    checkpoint = read_checkpoint(fetch(str(weights))) if weights else None
    net, ready, details = opener(rest, class_names, checkpoint) if opener else _from_module(kind, rest, checkpoint)
    if isinstance(net, nn.Module):
        net.eval().requires_grad_(False)
    details = {"spec": spec, "weights_sha256": checkpoint.sha256 if checkpoint else None, **details}
    return Classifier(
        name or (f"{spec} ({checkpoint.path.name})" if checkpoint else spec), net, ready, details, opener is not None
    )


Opened = tuple[Model, Preprocessing | None, dict[str, Any]]


def _timm(name: str, class_names: tuple[str, ...], weights: Checkpoint | None) -> Opened:
    timm = _needed("timm")
    options = {"num_classes": len(class_names)} if weights else {}
    net = timm.create_model(name, pretrained=weights is None, **options)
    if weights:
        load_into(net, weights, f"timm:{name}")
    config = timm.data.resolve_model_data_config(net)
    side = config["input_size"][-1]
    if (
        config["input_size"][0] != 3
        or config["input_size"][1] != side
        or config["crop_mode"] not in ("center", "squash")
    ):
        raise SalientError(f"timm:{name}: its input cannot be made", expected="square RGB crops", got=str(config))
    # timm's own transform rounds down too.
    resize = int(side / config["crop_pct"])
    ready = Preprocessing(resize, side, config["interpolation"], config["crop_mode"] == "squash")
    mean, std = _normalisation(weights, config["mean"], config["std"])
    return Normalised(net, mean, std), ready, {"library": f"timm {timm.__version__}"}


def _torchvision(rest: str, class_names: tuple[str, ...], weights: Checkpoint | None) -> Opened:
    import torchvision

    name, _, which = rest.partition(":")
    try:
        known = torchvision.models.get_model_weights(name)
        entry = known[which] if which else known.DEFAULT
    except (ValueError, KeyError) as error:
        raise SalientError(
            f"torchvision:{rest}: no such model or weights", got=str(error), then="see torchvision.models.list_models()"
        ) from error
    if weights:
        net = torchvision.models.get_model(name, weights=None, num_classes=len(class_names))
        load_into(net, weights, f"torchvision:{rest}")
    else:
        net = torchvision.models.get_model(name, weights=entry)
    made = entry.transforms()
    ready = Preprocessing(made.resize_size[0], made.crop_size[0], made.interpolation.value)
    details = {"library": f"torchvision {torchvision.__version__}", "preprocessing_of": str(entry)}
    mean, std = _normalisation(weights, made.mean, made.std)
    return Normalised(net, mean, std), ready, details


def _normalisation(
    weights: Checkpoint | None, mean: Sequence[float], std: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    """What the weights were trained with where their file says it, as the robustness library's does."""
    return (normaliser(weights) if weights else None) or (mean, std)


def _hf(name: str, class_names: tuple[str, ...], weights: Checkpoint | None) -> Opened:
    transformers = _needed("transformers")
    net = transformers.AutoModelForImageClassification.from_pretrained(name).float()
    if weights:
        load_into(net, weights, f"hf:{name}")
    config = transformers.AutoImageProcessor.from_pretrained(name).to_dict()
    mean, std = (config["image_mean"], config["image_std"]) if config.get("do_normalize") else ((0.0,) * 3, (1.0,) * 3)
    details = {"library": f"transformers {transformers.__version__}"}
    return Normalised(net, mean, std), hf_preprocessing(config, name), details


def hf_preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """How an image processor's config, as its `to_dict()` gives it, wants images.

    `size` with a shortest edge keeps the shape, with height and width it does not; ConvNeXt's `crop_pct` resizes to
    edge / crop_pct and crops, or squashes from 384 pixels up. Raises SalientError for a config without a square.
    """
    size, crop = config.get("size") or {}, config.get("crop_size") or {}
    interpolation = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}.get(int(config.get("resample") or 2), "")
    edge, percent = size.get("shortest_edge"), config.get("crop_pct")
    if edge and percent:
        return (
            Preprocessing(int(edge / percent), edge, interpolation)
            if edge < 384
            else Preprocessing(edge, edge, interpolation, True)
        )
    squash = edge is None and size.get("height") == size.get("width")
    resize = edge or (size.get("height") if squash else None)
    cropped = crop.get("height") if config.get("do_center_crop") else (resize if squash else None)
    if not resize or not cropped or (config.get("do_center_crop") and crop.get("height") != crop.get("width")):
        raise SalientError(
            f"hf:{name}: its input cannot be made", expected="square crops", got=f"size {size}, crop {crop}"
        )
    return Preprocessing(resize, cropped, interpolation, squash)


def _clip(rest: str, class_names: tuple[str, ...], weights: Checkpoint | None) -> Opened:
    open_clip = _needed("open_clip")
    name, _, tag = rest.partition(":")
    if not weights and not tag:
        tags = open_clip.list_pretrained_tags_by_model(name)
        if not tags:
            raise SalientError(f"clip:{name}: no such model", got=", ".join(open_clip.list_models()[:5]) + ", ...")
        tag = tags[0]
    net = open_clip.create_model(name, pretrained=None if weights else tag)
    if weights:
        load_into(net, weights, f"clip:{rest}")
    net.eval()
    config, tokenizer = open_clip.get_model_preprocess_cfg(net), open_clip.get_tokenizer(name)
    side = config["size"][0] if isinstance(config["size"], (tuple, list)) else config["size"]
    if config["resize_mode"] not in ("shortest", "squash"):
        raise SalientError(f"clip:{name}: its input cannot be made", expected="square crops", got=str(config))
    head = zero_shot_weights(display_names(class_names), lambda texts: net.encode_text(tokenizer(texts)))
    ready = Preprocessing(side, side, config["interpolation"], config["resize_mode"] == "squash")
    details = {"library": f"open_clip {open_clip.__version__}", "pretrained": None if weights else tag}
    return Normalised(ZeroShot(net, head), config["mean"], config["std"]), ready, details


def _from_module(module: str, function: str, weights: Checkpoint | None) -> Opened:
    here = str(Path.cwd())
    if here not in sys.path:
        # A console script does not look in the current folder, where the user's module lies.
        sys.path.insert(0, here)
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SalientError(
            f"model {module}:{function} cannot be imported",
            expected=f"{':, '.join(OPENERS)}: and a name, or a module of yours and its function",
            got=str(error),
        ) from error
    model = make()
    if not callable(model):
        raise SalientError(f"{module}:{function} returned no model", expected="a callable", got=type(model).__name__)
    if weights:
        if not isinstance(model, nn.Module):
            raise SalientError(f"{module}:{function}: weights cannot be loaded", expected="an nn.Module")
        load_into(model, weights, f"{module}:{function}")
    ready = getattr(model, "preprocessing", None)
    if ready is not None and not isinstance(ready, Preprocessing):
        raise SalientError(
            f"{module}:{function}: its preprocessing is not understood",
            expected="a Preprocessing or None",
            got=repr(ready),
        )
    return model, ready, {}


OPENERS: dict[str, Callable[[str, tuple[str, ...], Checkpoint | None], Opened]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "hf": _hf,
    "clip": _clip,
}


def _needed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise not_installed(package) from error
