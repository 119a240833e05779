"""Ensembles and input dropout as classifiers: mean probabilities, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.sufficiency.classifiers import (
    MASKS,
    InputDropout,
    ensemble_of,
    with_input_dropout,
)
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return SmallNet(SmallNetConfig(3, (4, 6), 1, 2)).eval().requires_grad_(False)


def test_an_ensemble_has_the_mean_probability() -> None:
    members = [Classifier(f"m{k}", network(k), Preprocessing(16, 16), {"seed": k}, True) for k in range(3)]
    found, x = ensemble_of(members), torch.rand(4, 3, 16, 16)
    mean = torch.stack([m.model(x).softmax(1) for m in members]).mean(0)
    assert torch.allclose(found.model(x).softmax(1), mean, atol=1e-6)
    assert torch.allclose(found.model(x).exp(), mean, atol=1e-6), "log probabilities, so that p / (1 - p) is right too"
    assert (found.name, found.preprocessing, found.channels_last) == ("ensemble of 3", Preprocessing(16, 16), True)
    assert [each["name"] for each in found.details["of"]] == ["m0", "m1", "m2"]
    with pytest.raises(SalientError, match="ensemble; expected two or more models; got 1"):
        ensemble_of(members[:1])
    with pytest.raises(SalientError, match="ensemble: big wants its images otherwise than m0"):
        ensemble_of([members[0], Classifier("big", network(4), Preprocessing(32, 32))])
    with pytest.raises(SalientError, match="f: expected a network; got function"):
        ensemble_of([members[0], Classifier("f", lambda x: x, Preprocessing(16, 16))])


def test_input_dropout_averages_over_fixed_masks() -> None:
    net, x, fill = network(0), torch.rand(2, 3, 16, 16), (0.1, 0.2, 0.3)
    found = with_input_dropout(Classifier("m", net, None, {"spec": "s"}), 0.2, 16, fill, seed=7)
    dropped = found.model
    assert isinstance(dropped, InputDropout) and dropped.kept.shape == (MASKS, 1, 16, 16)
    assert 0.7 < float(dropped.kept.float().mean()) < 0.9
    by_hand = []
    for kept in dropped.kept:
        shown = x.clone()
        for channel, value in enumerate(fill):
            shown[:, channel][:, ~kept[0]] = value
        by_hand.append(net(shown).softmax(1))
    assert torch.allclose(dropped(x).exp(), torch.stack(by_hand).mean(0), atol=1e-6)
    assert torch.equal(dropped(x), with_input_dropout(Classifier("m", net), 0.2, 16, fill, seed=7).model(x))
    assert not torch.equal(dropped(x), with_input_dropout(Classifier("m", net), 0.2, 16, fill, seed=8).model(x))
    assert found.details["input_dropout"] == {"probability": 0.2, "masks": 4, "fill": [0.1, 0.2, 0.3], "seed": 7}
    for probability in (0.0, 1.0, float("nan")):
        with pytest.raises(SalientError, match="input dropout; expected a probability above 0 and below 1"):
            with_input_dropout(Classifier("m", net), probability, 16, fill)
