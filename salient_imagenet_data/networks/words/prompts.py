"""Our own prompts for zero-shot classification, and the classifier they make."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close view of a {}.",
    "a {} seen from far away.",
    "a picture that shows a {}.",
    "one {} in its usual place.",
    "a {} in an unusual place.",
    "a dark photo of a {}.",
    "a bright photo of a {}.",
    "part of a {}.",
)
"""Neutral about what stands around the object, since that is what is measured."""


@torch.inference_mode()
def zero_shot_weights(
    names: tuple[str, ...], encode: Callable[[list[str]], Tensor], templates: tuple[str, ...] = TEMPLATES
) -> Tensor:
    """(C, D) unit vectors: for each class, the mean over templates of the unit text embeddings, made a unit again.

    encode: texts -> (T, D) embeddings of any length.
    """
    rows = []
    for name in names:
        words = name.replace("_", " ")
        embedded = torch.nn.functional.normalize(encode([t.format(words) for t in templates]).float(), dim=-1)
        rows.append(torch.nn.functional.normalize(embedded.mean(dim=0), dim=-1))
    return torch.stack(rows)
