"""Devices by their names."""

from __future__ import annotations

import pytest
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.devices import check_device, default_batch_size, device_of


def test_a_device_is_given_back_if_it_can_be_used() -> None:
    assert check_device("cpu") == "cpu" and check_device(None) == device_of(None)
    with pytest.raises(SalientError, match="device 'cuad' cannot be used; expected cpu, cuda or cuda:N; got another"):
        check_device("cuad")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is to be refused")
def test_a_device_that_is_not_here_is_refused_before_anything_is_read() -> None:
    with pytest.raises(SalientError, match="device 'cuda:0' cannot be used"):
        check_device("cuda")


def test_a_cpu_takes_as_many_pixels_at_once_as_its_caches_hold() -> None:
    assert [default_batch_size("cpu", crop) for crop in (32, 112, 224, 448)] == [64, 32, 8, 8]
    assert default_batch_size("cuda:1", 448) == 64
