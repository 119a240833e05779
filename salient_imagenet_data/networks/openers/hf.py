"""hf:NAME or hf:FOLDER, an image classifier of transformers, with its processor's preprocessing, or its CLIP, SigLIP
and their like as zero-shot classifiers."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.classifiers import Normalised
from salient_imagenet_data.networks.normalisers import Normaliser
from salient_imagenet_data.networks.openers.opened import Opened, is_folder, needed, normalised, opening
from salient_imagenet_data.networks.weights import load_into
from salient_imagenet_data.networks.words.asking import sha256_of
from salient_imagenet_data.networks.words.prompts import TEMPLATES, zero_shot_weights
from salient_imagenet_data.networks.words.zero_shot import ZeroShot

AUTO = "transformers.models.auto.modeling_auto"
"""Where transformers keeps which kinds of model do what."""
PADDED = ("siglip",)
"""Kinds of model whose towers of words were trained with texts of full length, whose padding counts."""


def open_hf(name: str, class_names: tuple[str, ...] | None, weights: Checkpoint | None) -> Opened:
    """An image classifier of transformers, or, where the name is of a model with a tower of images and one of words, a
    zero-shot classifier of the classes that are named; weights: instead of those of the name.

    Raises SalientError for a name that cannot be opened, and for a model that answers in words (`vlm`).
    """
    transformers = needed("transformers")
    what = f"hf:{name}"
    with opening(what, local=is_folder(name, what)):
        config = transformers.AutoConfig.from_pretrained(name)
        kinds = importlib.import_module(AUTO)
        classifies = any(str(each).endswith("ForImageClassification") for each in config.architectures or ())
        if config.model_type in kinds.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES and not classifies:
            return _zero_shot(transformers, name, config, class_names, weights)
        if config.model_type in kinds.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not classifies:
            raise SalientError(f"{what}: a model that answers in words", then=f"vlm:hf:{name} asks it")
        net = transformers.AutoModelForImageClassification.from_pretrained(name).float()
        images = transformers.AutoImageProcessor.from_pretrained(name).to_dict()
    own = load_into(net, weights, what) if weights else None
    model, details = _normalised(net, own, images)
    details["library"] = f"transformers {transformers.__version__}"
    labels = {int(index): str(label) for index, label in net.config.id2label.items()}
    count = int(net.config.num_labels)
    names = tuple(labels[i] for i in range(count)) if labels.keys() == set(range(count)) else None
    return Opened(model, hf_preprocessing(images, name), details, count, names)


def _zero_shot(
    transformers: Any, name: str, config: Any, class_names: tuple[str, ...] | None, weights: Checkpoint | None
) -> Opened:
    """The image tower of CLIP, SigLIP and their like against the class names in our own prompts."""
    what = f"hf:{name}"
    if class_names is None:
        raise SalientError(f"{what}: a zero-shot classifier", expected="the names of its classes")
    net = transformers.AutoModel.from_pretrained(name).float().eval()
    if not all(hasattr(net, part) for part in ("get_text_features", "get_image_features", "logit_scale")):
        raise SalientError(
            f"{what}: not opened yet", expected="a tower of images, one of words and a scale", got=config.model_type
        )
    images = transformers.AutoImageProcessor.from_pretrained(name).to_dict()
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    own = load_into(net, weights, what) if weights else None
    longest = min(tokenizer.model_max_length, config.text_config.max_position_embeddings)
    padded = config.model_type in PADDED

    def encode(texts: list[str]) -> Tensor:
        tokens = tokenizer(
            texts,
            padding="max_length" if padded else True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        given = ("input_ids",) if padded else ("input_ids", "attention_mask")
        return _features(net.get_text_features(**{key: tokens[key] for key in given}))

    shown = display_names(class_names)
    model = ZeroShot(net, zero_shot_weights(shown, encode), _encode)
    inner, details = _normalised(model, own, images)
    details |= {
        "library": f"transformers {transformers.__version__}",
        "trained_with": "sigmoid" if model.sigmoid else "softmax",
        "prompts": list(TEMPLATES),
        "prompts_sha256": sha256_of((*TEMPLATES, *shown)),
    }
    return Opened(inner, hf_preprocessing(images, name), details, len(class_names), class_names)


def _encode(net: nn.Module, images: Tensor) -> Tensor:
    return _features(net.get_image_features(pixel_values=images))  # type: ignore[operator]


def _features(found: Any) -> Tensor:
    """(B, D): from version 5 on what is pooled stands in a record."""
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features


def _normalised(net: Any, own: Normaliser | None, images: dict[str, Any]) -> tuple[Normalised, dict[str, Any]]:
    """A network behind its image processor's normalisation, or that of its weights."""
    mean, std = (images["image_mean"], images["image_std"]) if images.get("do_normalize") else ((0.0,) * 3, (1.0,) * 3)
    return normalised(net, own, mean, std, "the image processor's")


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
