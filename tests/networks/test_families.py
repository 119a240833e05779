"""One network of each of timm's families, with random weights: its features against its maps."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.openers.timm import timm_preprocessing
from salient_imagenet_data.networks.robust import ImageClassifier
from tests.networks.families import FAMILIES, NOT_TRIED, SAID, Family, page

timm: Any = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_network_of_each_family(family: Family) -> None:
    if not timm.is_model(family.network):
        pytest.skip(f"timm {timm.__version__} has no {family.network}")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = timm.create_model(family.network, pretrained=False, **family.options)
    assert (net.num_classes == 0) == family.headless
    if family.headless:
        net.reset_classifier(5)
    config = timm.data.resolve_model_data_config(net)
    ready = timm_preprocessing(config, family.network)
    if family.size is not None:
        ready = Preprocessing(family.size, family.size)
    if family.features == "no":
        with pytest.raises(SalientError, match=SAID[family.why]):
            ImageClassifier(family.network, net, ready)
        return
    model = ImageClassifier(family.network, net, ready)
    raw: list[torch.Tensor] = []
    net.get_submodule(model.grid.module).register_forward_hook(lambda module, inputs, output: raw.append(output))
    with torch.inference_mode():
        maps, features = model.maps_and_features(torch.rand(1, 3, ready.crop, ready.crop))
        assert maps.shape[:2] == (1, model.weight.shape[1]) and maps.shape[2] == maps.shape[3] > 1
        mean = replace(model.grid, after=()).maps(raw[0], net).mean((2, 3))
        for layer in model.grid.after:
            mean = net.get_submodule(layer.name)(mean.reshape(-1, *layer.shape)).flatten(1)
    near = torch.allclose(mean, features, atol=1e-3 * float(features.abs().max()))
    assert near == (family.features != "token")
    assert bool(model.grid.after) == (family.features == "layers") or family.features == "token"
    assert model.grid.pooled == (family.features == "mean")


def test_every_family_is_in_the_table_or_named_as_not_tried() -> None:
    known = {timm.models._registry._model_to_module[name] for name in timm.list_models()}
    assert known - {family.name.split(" ")[0] for family in FAMILIES} - set(NOT_TRIED) == set()


def test_the_page_is_made_of_the_table() -> None:
    """If it differs: python -m tests.networks.families > docs/backbones.md"""
    assert (DOCS / "backbones.md").read_text(encoding="utf-8") == page()
