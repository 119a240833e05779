from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders import TokenDropping
from salient_imagenet_data.loaders.missing.tokens import missing_patches

PATCH, SIDE = 8, 32


def torchvision_vit() -> nn.Module:
    net = VisionTransformer(SIDE, PATCH, 2, 2, 16, 32, num_classes=5)
    nn.init.normal_(net.heads[0].weight)
    return net


def timm_vit(**options: Any) -> nn.Module:
    timm = pytest.importorskip("timm", reason="its vision transformers are an optional part")
    sizes = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
    net: nn.Module = timm.models.vision_transformer.VisionTransformer(**sizes, **options)
    return net


def transformers_vit(family: str = "ViT") -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="its vision transformers are an optional part")
    sizes = {
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = getattr(transformers, f"{family}Config")(**sizes, intermediate_size=32, num_labels=5)
    net: nn.Module = getattr(transformers, f"{family}ForImageClassification")(config)
    return net


MODELS: dict[str, Callable[[], nn.Module]] = {
    "torchvision": torchvision_vit,
    "timm": timm_vit,
    "timm_registers": lambda: timm_vit(reg_tokens=3, class_token=True, no_embed_class=True),
    "timm_average": lambda: timm_vit(class_token=False, global_pool="avg"),
    "transformers_ViT": transformers_vit,
    "transformers_DeiT": lambda: transformers_vit("DeiT"),
    "transformers_Dinov2": lambda: transformers_vit("Dinov2"),
    "wrapped": lambda: nn.Sequential(nn.Identity(), torchvision_vit()),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    net = MODELS[request.param]().eval()
    for value in net.parameters():
        if value.ndim > 1:  # positions are zeros in some, which would hide a wrong order, and weights small in all
            nn.init.normal_(value, std=0.3)
    return net


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(4, 1, SIDE, SIDE)
    masks[1, :, 5:12, 9:20] = 1.0
    masks[2, :, 31, 31] = 0.7
    masks[3, :, 0:24] = 1.0
    return torch.randn(4, 3, SIDE, SIDE, generator=generator), masks


def logits(net: nn.Module, images: Tensor) -> Tensor:
    out = net(images)
    return getattr(out, "logits", out)


@torch.inference_mode()
def test_empty_masks_give_the_models_own_output(model: nn.Module) -> None:
    images, masks = data()
    assert torch.allclose(TokenDropping(model)(images, masks * 0), logits(model, images), atol=1e-5)


@torch.inference_mode()
def test_nothing_of_a_missing_patch_is_seen(model: nn.Module) -> None:
    images, masks = data()
    patches = missing_patches(masks >= 0.5, (PATCH, PATCH)).view(4, 1, SIDE // PATCH, SIDE // PATCH).float()
    inside = nn.functional.interpolate(patches, scale_factor=PATCH).bool()
    other = torch.where(inside, torch.randn_like(images) * 50, images)
    dropping = TokenDropping(model)
    found = dropping(images, masks)
    assert torch.equal(dropping(other, masks), found)
    # While every other pixel counts, and the model without dropping sees the difference.
    assert (dropping(torch.where(inside, images, -images), masks) - found).abs().amax(dim=1).min() > 1e-5
    assert (logits(model, other) - logits(model, images))[1:].abs().amax(dim=1).min() > 1e-3


@torch.inference_mode()
def test_images_do_not_hang_on_their_batch(model: nn.Module) -> None:
    images, masks = data()
    dropping = TokenDropping(model)
    alone = torch.cat([dropping(images[[i]], masks[[i]]) for i in range(4)])
    assert torch.allclose(dropping(images, masks), alone, atol=1e-5)


@torch.inference_mode()
def test_against_attention_that_is_hidden_from_the_missing() -> None:
    """Dropping tokens is the same as forbidding attention to them: torchvision's network, layer by layer, by hand."""
    torch.manual_seed(0)
    net = torchvision_vit().eval()
    nn.init.normal_(net.encoder.pos_embedding)  # type: ignore[union-attr,arg-type]
    images, masks = data()
    hidden = torch.cat([torch.zeros(4, 1, dtype=torch.bool), missing_patches(masks >= 0.5, (PATCH, PATCH))], dim=1)
    x = net._process_input(images)  # type: ignore[operator]
    x = torch.cat([net.class_token.expand(4, -1, -1), x], dim=1) + net.encoder.pos_embedding  # type: ignore[operator,union-attr]
    for layer in net.encoder.layers:  # type: ignore[union-attr]
        y = layer.ln_1(x)
        x = x + layer.self_attention(y, y, y, key_padding_mask=hidden, need_weights=False)[0]
        x = x + layer.mlp(layer.ln_2(x))
    expected = net.heads(net.encoder.ln(x)[:, 0])  # type: ignore[operator,union-attr]
    assert torch.allclose(TokenDropping(net)(images, masks), expected, atol=1e-5)


def test_any_missing_pixel_makes_a_patch_missing() -> None:
    masks = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    masks[0, 0, 1, 2] = masks[0, 0, 3, 5] = True
    assert missing_patches(masks, (2, 3)).tolist() == [[True, False, False, True]]


@torch.inference_mode()
def test_an_image_without_a_token_left() -> None:
    images, masks = data()
    assert TokenDropping(torchvision_vit().eval())(images, torch.ones_like(masks)).isfinite().all()
    with pytest.raises(SalientError, match="no token left and the model averages tokens"):
        TokenDropping(MODELS["timm_average"]().eval())(images, torch.ones_like(masks))


def test_the_model_is_left_as_it_was_and_others_are_refused() -> None:
    net = torchvision_vit().eval()
    images, masks = data()
    with torch.inference_mode():
        before = net(images)
        TokenDropping(net)(images, masks)
        assert torch.equal(net(images), before)
    with pytest.raises(SalientError, match=r"ResNet: tokens cannot be dropped; expected a VisionTransformer"):
        TokenDropping(resnet18())
