"""A sparse autoencoder of the network's neurons, from a file: its latents as features.

A latent of an image is max(0, e . (r - b_dec) + b_enc), with r the pooled neurons and e its row of the encoder; its map
has the same at each place of the grid. What it adds to the logit of class i, through the decoder, is the latent times
<w_i, d>, with d its row of the decoder: by the mean of that over the class's images latents are ranked, as neurons are
by r_j W_ij.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.builder.discovery.nonlinearity import CONFIGS, ReadAs, read_as_of
from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.names import SAE
from salient_imagenet_data.networks.checkpoint import beside, fetch
from salient_imagenet_data.store.features import Basis
from salient_imagenet_data.store.manifest import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

RELU = ",relu"
"""Behind a file, where the user says that it is of a rectified autoencoder."""
LAYOUTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {"encoder": ("W_enc",), "decoder": ("W_dec",), "latent": ("b_enc",), "before": ("b_dec",)},
    {
        "encoder": ("encoder.weight",),
        "decoder": ("decoder.weight",),
        "latent": ("encoder.bias", "b_enc", "latent_bias"),
        "before": ("bias", "b_dec", "pre_bias"),
        "after": ("decoder.bias",),
    },
)
"""Names of the tensors. W_enc (F, R) and W_dec (R, F), as in SAELens; or layers of torch, encoder.weight (R, F) and
decoder.weight (F, R). `before` is taken off the neurons before they are encoded; `after`, a decoder's own, is not."""


@dataclass(frozen=True, eq=False)
class Sparse:
    """basis: of all R latents. decoder: (R, F) float32. file_sha256: of the file. place: where it is from. read_as:
    what it was taken for."""

    basis: Basis
    decoder: NDArray[np.float32]
    file_sha256: str
    place: str
    read_as: ReadAs

    def to_json(self) -> dict[str, Any]:
        """As a manifest keeps it, beside the basis."""
        return {"file_sha256": self.file_sha256, "read_as": "rectified", "because": self.read_as.ground}


def read_sparse(place: str, neurons: int) -> Sparse:
    """The autoencoder of a safetensors file, or `hf://owner/name/file`, for a network of so many neurons. place: with
    ",relu" behind it where the user says that it is a rectified one.

    Raises SalientError for a file of another layout, tensors that do not fit, or that hold what this does not know,
    such as the thresholds of another kind of autoencoder, for numbers that are not finite, and where `read_as_of` does.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    place, told = (place.removesuffix(RELU), place.endswith(RELU))
    path = fetch(place)
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise SalientError(f"{path}: not a safetensors file", got=str(error)) from error
    read_as = read_as_of(place, [(path.name, json.dumps(metadata)), *_beside(place, path)], told=told)
    layout = next((names for names in LAYOUTS if {names["encoder"][0], names["decoder"][0]} <= set(tensors)), None)
    if layout is None:
        raise SalientError(
            f"{path}: not a sparse autoencoder",
            expected=" or ".join(f"{names['encoder'][0]} and {names['decoder'][0]}" for names in LAYOUTS),
            got=some(sorted(tensors), 5),
        )
    found = {part: next((n for n in names if n in tensors), None) for part, names in layout.items()}
    if left := sorted(set(tensors) - set(found.values())):
        raise SalientError(
            f"{path}: an autoencoder of another kind",
            expected="an encoder and a decoder with their biases, and a rectifier between them",
            got=some(left, 5),
        )
    arrays = {part: _array(tensors[name], f"{path}: {name}") for part, name in found.items() if name is not None}
    for part in ("encoder",) if layout is LAYOUTS[0] else ("decoder",):
        arrays[part] = arrays[part].T
    latents = len(arrays["encoder"])
    wanted = {"encoder": (latents, neurons), "decoder": (latents, neurons), "latent": (latents,), "before": (neurons,)}
    for part, shape in wanted.items():
        if part in arrays and arrays[part].shape != shape:
            raise SalientError(
                f"{path}: {found[part]} does not fit a network of {neurons} neurons",
                expected=f"{shape}, latents and neurons" if len(shape) == 2 else str(shape),
                got=str(arrays[part].shape),
                then="is it of another network, or of another layer?",
            )
    encoder, decoder = (np.ascontiguousarray(arrays[part]) for part in ("encoder", "decoder"))
    bias = arrays.get("latent", np.zeros(latents, dtype=np.float32)).astype(np.float64)
    if "before" in arrays and read_as.centred:
        before = arrays["before"].astype(np.float64)
        bias = bias - np.array([np.sum(row * before) for row in encoder])
    basis = Basis(SAE, latents, np.arange(latents, dtype=np.int64), encoder, bias, bias)
    return Sparse(basis, decoder, file_sha256(path), place, read_as)


def _beside(place: str, path: Path) -> list[tuple[str, str]]:
    """Name and text of each configuration in the folder of a file, on a disk or on the Hub."""
    names = dict.fromkeys((path.with_suffix(".json").name, *CONFIGS))
    files = {name: beside(place, name) for name in names}
    return [(name, file.read_text("utf-8", errors="replace")) for name, file in files.items() if file is not None]


def _array(tensor: Tensor, name: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.float().numpy()
    if not np.isfinite(values).all():
        raise SalientError(f"{name} is not finite", expected="numbers", then="the file is damaged")
    return values
