"""clip:NAME[:TAG], clip:hf-hub:OWNER/NAME, clip:local-dir:FOLDER: the image tower of a network of open_clip, trained
with a softmax or with sigmoids (SigLIP), against the class names in our own prompts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.hub_errors import hub_errors
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.normalisers import Normaliser
from salient_imagenet_data.networks.openers.opened import Opened, needed, normalised, opening
from salient_imagenet_data.networks.weights import load_into
from salient_imagenet_data.networks.words.asking import sha256_of
from salient_imagenet_data.networks.words.prompts import TEMPLATES, zero_shot_weights
from salient_imagenet_data.networks.words.zero_shot import ZeroShot

TOWER = "visual."
HUB, FOLDER = "hf-hub:", "local-dir:"
"""What open_clip writes before a repository of the Hub, and before a folder."""
IMAGES = ("mean", "std", "interpolation", "resize_mode")
"""What the library says of images for each of its tags."""


def open_clip(rest: str, class_names: tuple[str, ...] | None, weights: Checkpoint | None) -> Opened:
    """A zero-shot classifier of the classes that are named; weights: of the whole network, or of its image tower alone,
    as robust CLIP's are [Schlarmann et al. 2024], then beside the text tower of TAG, of the repository or the folder.
    Raises SalientError without class names, and for a network whose weights are not all there."""
    library = needed("open_clip")
    name, tag = _parted(library, rest)
    if class_names is None:
        raise SalientError(f"clip:{rest}: a zero-shot classifier", expected="the names of its classes")
    net, own, tag = _loaded(library, name, tag, weights)
    net.eval()
    config = images_of(library, name, tag, net)
    side = config["size"][0] if isinstance(config["size"], (tuple, list)) else config["size"]
    if config["resize_mode"] not in ("shortest", "squash"):
        raise SalientError(f"clip:{name}: its input cannot be made", expected="square crops", got=str(config))
    shown = display_names(class_names)
    with _opening(f"clip:{name}: its tokenizer"):
        tokenizer = library.get_tokenizer(name)
    head = zero_shot_weights(shown, lambda texts: net.encode_text(tokenizer(texts)))  # type: ignore[operator]
    preprocessing = Preprocessing(side, side, config["interpolation"], config["resize_mode"] == "squash")
    model = ZeroShot(net, head, _encode)
    inner, details = normalised(model, own, config["mean"], config["std"], "open_clip's config")
    details |= {
        "library": f"open_clip {library.__version__}",
        "pretrained": tag or None,
        "trained_with": "sigmoid" if model.sigmoid else "softmax",
        "prompts": list(TEMPLATES),
        "prompts_sha256": sha256_of((*TEMPLATES, *shown)),
    }
    return Opened(inner, preprocessing, details, len(class_names), class_names)


def _encode(net: nn.Module, images: Tensor) -> Tensor:
    embedded: Tensor = net.encode_image(images)  # type: ignore[operator]
    return embedded


def _parted(library: Any, rest: str) -> tuple[str, str]:
    """Name, with what stands before a repository or a folder, and tag; an empty tag where there is none. Raises
    SalientError for a name that is none, saying which it may have been."""
    if rest.startswith((HUB, FOLDER)):
        if rest.startswith(FOLDER) and not hasattr(library.factory, "LOCAL_DIR_PREFIX"):
            raise SalientError(
                f"clip:{rest}: open_clip {library.__version__} opens no folders",
                then="pip install 'open_clip_torch>=3'",
            )
        if rest.startswith(FOLDER) and not Path(rest.removeprefix(FOLDER)).is_dir():
            raise SalientError(f"clip:{rest}: no such folder", expected="one with an open_clip_config.json")
        return rest, ""
    name, _, tag = rest.partition(":")
    if name not in library.list_models():
        before, _, after = name.partition("/")
        then = f"clip:{HUB}{name}, if it is a repository of the Hub" if after else ""
        if before in library.list_models():
            then = f"clip:{before}:{after}"
        raise SalientError(f"clip:{name}: no such model", got=", ".join(library.list_models()[:5]) + ", ...", then=then)
    return name, tag


def _loaded(library: Any, name: str, tag: str, weights: Checkpoint | None) -> tuple[nn.Module, Normaliser | None, str]:
    """The network with its weights, the normaliser that these have, and the tag that played a part."""
    elsewhere = name.startswith((HUB, FOLDER))
    if weights is None:
        tags = () if elsewhere or tag else library.list_pretrained_tags_by_model(name)
        if not (elsewhere or tag or tags):
            raise SalientError(f"clip:{name}: no weights of that model", expected="clip:NAME:TAG or --weights")
        tag = tag or next(iter(tags), "")
        return _pretrained(library, name, tag), None, tag
    net = _pretrained(library, name, "") if elsewhere else _made(library, name, tag)
    text = next(key for key in reversed(net.state_dict()) if not key.startswith(TOWER))
    if any(key == text or key.endswith(f".{text}") for key in weights.tensors):
        return net, load_into(net, weights, f"clip:{name}"), tag
    if not elsewhere:
        if not tag:
            raise SalientError(
                f"{weights.path}: weights of an image tower alone",
                expected="the tag of the text tower beside it, clip:NAME:TAG, such as openai",
            )
        net = _pretrained(library, name, tag)
    tower: nn.Module = net.visual  # type: ignore[assignment]
    return net, load_into(tower, weights, f"the image tower of clip:{name}"), tag


def _pretrained(library: Any, name: str, tag: str) -> nn.Module:
    """The network with all its weights: the library by itself leaves random ones where a repository or a folder has no
    file of them."""
    if name.startswith(HUB):
        _check_config(name.removeprefix(HUB))
    then = "see clip:NAME's tags in open_clip.list_pretrained()" if tag else ""
    with _opening(f"clip:{name}{tag and ':'}{tag}", then):
        net: nn.Module = library.create_model(
            name, pretrained=tag or None, require_pretrained=True, force_quick_gelu=_quick(library, name, tag)
        )
    return net


@contextmanager
def _opening(what: str, then: str = "") -> Iterator[None]:
    """`opening`, without the library's lines to the root of all loggers, which say in other words what is an error
    here, and that weights are random which are loaded next."""
    said = logging.getLogger()

    def others(record: logging.LogRecord) -> bool:
        return Path(record.pathname).parent.name != "open_clip"

    said.addFilter(others)
    try:
        with opening(what, then, local=what.startswith(f"clip:{FOLDER}")):
            yield
    finally:
        said.removeFilter(others)


def _made(library: Any, name: str, tag: str) -> nn.Module:
    """The network of a name as it is before weights are loaded."""
    with _opening(f"clip:{name}"):
        net: nn.Module = library.create_model(name, pretrained=None, force_quick_gelu=_quick(library, name, tag))
    return net


def _quick(library: Any, name: str, tag: str) -> bool:
    """Whether the weights of a tag were trained with OpenAI's approximation of GELU. The library warns where its
    network of that name has another activation, and computes with that one."""
    return bool(tag and (library.pretrained.get_pretrained_cfg(name, tag) or {}).get("quick_gelu", False))


def images_of(library: Any, name: str, tag: str, net: nn.Module) -> dict[str, Any]:
    """How the weights want images. A network that was made without the library's own weights has the library's usual
    normalisation, whatever it is, so that of its tag is taken, or of all tags of that name where they agree: SigLIP's
    images are squashed and in [-1, 1]."""
    config: dict[str, Any] = dict(library.get_model_preprocess_cfg(net))
    if name.startswith((HUB, FOLDER)):
        return config
    tags = [tag] if tag else library.list_pretrained_tags_by_model(name)
    told = [library.pretrained.get_pretrained_cfg(name, each) or {} for each in tags]
    said = [{key: one[key] for key in IMAGES if key in one} for one in told]
    return config | said[0] if said and all(one == said[0] for one in said) else config


def _check_config(repo: str) -> None:
    """Raises SalientError for a repository of the Hub that is not there, cannot be reached, or is not open_clip's."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    what = f"clip:{HUB}{repo}"
    with hub_errors(what, "be opened", "model"):
        try:
            hf_hub_download(repo, "open_clip_config.json")
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError as error:
            raise SalientError(
                f"{what}: not a repository of open_clip",
                expected="open_clip_config.json in it",
                then=f"hf:{repo}, if it is one of transformers",
            ) from error
