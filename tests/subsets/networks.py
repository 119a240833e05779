"""What tests of subsets of ImageNet share: small trees by wnid folders in published layouts, and networks that know all
thousand classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel, save_smallnet

SIDE = 32
TEN = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)
"""Imagenette's classes."""
NEIGHBOURS = {"n01440764": "n01443537", "n03028079": "n03877845", "n03888257": "n04592741"}
"""By class, another of ImageNet's that the tests' network takes half of its images for."""


def picture(wnid: str, seed: int) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): stripes of a colour and a width that are the class's, on noise."""
    own = np.random.default_rng(int(wnid[1:]))
    colour, width, across = own.integers(40, 216, 3), int(own.integers(2, 7)), bool(own.integers(2))
    noise = np.random.default_rng([int(wnid[1:]), seed]).integers(-30, 31, (SIDE, SIDE, 3))
    stripes = (np.arange(SIDE) // width % 2)[:, None, None] * np.ones((1, SIDE, 1))
    stripes = stripes if across else stripes.transpose(1, 0, 2)
    return np.clip(stripes * colour + (1 - stripes) * 128 + noise, 0, 255).astype(np.uint8)


def write_tree(folder: Path, names: Sequence[str], images: int, file: str, *, first: int = 0) -> Path:
    """Folders called by wnids, with images called by `file`, a format of wnid and number."""
    for wnid in names:
        (folder / wnid).mkdir(parents=True, exist_ok=True)
        for k in range(first, first + images):
            Image.fromarray(picture(wnid, k)).save(folder / wnid / file.format(wnid=wnid, k=k), format="PNG")
    return folder


def knowing_network(names: Sequence[str] = TEN, images: int = 6) -> SmallNet:
    """A network of 1000 outputs in ImageNet's order that answers by the nearest mean of its features over images of
    some classes. It takes some images for neighbours that are not among them; no other class is ever answered."""
    torch.manual_seed(1)
    net = SmallNet(SmallNetConfig(1000, (12, 24), 1, 2)).eval()
    with torch.no_grad():
        means = {}
        for wnid in names:
            x = torch.from_numpy(np.stack([picture(wnid, 1000 + k) for k in range(images)])).permute(0, 3, 1, 2) / 255
            means[wnid] = net.maps(x).mean(dim=(2, 3)).mean(dim=0)
        centre = torch.stack(list(means.values())).mean(dim=0)
        spread = (torch.stack(list(means.values())) - centre).square().sum(dim=1).mean()
        net.head.weight.mul_(0.001)
        net.head.bias.fill_(-1000.0)
        for wnid, mean in means.items():
            row = 40 * (mean - centre) / spread
            for known in (wnid, NEIGHBOURS.get(wnid)):
                if known is not None:
                    index = wnids().index(known)
                    net.head.weight[index] = row
                    net.head.bias[index] = -(row * (mean + centre) / 2).sum()
            if wnid in NEIGHBOURS:  # the same but for a direction that images of the class lie along by chance
                index = wnids().index(NEIGHBOURS[wnid])
                tilt = torch.randn(len(row), generator=torch.Generator().manual_seed(index)) / spread.sqrt()
                net.head.weight[index] += tilt
                net.head.bias[index] -= (tilt * mean).sum()
    return net


def write_network(path: Path, net: SmallNet, class_names: tuple[str, ...] = wnids()) -> Path:
    """As `salient-imagenet train` writes it."""
    save_smallnet(SmallNetModel(net, Preprocessing(SIDE, SIDE), class_names), path)
    return path


def logits_of(net: SmallNet, folder: Path) -> tuple[list[str], NDArray[np.float32]]:
    """The wnid of each image below a folder, in the order of paths, and the network's logits: nothing of this package's
    reading or scoring in it."""
    files = sorted(folder.glob("*/*.*"))
    x = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    with torch.inference_mode():
        found = net(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255)
    return [file.parent.name for file in files], found.numpy()
