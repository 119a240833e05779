"""What is recorded of weights that timm downloads; there is no network here, so it is given a net without them."""

from __future__ import annotations

from typing import Any

import pytest
import timm

from salient_imagenet_data.networks.openers.timm import open_timm


@pytest.mark.parametrize(
    ("name", "recorded"), [("lcnet_050", "lcnet_050.ra2_in1k"), ("test_vit.r160_in1k", "test_vit.r160_in1k")]
)
def test_the_tag_of_the_weights_that_timm_took_is_recorded(
    name: str, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, asked = timm.create_model, []

    def bare(name: str, *, pretrained: bool) -> Any:
        asked.append(pretrained)
        return create(name, pretrained=False)

    monkeypatch.setattr(timm, "create_model", bare)
    assert open_timm(name, None, None).details["pretrained"] == recorded and asked == [True]
