"""Writing a network so that it is read back as it was opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.classifiers import Normalised, Reordered
from salient_imagenet_data.networks.opening import OPENERS
from salient_imagenet_data.networks.smallnet import SmallNetModel, save_smallnet
from salient_imagenet_data.networks.weights import save_network
from salient_imagenet_data.whole_file import check_new


def check_out(path: Path, overwrite: bool = False, option: str = "--out") -> None:
    """Before the work is done: raises SalientError for a file of weights that could not be written, or not be read
    again, or that is there already, unless `overwrite`. option: where its name is from."""
    if path.suffix != ".safetensors":
        raise SalientError(f"{path}: weights are written as safetensors", expected="a name that ends in .safetensors")
    check_new(path, overwrite, option=option)


def save_as_read(
    network: nn.Module, out: Path, model: str | None = None, class_names: Sequence[str] | None = None
) -> None:
    """Write a network as the file that it could have been read from, with the same spec `model`, or None for weights
    alone. class_names: of its own outputs, in their order, where they are known."""
    if isinstance(network, Reordered):  # the file's order is the network's own
        network = network.net
    own = model is not None and model.partition(":")[0] not in OPENERS  # a function's network is read as it is
    if not own and isinstance(network, SmallNetModel):
        save_smallnet(network, out)
    elif not own and isinstance(network, Normalised):
        save_network(network.net, out, network.mean, network.std, class_names)
    else:
        save_network(network, out, class_names=class_names)
