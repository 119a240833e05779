"""Bytes of crops as numbers in [0, 1]."""

from __future__ import annotations

import pytest
import torch

from salient_imagenet_data.networks.pixels import unit_images


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("lying", [torch.contiguous_format, torch.channels_last])
def test_numbers_and_layout_whatever_way_the_crops_lie(lying: torch.memory_format, layout: torch.memory_format) -> None:
    crops = torch.arange(2 * 5 * 5 * 3, dtype=torch.uint8).reshape(2, 5, 5, 3)
    given = crops.permute(0, 3, 1, 2).contiguous(memory_format=lying).permute(0, 2, 3, 1)
    x = unit_images(given, layout)
    assert x.shape == (2, 3, 5, 5) and x.dtype == torch.float32 and x.is_contiguous(memory_format=layout)
    assert all(
        x[i, c, y, z] == torch.tensor(int(crops[i, y, z, c])) / 255 for i, c, y, z in ((0, 1, 2, 3), (1, 2, 4, 0))
    )
    assert torch.equal(given, crops)
