"""Published subsets of ImageNet by wnid folders, as their archives lay them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salient_imagenet_data.imagenet import wnids
from tests.subsets.networks import TEN


@dataclass(frozen=True)
class Layout:
    """names: the class folders. folder: of the images below the root, for `--split`. file: what an image is called.
    beside: files that the published archive has beside the folders."""

    names: Sequence[str]
    folder: str
    file: str
    beside: Sequence[str] = ()


LAYOUTS = {
    "imagenette": Layout(TEN, "train", "{wnid}_{k}.JPEG", ("noisy_imagenette.csv",)),
    "imagenet-100": Layout(wnids()[3::10], "train", "{wnid}_{k}.JPEG", ("Labels.json",)),
    "the 232 of the release": Layout(wnids()[1:929:4], "train", "{wnid}_{k}.JPEG"),
    "imagenet-r": Layout(wnids()[2::5], ".", "art_{k}.jpg", ("README.txt",)),
    "imagenet-a": Layout(wnids()[4::5], ".", "0.00{k}_digital clock _ dial_0.86.jpg", ("README.txt",)),
    "hard imagenet": Layout(wnids()[400:550:10], "val", "ILSVRC2012_val_{k:08d}_{wnid}.JPEG"),
    "rival10, two a class": Layout(wnids()[250:450:10], "train", "{wnid}_{k}.JPEG"),
}
