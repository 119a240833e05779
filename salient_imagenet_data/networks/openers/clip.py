"""clip:NAME[:TAG], zero-shot: the image tower of open_clip against the class names in our own prompts."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.hub_errors import cached_where_offline
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.normalisers import Normaliser
from salient_imagenet_data.networks.openers.opened import Opened, needed, normalised
from salient_imagenet_data.networks.prompts import TEMPLATES, zero_shot_weights
from salient_imagenet_data.networks.weights import load_into

TOWER = "visual."


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


def open_clip(rest: str, class_names: tuple[str, ...] | None, weights: Checkpoint | None) -> Opened:
    """A zero-shot classifier of the classes that are named; weights: of the whole network, or of its image tower alone,
    as robust-CLIP's are, then beside the text tower of TAG. Raises SalientError without class names."""
    library = needed("open_clip")
    name, _, tag = rest.partition(":")
    if class_names is None:
        raise SalientError(f"clip:{rest}: a zero-shot classifier", expected="the names of its classes")
    if name not in library.list_models():
        raise SalientError(f"clip:{name}: no such model", got=", ".join(library.list_models()[:5]) + ", ...")
    if not weights and not tag:
        tags = library.list_pretrained_tags_by_model(name)
        if not tags:
            raise SalientError(f"clip:{name}: no weights of that model", expected="clip:NAME:TAG or --weights")
        tag = tags[0]
    net, own, tag = _loaded(library, name, tag, weights)
    net.eval()
    config, tokenizer = library.get_model_preprocess_cfg(net), library.get_tokenizer(name)
    side = config["size"][0] if isinstance(config["size"], (tuple, list)) else config["size"]
    if config["resize_mode"] not in ("shortest", "squash"):
        raise SalientError(f"clip:{name}: its input cannot be made", expected="square crops", got=str(config))
    shown = display_names(class_names)
    head = zero_shot_weights(shown, lambda texts: net.encode_text(tokenizer(texts)))  # type: ignore[operator]
    preprocessing = Preprocessing(side, side, config["interpolation"], config["resize_mode"] == "squash")
    model, details = normalised(ZeroShot(net, head), own, config["mean"], config["std"], "open_clip's config")
    prompts = hashlib.sha256("\n".join((*TEMPLATES, *shown)).encode()).hexdigest()
    details |= {
        "library": f"open_clip {library.__version__}",
        "pretrained": tag or None,
        "prompts_sha256": prompts,
    }
    return Opened(model, preprocessing, details, len(class_names), class_names)


def _loaded(
    library: object, name: str, tag: str, weights: Checkpoint | None
) -> tuple[nn.Module, Normaliser | None, str]:
    """The network with its weights, the normaliser that these have, and the tag that played a part."""
    create = library.create_model  # type: ignore[attr-defined]
    if weights is None:
        with cached_where_offline(f"clip:{name}: its weights cannot be downloaded"):
            return create(name, pretrained=tag), None, tag
    net: nn.Module = create(name, pretrained=None)
    text = next(key for key in reversed(net.state_dict()) if not key.startswith(TOWER))
    if any(key == text or key.endswith(f".{text}") for key in weights.tensors):
        return net, load_into(net, weights, f"clip:{name}"), ""
    if not tag:
        raise SalientError(
            f"{weights.path}: weights of an image tower alone",
            expected="the tag of the text tower beside it, clip:NAME:TAG, such as openai",
        )
    with cached_where_offline(f"clip:{name}: its weights cannot be downloaded"):
        net = create(name, pretrained=tag)
    tower: nn.Module = net.visual  # type: ignore[assignment]
    return net, load_into(tower, weights, f"the image tower of clip:{name}"), tag
