"""Checkpoints in the layouts that training code writes."""

from __future__ import annotations

import torch


def robustness_checkpoint(net: torch.nn.Module, **extras: object) -> dict[str, object]:
    """The layout of the robustness library: network, attacker around it and normaliser, wrapped for several devices."""
    state = {f"module.model.{k}": v for k, v in net.state_dict().items()}
    state |= {f"module.attacker.model.{k}": v for k, v in net.state_dict().items()}
    for owner in ("module.", "module.attacker."):
        state[f"{owner}normalizer.new_mean"] = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
        state[f"{owner}normalizer.new_std"] = torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return {"model": state, "optimizer": optimiser.state_dict(), "schedule": None, "epoch": 90, "amp": None, **extras}
