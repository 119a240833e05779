"""Which published result is of which network: a wrong one would be believed."""

from __future__ import annotations

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.published.joining import Joined, check_same_as, joined
from salient_imagenet_data.evaluation.published.tables import Key, Shift

NAMES = ("lite0.in1k", "resnet50.a1_in1k", "resnet50.tv_in1k", "plain")
PAIRS = {Key(name, 224): (0.7, 0.3) for name in NAMES} | {Key("vit.a", s): (0.8, 0.4) for s in (224, 384)}
SHIFTS = (Shift("S", "ImageNet", False, PAIRS, 0, ()),)


def of(spec: str, weights: str | None = None, crop: int | None = 224) -> dict[str, object]:
    return {"spec": spec, "weights_sha256": weights, "preprocessing": {"crop": crop}}


def test_models_of_timm_with_its_own_weights_are_joined_by_name_and_size() -> None:
    models = {
        "exact": of("timm:resnet50.tv_in1k"),
        "no tags": of("timm:plain"),
        "one tag": of("timm:lite0"),
        "tag recorded": {**of("timm:resnet50"), "pretrained": "resnet50.a1_in1k"},
        "large": of("timm:vit.a", crop=384),
        "other size": of("timm:lite0.in1k", crop=288),
        "crop not known": {"spec": "timm:plain"},
        "on the Hub": of("timm:hf-hub:timm/resnet50.a1_in1k"),
        "resnet50.tv_in1k": {"name": "resnet50.tv_in1k"},
    }
    found, missing = joined(models, SHIFTS, {})
    assert missing == {} and {ours: one.key for ours, one in found.items()} == {
        "exact": Key("resnet50.tv_in1k", 224),
        "no tags": Key("plain", 224),
        "one tag": Key("lite0.in1k", 224),
        "tag recorded": Key("resnet50.a1_in1k", 224),
        "large": Key("vit.a", 384),
        "other size": Key("lite0.in1k", 224),
        "crop not known": Key("plain", 224),
        "on the Hub": Key("resnet50.a1_in1k", 224),
        "resnet50.tv_in1k": Key("resnet50.tv_in1k", 224),
    }
    assert [found[ours].note for ours in ("tag recorded", "resnet50.tv_in1k", "one tag", "other size")] == [
        "",
        "resnet50.tv_in1k by its name alone",
        "timm:lite0 taken for lite0.in1k, the only one of its name",
        "published at 224 pixels, evaluated at 288",
    ]


def test_what_may_be_another_network_is_not_joined_and_says_why() -> None:
    """A robust network of timm's layout with weights of its own is not what timm's table measured."""
    models = {
        "own weights": of("timm:lite0.in1k", "f" * 64),
        "two tags": of("timm:resnet50"),
        "other tag": of("timm:resnet50.b_in1k"),
        "unknown": of("timm:nothing"),
        "another library": of("torchvision:resnet50"),
        "a stranger's": {"name": "x"},
        "plain": of("torchvision:plain"),
        "of another owner": of("timm:hf-hub:somebody/resnet50.a1_in1k"),
        "other sizes": of("timm:vit.a", crop=256),
    }
    found, missing = joined(models, SHIFTS, {})
    assert found == {} and missing == {
        "own weights": "timm:lite0.in1k with weights of its own, which need not be timm's",
        "two tags": "timm:resnet50 may be any of resnet50.a1_in1k, resnet50.tv_in1k",
        "other tag": "resnet50.b_in1k stands in no table, or not in both of a shift",
        "unknown": "nothing stands in no table, or not in both of a shift",
        "another library": "torchvision:resnet50 is not timm's",
        "a stranger's": "nothing says which network it is",
        "plain": "torchvision:plain is not timm's",
        "of another owner": "hf-hub:somebody/resnet50.a1_in1k stands in no table, or not in both of a shift",
        "other sizes": "vit.a is published at 224, 384 pixels, and evaluated at 256",
    }


def test_what_the_user_says_goes_before() -> None:
    models = {"ours": of("torchvision:resnet50", "f" * 64), "mine": of("timm:lite0.in1k")}
    found, missing = joined(models, SHIFTS, {"ours": "resnet50.tv_in1k", "mine": "plain"})
    assert missing == {}
    assert found == {"ours": Joined(Key("resnet50.tv_in1k", 224), ""), "mine": Joined(Key("plain", 224), "")}
    check_same_as({"ours": "plain"}, ("ours",), SHIFTS)
    with pytest.raises(SalientError, match="--as his=plain: no such evaluation; expected one of ours, mine"):
        check_same_as({"his": "plain"}, ("ours", "mine"), SHIFTS)
    with pytest.raises(
        SalientError, match=r"no table has this model; expected such as resnet50\.a1_in1k, resnet50\.tv"
    ):
        check_same_as({"ours": "resnet50"}, ("ours",), SHIFTS)
