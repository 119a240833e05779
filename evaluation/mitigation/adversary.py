"""The discriminator of the loss "adversarial" [Viviano et al. 2021, "Saliency is a possible red herring"].

D tells the features h(x) of images from those h(x~) of the same images with the pixels outside the core permuted. On
each batch it first learns, on features without gradients, by one step of Adam on

    -log D(h(x)) - log(1 - D(h(x~)))

and then the network is asked to deceive it: -log(1 - D(h(x))) - log D(h(x~)), an image, with D as it is. Where D cannot
tell, that is 2 log 2. Shape and rate are those of the paper's code: three layers of 1024 with spectral normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS, RATE = (1024, 1024, 1024), 1e-4


class Adversary:
    """A discriminator of features. inputs: how many features. like: whose device and type of numbers it takes. seed: of
    its first weights."""

    def __init__(self, inputs: int, like: Tensor, seed: int, widths: tuple[int, ...] | None = None) -> None:
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for width in WIDTHS if widths is None else widths:
                layers += [spectral_norm(nn.Linear(inputs, width)), nn.ReLU()]
                inputs = width
            self.net = nn.Sequential(*layers, nn.Linear(inputs, 1)).to(like.device, like.dtype)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=RATE)

    def learn(self, own: Tensor, other: Tensor) -> float:
        """One step on features (b, F) of images and of the same images permuted; the loss before it."""
        self.net.train().requires_grad_(True)
        says = self.net(torch.cat([own, other]).detach())[:, 0]
        loss = F.softplus(-says[: len(own)]).mean() + F.softplus(says[len(own) :]).mean()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())

    def deceived(self, own: Tensor, other: Tensor) -> Tensor:
        """(b,) >= 0, the network's loss: how sure it is which is which. Gradients are with respect to the features."""
        self.net.eval().requires_grad_(False)
        return F.softplus(self.net(own)[:, 0]) + F.softplus(-self.net(other)[:, 0])
