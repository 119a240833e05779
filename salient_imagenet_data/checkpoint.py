"""Checkpoint files: where they come from, and reading their tensors without running anything in them.

Files are safetensors, or torch files read with `weights_only=True` and a short list of harmless types. The
robustness library wraps the network in an attacker and a normaliser and keeps optimiser state and pickled options
beside it; `load_into` finds the network's own tensors among all that. Needs torch, which is loaded on first use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.manifest import file_sha256
from salient_imagenet_data.whole_file import write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

CONTAINERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the tensors, in the order of looking."""
BESIDE = ("normalizer.", "attacker.")
"""Modules of the robustness library that may stand beside the network's own tensors."""
HEADER = ("widths", "blocks", "stem_stride", "class_names", "resize", "crop")
"""What `salient-imagenet train` writes into a file about its network."""
COUNTER = "num_batches_tracked"
"""Of newer batch normalisation, unused in evaluation; older files do not have it."""


class _Inert:
    """Stands in for option objects (argparse namespaces, cox parameters): takes any state and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __call__(self, *args: object, **kwargs: object) -> None: ...


def _allowed() -> list[Any]:
    """Pickled types beyond torch's own list that robust checkpoints hold; all are plain data."""
    scalar = np.float64(0).__reduce__()[0]  # numpy's scalar constructor, whatever module holds it
    numpy_types = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    scalars: list[Any] = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    inert: list[Any] = [(_Inert, name) for name in ("argparse.Namespace", "cox.utils.Parameters")]
    return [*scalars, *inert, np.dtype, *numpy_types]


@dataclass(frozen=True)
class Checkpoint:
    """tensors: by name, as in the file. header: the JSON that `salient-imagenet train` wrote, if it did."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    header: dict[str, Any] | None


def fetch(weights: str, *, revision: str | None = None) -> Path:
    """A local file as it is, or `hf://owner/name/file[@revision]` from the Hub's cache, downloaded once.

    Raises SalientError with the reason if it cannot be had.
    """
    if not weights.startswith("hf://"):
        path = Path(weights)
        if not path.is_file():
            raise SalientError(f"{path}: no such file", expected="weights, .safetensors or a torch file, or hf://...")
        return path
    match = re.fullmatch(r"hf://(?P<repo>[^/]+/[^/]+)/(?P<file>[^@]+)(?:@(?P<revision>.+))?", weights)
    if match is None:
        raise SalientError(f"{weights}: not an address on the Hub", expected="hf://owner/name/file[@revision]")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(match["repo"], match["file"], revision=revision or match["revision"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise SalientError(
            f"{weights}: cannot be downloaded", got=f"{type(error).__name__}: {error}"[:300], then="give a local file"
        ) from error


def read_checkpoint(path: Path, *, sha256: str | None = None) -> Checkpoint:
    """Read the tensors of a file. Raises SalientError for another hash, or anything that is not plain tensors."""
    import torch
    from safetensors import SafetensorError, safe_open

    digest = file_sha256(path)
    if sha256 is not None and digest != sha256.lower():
        raise SalientError(
            f"{path}: not the weights that were asked for", expected=f"sha256 {sha256.lower()}", got=digest
        )
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise SalientError(f"{path}: not a safetensors file", got=str(error)) from error
        if not tensors:
            raise SalientError(f"{path}: no tensors in it", expected="a state dict")
        return Checkpoint(path, digest, tensors, _header(metadata, path))
    try:
        with torch.serialization.safe_globals(_allowed()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several unrelated types for a file it refuses
        raise SalientError(
            f"{path}: not a torch file of plain tensors",
            got=_reason(error),
            then="give a checkpoint, or convert it to safetensors",
        ) from error
    return Checkpoint(path, digest, _tensors(loaded, path), None)


def _header(metadata: dict[str, str], path: Path) -> dict[str, Any] | None:
    """What `salient-imagenet train` wrote, all of it, or None if it did not."""
    if "smallnet" not in metadata:
        return None
    try:
        header: dict[str, Any] = json.loads(metadata["smallnet"])
        return {key: header[key] for key in HEADER}
    except (ValueError, KeyError, TypeError) as error:
        raise SalientError(
            f"{path}: not a whole header of `salient-imagenet train`", expected=", ".join(HEADER), got=str(error)
        ) from error


def _reason(error: Exception) -> str:
    """What torch says it refused: the type it names, or that it is no torch file."""
    found = re.search(r"Unsupported (?!operand)[^\n]*|(?:GLOBAL|Trying to)[^\n]*", str(error))
    return found[0][:300] if found else "no file of torch.save, or a damaged one"


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    if isinstance(loaded, dict):
        inner = [value for key in CONTAINERS if isinstance(value := loaded.get(key), dict)]
        deeper = [value for outer in inner for key in CONTAINERS if isinstance(value := outer.get(key), dict)]
        for candidate in (*inner, *deeper, loaded):
            tensors = {str(k): v for k, v in candidate.items() if isinstance(v, Tensor)}
            if tensors:
                return tensors
    raise SalientError(
        f"{path}: no state dict",
        expected=f"tensors by name, at the top or under {', '.join(CONTAINERS)}",
        got=type(loaded).__name__,
    )


def prefix_of(names: Collection[str], anchor: str, checkpoint: Checkpoint) -> str:
    """What stands before a network's own tensor names, such as `module.model.`: that under which fewest are missing.

    names: the network's tensors. anchor: one of them that must be there. Raises SalientError if it is not.
    """
    found = [key.removesuffix(anchor) for key in checkpoint.tensors if key == anchor or key.endswith(f".{anchor}")]
    if not found:
        raise SalientError(
            f"{checkpoint.path}: weights of another network",
            expected=f"a tensor {anchor}",
            got=f"{len(checkpoint.tensors)} tensors such as {next(iter(checkpoint.tensors))}",
            then="is it another architecture, or a backbone without its head?",
        )
    return min(found, key=lambda prefix: (sum(prefix + name not in checkpoint.tensors for name in names), len(prefix)))


def load_into(net: nn.Module, checkpoint: Checkpoint, architecture: str, *, prefix: str | None = None) -> None:
    """Load every tensor of a network, whatever stands before their names, and check that there are no others there.

    prefix: before the names; by default found. Raises SalientError naming the first that is missing, misshapen or over.
    """
    own = net.state_dict()
    if prefix is None and not own:
        raise SalientError(f"{architecture}: nothing to load into", expected="a network with weights")
    if prefix is None:
        prefix = prefix_of(own, next(name for name in reversed(own) if not name.endswith(COUNTER)), checkpoint)
    tensors = {key.removeprefix(prefix): value for key, value in checkpoint.tensors.items() if key.startswith(prefix)}
    for name, value in own.items():
        if name not in tensors and name.endswith(COUNTER):
            continue
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if got != tuple(value.shape):
            raise SalientError(
                f"{checkpoint.path}: weights do not fit {architecture}",
                expected=f"{prefix}{name} of shape {tuple(value.shape)}",
                got=str(got),
                then="are they of another architecture, or of other classes?",
            )
    unknown = sorted(name for name in tensors if name not in own and not name.startswith(BESIDE))
    if unknown:
        raise SalientError(
            f"{checkpoint.path}: weights do not fit {architecture}",
            expected="no other tensors than the network's",
            got=", ".join(prefix + name for name in unknown[:3]),
            then="are they of another architecture?",
        )
    net.load_state_dict({name: tensors[name] for name in own if name in tensors}, strict=False)


def save_network(net: nn.Module, path: Path, mean: Tensor | None = None, std: Tensor | None = None) -> None:
    """Write a network's tensors to safetensors, whole or not at all, so that `load_into` reads them back.

    mean, std: three numbers each, of the normalisation in front of it, kept as `normaliser` reads them.
    """
    from safetensors.torch import save

    # Clones, because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in net.state_dict().items()}
    if mean is not None and std is not None:
        tensors |= {
            "normalizer.new_mean": mean.cpu().flatten().double(),
            "normalizer.new_std": std.cpu().flatten().double(),
        }
    write_bytes(path, save(tensors))


def normaliser(checkpoint: Checkpoint) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation of the robustness library's normaliser, three numbers each, where the file has them."""
    found = []
    for name in ("new_mean", "new_std"):
        keys = sorted((k for k in checkpoint.tensors if k.endswith(f"normalizer.{name}")), key=len)
        if not keys or checkpoint.tensors[keys[0]].numel() != 3:
            return None
        found.append(tuple(checkpoint.tensors[keys[0]].flatten().double().tolist()))
    return found[0], found[1]
