"""A model that is not shown some pixels, by whichever way suits its network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.missing.layers import LayerMasking
from salient_imagenet_data.loaders.missing.tokens import TokenDropping, can_drop_tokens
from salient_imagenet_data.networks.words.answering import YesNo


def hiding(model: object) -> Callable[[Tensor, Tensor], Tensor]:
    """A model that takes images (B, 3, S, S) and masks (B, 1, S, S) and is not shown what the masks cover.

    A vision transformer is not given the tokens (one that averages them says nothing, logits of 0, of an image without
    any), any other network runs under layer masking. Raises SalientError for a function that is no network, and for a
    model that answers in words, whose own processor looks at the pixels.
    """
    if not isinstance(model, nn.Module):
        raise SalientError(
            f"{type(model).__name__}: pixels cannot be missing to a function",
            expected="an nn.Module for the condition 'missing'",
        )
    if any(isinstance(module, YesNo) for module in model.modules()):
        raise SalientError("a model that answers in words: pixels cannot be missing to it", then="leave 'missing' out")
    return TokenDropping(model, empty="zero") if can_drop_tokens(model) else LayerMasking(model)
