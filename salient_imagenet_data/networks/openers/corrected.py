"""A head from whose logits something is taken off, as `salient-imagenet spufix` makes it and a file of weights keeps
it.

It is no linear head any more, and nobody takes it for one: it is evaluated, not fitted or built upon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError

MARK = "spufix_"
"""Before the names of its tensors, beside those of the head."""
PARTS = ("weight", "bias", "outputs")


@dataclass(frozen=True)
class Correction:
    """head: name of the linear layer. weight: (M, F), bias: (M,), outputs: (M,) int64: what is positive of
    weight r + bias is taken off these outputs, where r is the head's input."""

    head: str
    weight: Tensor
    bias: Tensor
    outputs: Tensor

    def to_json(self) -> dict[str, Any]:
        """As it is recorded of a network."""
        return {"directions": len(self.outputs), "classes": len(set(self.outputs.tolist()))}


class CorrectedHead(nn.Module):
    """A linear layer's parameters under their own names, and its correction."""

    def __init__(self, head: nn.Linear, correction: Correction) -> None:
        super().__init__()
        self.in_features, self.out_features = head.in_features, head.out_features
        self.weight, self.bias = head.weight, head.bias
        for part in PARTS:
            self.register_buffer(MARK + part, getattr(correction, part))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, C)."""
        weight, bias, outputs = (self.get_buffer(MARK + part) for part in PARTS)
        excess = torch.relu(F.linear(features, weight, bias))
        logits = F.linear(features, self.weight, self.bias)
        return logits.index_add(-1, outputs, excess.to(logits.dtype), alpha=-1)


def correct(net: nn.Module, correction: Correction) -> None:
    """Put a correction on a network's head, in place. Raises SalientError where it does not fit."""
    try:
        head = net.get_submodule(correction.head)
    except AttributeError:
        head = None
    if not isinstance(head, nn.Linear):
        raise SalientError(
            f"a correction of {correction.head!r}, which is no linear layer of this network",
            got=type(head).__name__ if head is not None else "no such layer",
            then="are they weights of another architecture?",
        )
    fits = (
        correction.weight.shape == (len(correction.outputs), head.in_features)
        and correction.bias.shape == correction.outputs.shape
        and bool(((correction.outputs >= 0) & (correction.outputs < head.out_features)).all())
    )
    if not fits:
        raise SalientError(
            f"a correction that does not fit {correction.head!r}",
            expected=f"{head.in_features} inputs, outputs below {head.out_features}",
            got=f"{tuple(correction.weight.shape)}, {tuple(correction.bias.shape)}, {tuple(correction.outputs.shape)}",
        )
    net.set_submodule(correction.head, CorrectedHead(head, correction).to(head.weight.device))


def parted(tensors: Mapping[str, Tensor], name: str) -> tuple[dict[str, Tensor], Correction | None]:
    """The tensors of a file without those of a correction, and the correction. name: of the file, for errors.

    Raises SalientError for a part of one, or two.
    """
    marked = {key: value for key, value in tensors.items() if key.rpartition(".")[2].startswith(MARK)}
    if not marked:
        return dict(tensors), None
    heads = {key.rpartition(".")[0] for key in marked}
    wanted = {f"{head}.{MARK}{part}" for head in heads for part in PARTS}
    if len(heads) != 1 or set(marked) != wanted:
        raise SalientError(
            f"{name}: not one whole correction of a head",
            expected=", ".join(MARK + part for part in PARTS),
            got=", ".join(sorted(marked)),
        )
    (head,) = heads
    weight, bias, outputs = (marked[f"{head}.{MARK}{part}"] for part in PARTS)
    rest = {key: value for key, value in tensors.items() if key not in marked}
    return rest, Correction(head, weight, bias, outputs.long())
