"""timm:NAME[,OPTION=NUMBER...], resized, cropped and normalised as the network's own config says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.hub_errors import cached_where_offline
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.openers.opened import Opened, needed, normalised
from salient_imagenet_data.networks.weights import load_into, sized

_OLD = re.compile(r"(?:^|\.)layers\.0\.downsample\.")
_MERGING = re.compile(r"((?:^|\.)layers\.)(\d+)(\.downsample\.)")
_HEAD = re.compile(r"(^|\.)head\.(weight|bias)$")


def open_timm(rest: str, class_names: tuple[str, ...] | None, weights: Checkpoint | None) -> Opened:
    """A network of timm; weights: instead of the library's download, of as many classes as they have.

    rest: its name, and with weights whole numbers to make it with, such as `xcit_medium_24_p16_224,depth=12`.
    """
    timm = needed("timm")
    name, options = _options(rest, weights)
    if ":" not in name and not timm.is_model(name):  # hf-hub:... and local-dir:... are found by timm
        raise SalientError(f"timm:{name}: timm has no such network", then="see timm.list_models()")
    own, names, downloaded = None, None, None
    if weights is None:
        with cached_where_offline(f"timm:{name}: its weights cannot be downloaded"):
            net = timm.create_model(name, pretrained=True)
        classes = net.num_classes
        names, downloaded = _labels(timm, net.pretrained_cfg), _tagged(net.pretrained_cfg)
    else:
        weights = _of_today(name, weights)
        net, classes = _sized(timm, name, weights, options)
        own = load_into(net, weights, f"timm:{rest}")
    config = timm.data.resolve_model_data_config(net)
    model, details = normalised(net, own, config["mean"], config["std"], "timm's config")
    details["library"] = f"timm {timm.__version__}"
    if downloaded and ":" not in name:
        details["pretrained"] = downloaded
    assumed = _labels(timm, net.pretrained_cfg)
    return Opened(model, timm_preprocessing(config, name), details, classes, names, assumed)


def _tagged(config: dict[str, Any]) -> str | None:
    """Which weights timm took, as its tables call them: of a name without a tag its first ones."""
    architecture, tag = config.get("architecture"), config.get("tag")
    return f"{architecture}.{tag}" if architecture and tag else architecture


def _labels(timm: Any, config: dict[str, Any]) -> tuple[str, ...] | None:
    """The label list of a pretrained config: its own, or of the part of ImageNet that has as many classes."""
    count, own = config.get("num_classes"), config.get("label_names")
    if own and len(own) == count:
        return tuple(map(str, own))
    subset = timm.data.infer_imagenet_subset({"num_classes": count})
    return tuple(timm.data.ImageNetInfo(subset).label_names()) if subset else None


def _options(rest: str, weights: Checkpoint | None) -> tuple[str, dict[str, int]]:
    """A network's name and what it is made with. Raises SalientError for options that are no whole numbers, or without
    weights, which would be those of another network."""
    name, *given = rest.split(",")
    options = {key: int(value) for key, _, value in (one.partition("=") for one in given) if value.isdecimal()}
    if len(options) != len(given) or (options and weights is None):
        raise SalientError(
            f"timm:{rest}: such options are not understood",
            expected="timm:NAME,OPTION=NUMBER, each once, and weights of the network that it makes",
        )
    return name, options


def _sized(timm: Any, name: str, weights: Checkpoint, options: dict[str, int]) -> tuple[Any, int]:
    """The network with as many outputs as the weights have; 0, and no head, where they are of a backbone without."""

    def create(count: int | None) -> Any:
        try:
            sizes = options if count is None else {**options, "num_classes": count}
            return timm.create_model(name, pretrained=False, **sizes)
        except TypeError as error:
            if not options:
                raise
            raise SalientError(f"timm:{name}: cannot be made with {options}", got=str(error)) from error

    if ":" in name:
        return sized(create, 1000, weights)
    default, heads = (timm.models.get_pretrained_cfg_value(name, key) for key in ("num_classes", "classifier"))
    ends = tuple(f".{head}.weight" for head in ((heads,) if isinstance(heads, str) else heads or ()))
    if ends and not any(f".{key}".endswith(ends) for key in weights.tensors):
        return create(0), 0
    if default == 0:  # which makes no head by itself
        return sized(lambda count: create(count or 1), 1, weights)
    return sized(create, default or 1000, weights)


def _of_today(name: str, weights: Checkpoint) -> Checkpoint:
    """Tensors of a Swin transformer as timm names them since 0.9, whatever stands before the names.

    Until then, and in the authors' own code, a stage ended with the merging of patches with which the next one begins
    now, the head was `head` and not `head.fc`, and buffers that the shape tells were kept in the file.
    """
    if not name.startswith("swin_"):
        return weights
    old = any(_OLD.search(key) for key in weights.tensors)
    tensors = {}
    for key, value in weights.tensors.items():
        if key.endswith((".relative_position_index", ".attn_mask")):
            continue
        if old:
            key = _MERGING.sub(lambda found: f"{found[1]}{int(found[2]) + 1}{found[3]}", key)
            key = _HEAD.sub(r"\1head.fc.\2", key)
        tensors[key] = value
    return replace(weights, tensors=tensors)


def timm_preprocessing(config: dict[str, Any], name: str) -> Preprocessing:
    """How a config, as timm resolves it, wants images. Raises SalientError for what is no square RGB crop."""
    channels, height, side = config["input_size"]
    if channels != 3 or height != side or config["crop_mode"] not in ("center", "squash"):
        raise SalientError(
            f"timm:{name}: its input cannot be made",
            expected="square RGB crops, crop mode center or squash",
            got=f"{channels} x {height} x {side}, crop mode {config['crop_mode']}",
        )
    # timm's own transform rounds down too.
    return Preprocessing(int(side / config["crop_pct"]), side, config["interpolation"], config["crop_mode"] == "squash")
