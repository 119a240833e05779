"""hf:NAME or hf:FOLDER, an image classifier of transformers, with its processor's preprocessing, or its CLIP, SigLIP
and their like as zero-shot classifiers."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.openers.opened import Opened, is_folder, needed, normalised, opening
from salient_imagenet_data.networks.weights import load_into
from salient_imagenet_data.networks.words.asking import sha256_of
from salient_imagenet_data.networks.words.prompts import TEMPLATES, zero_shot_weights
from salient_imagenet_data.networks.words.zero_shot import ZeroShot

AUTO = "transformers.models.auto.modeling_auto"
"""Where transformers keeps which kinds of model do what."""
PADDED = ("siglip",)
"""Kinds of model whose towers of words were trained with texts of full length, whose padding counts."""
PLAIN = {"image_mean": np.zeros(3), "image_std": np.ones(3)}
"""Fields of an image processor's configuration, and what they come to where it normalises nothing."""


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
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    own = load_into(net, weights, what) if weights else None
    preprocessing = hf_preprocessing(processor.to_dict(), name)
    model, details = normalised(net, own, *processor_normalises(processor, preprocessing, what))
    details["library"] = f"transformers {transformers.__version__}"
    labels = {int(index): str(label) for index, label in net.config.id2label.items()}
    count = int(net.config.num_labels)
    names = tuple(labels[i] for i in range(count)) if labels.keys() == set(range(count)) else None
    return Opened(model, preprocessing, details, count, names)


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
    processor = transformers.AutoImageProcessor.from_pretrained(name)
    preprocessing = hf_preprocessing(processor.to_dict(), name)
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
    inner, details = normalised(model, own, *processor_normalises(processor, preprocessing, what))
    details |= {
        "library": f"transformers {transformers.__version__}",
        "trained_with": "sigmoid" if model.sigmoid else "softmax",
        "prompts": list(TEMPLATES),
        "prompts_sha256": sha256_of((*TEMPLATES, *shown)),
    }
    return Opened(inner, preprocessing, details, len(class_names), class_names)


def _encode(net: nn.Module, images: Tensor) -> Tensor:
    return _features(net.get_image_features(pixel_values=images))  # type: ignore[operator]


def _features(found: Any) -> Tensor:
    """(B, D): from version 5 on what is pooled stands in a record."""
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features


def processor_normalises(
    processor: Any, preprocessing: Preprocessing, what: str
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Mean, std and whose they are, of what an image processor makes of pixels in [0, 1], found by asking it.

    Its configuration does not say all: EfficientNet's divides by std twice, others scale pixels elsewhere or not at
    all. So black and white pictures go through it, and then one with a pattern, which must come out as `preprocessing`
    makes it, but for a pixel by which crops are rounded. Raises SalientError where it does not: LeViT's resizes to
    another side than it says, MobileViT's swaps colours.
    """
    config, pattern = processor.to_dict(), _pattern(preprocessing)
    with opening(what, local=True):
        black, white, made = (_processed(processor, p) for p in (0 * pattern, np.full_like(pattern, 255), pattern))
    side = preprocessing.crop
    if made.shape != (side, side, 3):
        raise _other_images(processor, preprocessing, what, f"{made.shape[1]} x {made.shape[0]} pixels")
    middle = side // 2, side // 2
    with np.errstate(divide="ignore", invalid="ignore"):  # of a processor that makes nothing of a picture
        std = 1.0 / (white[middle] - black[middle])
        mean = -black[middle] * std
    said = [np.asarray(config[key]) if config.get("do_normalize") else plain for key, plain in PLAIN.items()]
    agrees = all(np.allclose(found, told, atol=1e-4) for found, told in zip((mean, std), said, strict=True))
    mean, std = said if agrees else ([float(f"{v:.7g}") for v in values] for values in (mean, std))
    whose = "the image processor's" if agrees else "found by asking the image processor, which says others"
    ours = (preprocessing.apply(pattern) / 255.0 - mean) / std
    difference, pixel = np.abs(made - ours).mean(), np.abs(ours[1:, 1:] - ours[:-1, :-1]).mean()
    if not difference <= pixel:
        raise _other_images(processor, preprocessing, what, f"others by {difference:.2g} a pixel, normalised")
    return tuple(np.broadcast_to(mean, 3).tolist()), tuple(np.broadcast_to(std, 3).tolist()), whose


def _other_images(processor: Any, preprocessing: Preprocessing, what: str, got: str) -> SalientError:
    return SalientError(
        f"{what}: its {type(processor).__name__} makes other images than its configuration says",
        expected=str(preprocessing),
        got=got,
        then="give a function of yours, MODULE:FUNCTION, that makes them",
    )


def _pattern(preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """A smooth picture, (height, width, 3), larger than what is wanted and no square, every colour and side another."""
    y, x = np.mgrid[0 : preprocessing.resize * 5 // 4, 0 : preprocessing.resize * 5 // 3] / preprocessing.resize
    waves = [np.sin((3 + k) * x + k) * np.cos((4 - k) * y + 2 * k) for k in range(3)]
    return np.asarray(127.5 + 120.0 * np.stack(waves, axis=2), dtype=np.uint8)


def _processed(processor: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(height, width, 3) as a processor makes it of a picture."""
    made = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    found: NDArray[np.float64] = made[0].permute(1, 2, 0).double().numpy()
    return found


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
