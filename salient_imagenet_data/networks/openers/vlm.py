"""vlm:hf:NAME or vlm:hf:FOLDER, a model of transformers that answers in words, asked about each class whether it is in
the picture."""

from __future__ import annotations

import importlib
from typing import Any

from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.openers.hf import AUTO, hf_preprocessing
from salient_imagenet_data.networks.openers.opened import Opened, is_folder, needed, opening
from salient_imagenet_data.networks.weights import load_into
from salient_imagenet_data.networks.words.answering import WORDS, YesNo, prepared, tokens_saying
from salient_imagenet_data.networks.words.asking import Asking, sha256_of

LIBRARY = "hf:"


def open_vlm(
    rest: str, class_names: tuple[str, ...] | None, weights: Checkpoint | None, asking: Asking | None = None
) -> Opened:
    """A classifier of the classes that are named, by the odds of yes to a question about each. weights: of the whole
    model, instead of those of the name. asking: what is asked, and of how many classes at most.

    The question is put into the processor's chat template where it has one, else behind the processor's token for an
    image. Raises SalientError without class names, for too many classes, a model that is none, that reads its prompt
    apart from its answer, or whose vocabulary has no token for yes or no.
    """
    transformers, name, what = needed("transformers"), rest.removeprefix(LIBRARY), f"vlm:{rest}"
    if not rest.startswith(LIBRARY) or not name:
        raise SalientError(f"{what} is not understood", expected="vlm:hf:NAME, a model of transformers")
    if class_names is None:
        raise SalientError(f"{what}: a model that answers in words", expected="the names of the classes to ask about")
    asking = asking or Asking()
    questions = asking.about(display_names(class_names), what)
    with opening(what, local=is_folder(name, what)):
        config = transformers.AutoConfig.from_pretrained(name)
        _check_kind(config, what, name)
        processor = transformers.AutoProcessor.from_pretrained(name)
        kind = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
        net = transformers.AutoModelForImageTextToText.from_pretrained(name, **{kind: "auto"})
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise SalientError(f"{what}: no processor of images and words", got=type(processor).__name__)
    if weights is not None:
        load_into(net, weights, what, normalised=False)
    said = {word: tokens_saying(processor.tokenizer, word) for word in WORDS}
    for word, tokens in said.items():
        if not tokens:
            raise SalientError(f"{what}: its vocabulary has no token that says {word}", expected="one or more")
    prompts = tuple(prompt_of(processor, question) for question in questions)
    preprocessing = _preprocessing(processor, name)
    begins = processor.tokenizer.bos_token
    special = not (begins and prompts[0].startswith(begins))
    side = preprocessing.crop if preprocessing else 224
    nested = _nested(processor, prompts[0], side, special, what)
    model = YesNo(net, processor, prompts, tuple(said["yes"]), tuple(said["no"]), nested=nested, special=special)
    details = {
        "library": f"transformers {transformers.__version__}",
        "dtype": str(next(net.parameters()).dtype).removeprefix("torch."),
        "question": asking.question,
        "prompt": prompts[0],
        "prompts_sha256": sha256_of(prompts),
        "answers": {word: list(tokens.values()) for word, tokens in said.items()},
    }
    return Opened(model, preprocessing, details, len(class_names), class_names)


def prompt_of(processor: Any, question: str) -> str:
    """The whole text before the answer: an image and a question as the processor's chat template puts them, or its
    token for an image, where it has one, and the question in a line of its own."""
    if getattr(processor, "chat_template", None):
        asked = [{"type": "image"}, {"type": "text", "text": question}]
        made: str = processor.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False
        )
        return made
    token = getattr(processor, "image_token", None)
    return f"{token}\n{question}" if isinstance(token, str) else question


def _check_kind(config: Any, what: str, name: str) -> None:
    kinds = importlib.import_module(AUTO)
    if config.model_type not in kinds.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise SalientError(
            f"{what}: not a model that answers in words", got=config.model_type, then=f"is it a classifier? hf:{name}"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise SalientError(
            f"{what}: reads its prompt apart from its answer",
            expected="a model that goes on with its prompt",
            got=config.model_type,
        )


def _preprocessing(processor: Any, name: str) -> Preprocessing | None:
    """The square that the image processor makes of every image; None where it makes something else, as tiles or as many
    tokens as an image has pixels: then it gets the store's crop, and makes of it what it will."""
    try:
        return hf_preprocessing(processor.image_processor.to_dict(), name)
    except SalientError:
        return None


def _nested(processor: Any, prompt: str, side: int, special: bool, what: str) -> bool:
    """Whether a processor wants a list of images for each text; some take it so only, others only as one list. Raises
    SalientError where neither gives a row for each of two images."""
    shown, first = [Image.new("RGB", (side, side))] * 2, ""
    for nested in (False, True):
        try:
            made = prepared(processor, shown, prompt, nested=nested, special=special)
            if len(made["input_ids"]) == len(shown):
                return nested
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            first = first or str(error).strip().partition("\n")[0]
    raise SalientError(f"{what}: its processor takes no image with a question", got=first, then="see its own page")
