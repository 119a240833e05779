"""A model that answers in words as a classifier: the odds of yes to a question about each class."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError

WORDS = ("yes", "no")
LAST = ("logits_to_keep", "num_logits_to_keep")
"""What a model may be told so that it works out the logits after the last token only; the second before 4.50."""

FEATURES = "get_image_features"
"""What models of transformers call the method that turns images into what stands between the words, for the model that
goes on with them: the tower of images and what follows it."""


class YesNo(nn.Module):
    """A model of transformers that goes on with a text about an image, asked one question a class.

    The logit of a class is the logarithm of P(yes) / P(no), where P is the probability of the first token of the
    answer, summed over all tokens of the vocabulary that say the word and nothing else, whatever their capital letters
    and the space before them. A sigmoid gives P(yes) / (P(yes) + P(no)); the softmax over classes, which an evaluation
    takes, gives what follows if exactly one of the classes is there, and the questions are answered independently.

    Images go to the model's own processor as pictures of 8 bits a channel, as it gets them from everybody; each prompt
    with all images of a batch, so that nothing is padded. Features of the images are made once for all questions about
    them (`seen_once`). No gradient reaches the images.
    """

    def __init__(
        self,
        net: nn.Module,
        processor: Any,
        prompts: tuple[str, ...],
        yes: tuple[int, ...],
        no: tuple[int, ...],
        *,
        nested: bool = False,
        special: bool = True,
    ) -> None:
        """prompts: whole texts, one a class. yes, no: ids of tokens. nested: the processor wants a list of images for
        each text. special: it adds special tokens to a text, which does not hold them yet."""
        super().__init__()
        self.net, self.processor, self.prompts, self.nested, self.special = net, processor, prompts, nested, special
        self.register_buffer("yes", torch.tensor(yes), persistent=False)
        self.register_buffer("no", torch.tensor(no), persistent=False)
        known = inspect.signature(net.forward).parameters
        self.options: dict[str, Any] = {name: 1 for name in LAST if name in known}
        self.options |= {"use_cache": False} if "use_cache" in known else {}
        self.asked, self.mass, self.least = 0, 0.0, 1.0

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) float in [0, 1] -> (B, C) float32 log-odds of yes."""
        if images.requires_grad:
            raise SalientError(
                "a model that answers in words: no gradient reaches its images",
                expected="a classifier, for what goes by gradients",
            )
        shown = pictures(images)
        with seen_once(self.net):
            return torch.stack([self._answers(shown, prompt) for prompt in self.prompts], dim=1)

    def _answers(self, shown: list[Image.Image], prompt: str) -> Tensor:
        """(B,) the log-odds of yes to one prompt."""
        device = self.yes.device
        given = prepared(self.processor, shown, prompt, nested=self.nested, special=self.special).to(device)
        kind = next(self.net.parameters()).dtype
        inputs = {k: v.to(kind) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in given.items()}
        inputs.pop("labels", None)  # PaliGemma's processor makes some, for a loss over all logits
        logits = self.net(**inputs, **self.options).logits[:, -1].float()
        yes, no = (logits[:, ids].logsumexp(dim=1) for ids in (self.yes, self.no))
        mass = (torch.logaddexp(yes, no) - logits.logsumexp(dim=1)).exp()
        self.asked += len(shown)
        self.mass += float(mass.sum())
        self.least = min(self.least, float(mass.min()))
        odds: Tensor = yes - no
        return odds

    def told(self) -> str:
        """How much of the first token's probability yes and no had together, over all answers so far: where it is
        little, the model said something else and the odds mean little."""
        if not self.asked:
            return "asked nothing"
        mean = self.mass / self.asked
        little = "; mostly it says something else first, so try another --question" if mean < 0.5 else ""
        return f"yes and no have {mean:.3g} of the first token's probability, at least {self.least:.3g}{little}"


@contextmanager
def seen_once(net: nn.Module) -> Iterator[None]:
    """Inside, what makes features of images for a model of transformers (`FEATURES`) runs once for the same images,
    however many questions are asked about them. A model that has none, or whose features hang on the question too, runs
    as it always does."""
    found = [module for module in net.modules() if callable(getattr(module, FEATURES, None))]
    for module in found:
        vars(module)[FEATURES] = _remembering(getattr(module, FEATURES))
    try:
        yield
    finally:
        for module in found:
            del vars(module)[FEATURES]  # its class's own is then found again


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which gives a copy of its last answer where it is asked the same again."""
    last: list[Any] = []

    def answer(*args: Any, **options: Any) -> Any:
        asked = [*args, *sorted(options.items())]
        if not last or not _same(last[0], asked):
            last[:] = asked, function(*args, **options)
        return copy.deepcopy(last[1])

    return answer


def _same(first: Any, second: Any) -> bool:
    """Whether two arguments are equal, tensors by value."""
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        both = isinstance(first, Tensor) and isinstance(second, Tensor)
        return both and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


def pictures(images: Tensor) -> list[Image.Image]:
    """(B, 3, S, S) float in [0, 1] as RGB pictures of 8 bits a channel, rounded."""
    pixels = (images * 255.0).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(each) for each in pixels]


def prepared(processor: Any, shown: list[Image.Image], prompt: str, *, nested: bool, special: bool) -> Any:
    """What a processor makes of some images of one size, each with the same prompt."""
    images = [[each] for each in shown] if nested else shown
    options = {} if special else {"add_special_tokens": False}
    return processor(images=images, text=[prompt] * len(shown), return_tensors="pt", **options)


def tokens_saying(tokenizer: Any, word: str) -> dict[int, str]:
    """The tokens of a vocabulary, by id, that say a word and nothing else, in whatever capital letters, with a space
    before it or without."""
    near = {index: token for token, index in tokenizer.get_vocab().items() if word in token.casefold()}
    said = {index: tokenizer.decode([index]) for index in sorted(near)}
    return {index: near[index] for index, text in said.items() if text.strip().casefold() == word}
