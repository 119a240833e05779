"""True missingness for vision transformers: the tokens of missing patches are left out, not painted over.

Any missing pixel in a patch drops its token, after the positional embedding [Jain et al. 2022, Missingness Bias in
Model Debugging]. For convolutional networks see `layer_masking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError


@dataclass(frozen=True)
class TokenSite:
    """Where a transformer's tokens (B, prefix + N, D) can be chosen: the output of a module, positions already added.

    prefix: class, distillation and register tokens, which always stay. patch: pixels a token, (height, width).
    """

    module: nn.Module
    prefix: int
    patch: tuple[int, int]


class TokenDropping(nn.Module):
    """A vision transformer that is not shown the missing patches.

    model: timm's or torchvision's `VisionTransformer`, transformers' ViT, DeiT or DINOv2 classifier, or a module that
    holds one of these and hands its images on unresized. threshold: a pixel is missing where the mask reaches it.
    Call with images as the model wants them, (B, 3, H, W), and masks (B, 1, H, W) float in [0, 1]: returns logits
    (B, C). empty: an image without a token left, if the model averages tokens, is an "error", or has logits of "zero".
    Raises SalientError for other models.
    """

    def __init__(self, model: nn.Module, threshold: float = 0.5, *, empty: Literal["error", "zero"] = "error") -> None:
        super().__init__()
        self.model, self.threshold, self.empty = model, check_threshold(threshold), empty
        self.site = token_site(model)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        kept = ~missing_patches(masks >= self.threshold, self.site.patch)
        counts = kept.sum(dim=1)
        logits: Tensor | None = None
        # Images with equally many tokens go together: nothing is padded, so nothing has to be hidden from attention.
        for count in counts.unique().tolist():  # type: ignore[no-untyped-call]
            which = (counts == count).nonzero()[:, 0]
            part = self._with_tokens(images[which], kept[which].nonzero()[:, 1].view(len(which), count))
            if not count and part.isnan().any():
                if self.empty == "error":
                    raise SalientError(
                        "an image has no token left and the model averages tokens",
                        then='drop images that are all region, or use empty="zero"',
                    )
                part = torch.zeros_like(part)
            logits = part.new_empty((len(images), part.shape[1])) if logits is None else logits
            logits[which] = part
        if logits is None:
            raise ValueError("TokenDropping: expected at least one image, got none")
        return logits

    def _with_tokens(self, images: Tensor, places: Tensor) -> Tensor:
        """places: (B, count) tokens to keep, among the N of the picture."""
        prefix, rows, cols = self.site.prefix, *self.site.patch
        expected = prefix + (images.shape[2] // rows) * (images.shape[3] // cols)

        def choose(module: nn.Module, inputs: Any, tokens: Tensor) -> Tensor:
            if tokens.shape[1] != expected:
                raise SalientError("tokens do not fit the masks", expected=str(expected), got=str(tokens.shape[1]))
            index = places[..., None].expand(-1, -1, tokens.shape[2])
            return torch.cat([tokens[:, :prefix], tokens[:, prefix:].gather(1, index)], dim=1)

        handle = self.site.module.register_forward_hook(choose)
        try:
            output = self.model(images)
        finally:
            handle.remove()
        result: Tensor = getattr(output, "logits", output)
        return result


def check_threshold(threshold: float) -> float:
    """From which mask on a pixel is missing. Raises ValueError where all pixels would be, or none."""
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"expected a threshold in (0, 1], got {threshold}")
    return threshold


def missing_patches(missing: Tensor, patch: tuple[int, int]) -> Tensor:
    """(B, 1, H, W) bool -> (B, N) bool, row by row: the patch has a missing pixel."""
    return F.max_pool2d(missing.float(), patch, patch).flatten(1) > 0


def token_site(model: nn.Module) -> TokenSite:
    """Find the place in a model, or in a module that holds one. Raises SalientError if it is none of the known ones."""
    for module in model.modules():
        families = {f"{c.__module__.split('.')[0]}.{c.__name__}" for c in type(module).__mro__}
        if "torchvision.VisionTransformer" in families:
            return TokenSite(_child(module, "encoder.dropout"), 1, _pair(module.patch_size))
        if "timm.VisionTransformer" in families:
            patch = _pair(_child(module, "patch_embed").patch_size)
            return TokenSite(_child(module, "patch_drop"), int(str(module.num_prefix_tokens)), patch)
        if families & {"transformers.ViTEmbeddings", "transformers.DeiTEmbeddings", "transformers.Dinov2Embeddings"}:
            prefix = 2 if hasattr(module, "distillation_token") else 1
            return TokenSite(module, prefix, _pair(_child(module, "patch_embeddings").patch_size))
    raise SalientError(
        f"{type(model).__name__}: tokens cannot be dropped",
        expected="a VisionTransformer of timm or torchvision, or a ViT, DeiT or DINOv2 of transformers",
    )


def can_drop_tokens(model: nn.Module) -> bool:
    """Whether `TokenDropping` knows the model."""
    try:
        token_site(model)
    except SalientError:
        return False
    return True


def _child(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name)


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))
