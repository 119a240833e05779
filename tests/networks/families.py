"""What becomes of timm's families: a small network of each, and the page of the docs made of it.

python -m tests.networks.families > docs/backbones.md
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Features = Literal["mean", "layers", "token", "no"]
"""Of what the head's input is made: the maps' mean; layers behind that mean; a class token or attention over the
patches; no, such a network is refused."""


@dataclass(frozen=True)
class Family:
    """name: timm's module. network: one of it. features: as above. why: it is refused, in words of the error and of the
    page. headless: without a head by itself. size: of the crop, instead of its own. options: to make it smaller."""

    name: str
    network: str
    features: Features
    why: str = ""
    headless: bool = False
    size: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


SMALL = {"depth": 2}
ONE_EACH, ONE_LAYER = {"depths": (1, 1, 1, 1)}, {"layers": (1, 1, 1, 1)}
"""One block a stage: head and grid are those of the whole network."""

FAMILIES = (
    Family("beit", "beit_base_patch16_224", "layers", options=SMALL),
    Family("byoanet", "halonet26t", "mean"),
    Family("byobnet", "test_byobnet", "mean"),
    Family("byobnet (CLIP)", "resnet50_clip", "no", "attention"),
    Family("cait", "cait_xxs24_224", "token", options=SMALL),
    Family("coat", "coat_lite_tiny", "token"),
    Family("convit", "convit_tiny", "token"),
    Family("convmixer", "convmixer_768_32", "mean", size=70),
    Family("convnext", "test_convnext", "layers"),
    Family("cpubone", "cpubone_nano", "layers"),
    Family("crossvit", "crossvit_tiny_240", "no", "two"),
    Family("csatv2", "csatv2", "layers"),
    Family("cspnet", "cs3darknet_s", "mean"),
    Family("cspnext", "cspnext_tiny", "mean"),
    Family("davit", "davit_tiny", "layers", options=ONE_EACH),
    Family("deit", "deit_tiny_patch16_224", "token"),
    Family("deit (distilled)", "deit_tiny_distilled_patch16_224", "no", "two"),
    Family("densenet", "densenet121", "mean"),
    Family("dla", "dla34", "no", "convolution"),
    Family("dpn", "dpn48b", "no", "convolution"),
    Family("edgenext", "edgenext_xx_small", "layers"),
    Family("efficientformer", "efficientformer_l1", "no", "two"),
    Family("efficientformer_v2", "efficientformerv2_s0", "no", "two"),
    Family("efficientnet", "test_efficientnet", "mean"),
    Family("efficientvim", "efficientvim_m1", "no", "two"),
    Family("efficientvit_mit", "efficientvit_b0", "layers"),
    Family("efficientvit_msra", "efficientvit_m0", "mean"),
    Family("eva", "eva02_tiny_patch14_224", "layers", headless=True),
    Family("eva (DINOv3)", "vit_tiny_patch16_dinov3_qkvb", "mean", headless=True),
    Family("fasternet", "fasternet_t0", "layers"),
    Family("fastvit", "fastvit_t8", "mean"),
    Family("focalnet", "focalnet_tiny_srf", "mean"),
    Family("gcvit", "gcvit_xxtiny", "mean"),
    Family("ghostnet", "ghostnet_050", "layers"),
    Family("hardcorenas", "hardcorenas_a", "layers"),
    Family("hgnet", "hgnetv2_b0", "layers"),
    Family("hiera", "hiera_tiny_224", "layers", options={"stages": (1, 1, 1, 1)}),
    Family("hieradet_sam2", "sam2_hiera_tiny", "layers", headless=True, size=224, options={"stages": (1, 1, 1, 1)}),
    Family("hrnet", "hrnet_w18_small", "mean"),
    Family("iformer", "iformer_t", "mean"),
    Family("inception_next", "inception_next_atto", "layers"),
    Family("inception_resnet_v2", "inception_resnet_v2", "mean", size=160),
    Family("inception_v3", "inception_v3", "mean", size=160),
    Family("inception_v4", "inception_v4", "mean", size=160),
    Family("lcnetv2", "lcnetv2_small", "layers"),
    Family("levit", "levit_128s", "no", "two"),
    Family("lowformer", "lowformer_b0", "layers"),
    Family("mambaout", "test_mambaout", "layers"),
    Family("maxxvit", "test_maxvit", "mean"),
    Family("metaformer", "poolformer_s12", "layers"),
    Family("mlp_mixer", "mixer_s32_224", "mean"),
    Family("mobilenetv3", "mobilenetv3_small_050", "layers"),
    Family("mobilenetv3 (MobileNetV4)", "mobilenetv4_conv_small_035", "layers"),
    Family("mobilevit", "mobilevit_xxs", "mean"),
    Family("mvitv2", "mvitv2_tiny", "mean"),
    Family("naflexvit", "naflexvit_base_patch16_siglip", "token", headless=True, size=224, options=SMALL),
    Family("nest", "nest_tiny", "mean"),
    Family("nextvit", "nextvit_small", "mean"),
    Family("nfnet", "test_nfnet", "mean"),
    Family("pit", "pit_ti_224", "token"),
    Family("pvt_v2", "pvt_v2_b0", "mean"),
    Family("rdnet", "rdnet_tiny", "layers", options={"num_blocks_list": (1,) * 7}),
    Family("regnet", "regnetx_002", "mean"),
    Family("repghost", "repghostnet_050", "layers"),
    Family("repvit", "repvit_m0_9", "no", "two"),
    Family("res2net", "res2net50_26w_4s", "mean", options=ONE_LAYER),
    Family("resnest", "resnest14d", "mean"),
    Family("resnet", "test_resnet", "mean"),
    Family("resnetv2", "resnetv2_18", "no", "convolution"),
    Family("rexnet", "rexnet_100", "mean"),
    Family("selecsls", "selecsls42", "mean"),
    Family("senet", "legacy_seresnet18", "mean"),
    Family("sequencer", "sequencer2d_s", "mean", options=ONE_LAYER),
    Family("shvit", "shvit_s1", "mean"),
    Family("sknet", "skresnet18", "mean"),
    Family("starnet", "starnet_s050", "mean"),
    Family("swiftformer", "swiftformer_xs", "no", "two"),
    Family("swin_transformer", "swin_tiny_patch4_window7_224", "mean", options=ONE_EACH),
    Family("swin_transformer_v2", "swinv2_tiny_window8_256", "mean", options=ONE_EACH),
    Family("swin_transformer_v2_cr", "swinv2_cr_tiny_224", "mean", options=ONE_EACH),
    Family("tiny_vit", "tiny_vit_5m_224", "layers"),
    Family("tnt", "tnt_s_legacy_patch16_224", "token", options=SMALL),
    Family("tresnet", "tresnet_m", "mean", options=ONE_LAYER),
    Family("twins", "twins_svt_small", "mean", options=ONE_EACH),
    Family("vgg", "vgg11", "no", "layers", options={"mlp_ratio": 0.05}),
    Family("visformer", "visformer_tiny", "mean"),
    Family("vision_transformer", "test_vit", "token"),
    Family("vision_transformer (DINOv2)", "vit_small_patch14_dinov2", "token", headless=True, size=224,
           options=SMALL | {"img_size": 224}),
    Family("vision_transformer (CLIP)", "vit_base_patch32_clip_224", "token", options=SMALL),
    Family("vision_transformer (SigLIP)", "vit_base_patch16_siglip_224", "token", headless=True, options=SMALL),
    Family("vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", "token", options=SMALL),
    Family("vision_transformer_relpos", "test_vit_relpos", "layers"),
    Family("vision_transformer_sam", "samvit_base_patch16_224", "mean", options=SMALL),
    Family("vitamin", "vitamin_small_224", "layers"),
    Family("volo", "volo_d1_224", "no", "two"),
    Family("vovnet", "ese_vovnet19b_slim_dw", "mean"),
    Family("xception", "legacy_xception", "mean", size=160),
    Family("xception_aligned", "xception41", "mean", size=160),
    Family("xcit", "xcit_nano_12_p16_224", "token"),
)  # fmt: skip
NOT_TRIED = ("deepseek_vit", "gemma4_vit", "mobilenetv5", "nasnet", "pnasnet", "qwen3_vit")
"""Families without a small network."""
SAID = {
    "two": "no linear head",
    "convolution": "no linear head",
    "attention": "no linear head",
    "layers": "no grid of features before its linear head",
}
"""What the error says, for each reason."""
WHY = {
    "two": "refused: its output is no one linear layer's, but the mean or the sum of two heads",
    "convolution": "refused: its head is a convolution",
    "attention": "refused: its last layer is the projection of an attention over the grid",
    "layers": "refused: layers as large as the whole grid stand between it and the head",
}
HOW: dict[Features, str] = {
    "mean": "the maps' mean",
    "layers": "made of the maps' mean by layers, which are applied to each place for the maps",
    "token": "a class token, or attention over the patches; the maps are the patch tokens of the same layer",
}


def page() -> str:
    """docs/backbones.md"""
    lines = [
        "# Which networks of timm make a store",
        "",
        "This page is made of the table that a test runs through: `python -m tests.networks.families > docs/backbones.md`. For",
        "each family of timm (1.0.31) it builds one small network with random weights, and compares its features with what is",
        "made of its maps by hand. Other networks of a family mostly have the same head; where they do not, `build` says so in",
        "one line before it reads an image.",
        "",
        "Networks that have no head of their own, or one for other classes, get one from `--probe`",
        "([building.md](building.md#networks-without-a-head)).",
        "",
        "| family | tried with | head | features |",
        "| --- | --- | --- | --- |",
    ]
    for family in FAMILIES:
        head = "none, `--probe`" if family.headless else "its own"
        features = WHY[family.why] if family.features == "no" else HOW[family.features]
        lines.append(f"| {family.name} | `{family.network}` | {head} | {features} |")
    lines += ["", f"Not tried, since they have no small network: {', '.join(NOT_TRIED)}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
