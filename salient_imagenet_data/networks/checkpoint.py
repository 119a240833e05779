"""Checkpoint files: where they come from, and reading their tensors without running anything in them.

Files are safetensors, or torch files read with `weights_only=True` and a short list of harmless types. The
robustness library wraps the network in an attacker and a normaliser and keeps optimiser state and pickled options
beside it; `load_into` finds the network's own tensors among all that. Needs torch, which is loaded on first use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub_errors import cached_where_offline
from salient_imagenet_data.store.manifest import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

    from salient_imagenet_data.networks.normalisers import Normaliser
    from salient_imagenet_data.networks.openers.corrected import Correction


CONTAINERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the tensors, in the order of looking."""
CLASS_NAMES = "class_names"
"""Metadata of a safetensors file that names the outputs of the network, a JSON list."""
HEADER = ("widths", "blocks", "stem_stride", "class_names", "resize", "crop")
"""What `salient-imagenet train` writes into a file about its network."""
PROBE = "probe"
"""Under which `build --probe` notes in a file how its head was fitted."""

INERT = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "cox.utils.Parameters",
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    ),
    "uuid.UUID",
    "decimal.Decimal",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "frozenset", "int", "list", "slice", "str", "tuple")),
)
"""Types of extras that are plain data and that nobody reads: options, places, times, arrays, a dictionary's factory."""


class _Inert:
    """Stands in for the types of `INERT`: takes any arguments and state, keeps nothing and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __call__(self, *args: object, **kwargs: object) -> None: ...


def _default_dict(*args: object) -> dict[Any, Any]:
    """A plain dictionary: the factory is not kept."""
    return {}


def _allowed() -> list[Any]:
    """Names beyond torch's own list that checkpoints hold, each with what stands in for it."""
    return [(_default_dict, "collections.defaultdict"), *((_Inert, name) for name in INERT)]


@dataclass(frozen=True)
class Checkpoint:
    """tensors: by name, as in the file. header: the JSON that `salient-imagenet train` wrote, if it did. class_names:
    of the outputs, where the file says them (`weights.save_network`). probe: what `build --probe` wrote about the head
    that it fitted, if it did. normaliser: of a published network, for tensors that hold none. correction: what
    `salient-imagenet spufix` put on the head, apart from the tensors."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    header: dict[str, Any] | None
    class_names: tuple[str, ...] | None = None
    probe: dict[str, Any] | None = None
    normaliser: Normaliser | None = None
    correction: Correction | None = None


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
        with cached_where_offline(f"{weights}: cannot be downloaded"):
            return Path(hf_hub_download(match["repo"], match["file"], revision=revision or match["revision"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise SalientError(
            f"{weights}: cannot be downloaded", got=f"{type(error).__name__}: {error}"[:300], then="give a local file"
        ) from error


def beside(weights: str, name: str) -> Path | None:
    """A file in the folder of another, `fetch`ed likewise; None where it is not there, and where the Hub cannot be
    reached and its cache has none. Raises SalientError where the Hub fails to say."""
    from huggingface_hub.errors import EntryNotFoundError

    folder, _, file = weights.rpartition("/")
    if not weights.startswith("hf://"):
        path = Path(weights).parent / name
        return path if path.is_file() else None
    _, at, revision = file.partition("@")
    try:
        return fetch(f"{folder}/{name}{at}{revision}")
    except SalientError as error:
        if isinstance(error.__cause__, EntryNotFoundError):  # of which what the cache lacks is one
            return None
        raise


def read_checkpoint(path: Path, *, sha256: str | None = None, known: str | None = None) -> Checkpoint:
    """Read the tensors of a file. sha256: that it must have. known: the one that it has, where that was just found.

    Raises SalientError for another hash, or anything that is not plain tensors.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    from salient_imagenet_data.networks.openers.corrected import parted

    digest = known or file_sha256(path)
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
        header, probe = _header(metadata, path), _probe(metadata, path)
        names = _class_names(metadata, path)
        if probe is not None:
            names = tuple(map(str, probe.get(CLASS_NAMES, ()))) or None
        tensors, correction = parted(tensors, str(path))
        return Checkpoint(path, digest, tensors, header, names, probe, correction=correction)
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


def _class_names(metadata: dict[str, str], path: Path) -> tuple[str, ...] | None:
    if CLASS_NAMES not in metadata:
        return None
    names = _json(metadata[CLASS_NAMES])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SalientError(f"{path}: {CLASS_NAMES} in its metadata cannot be read", expected="a JSON list of texts")
    return tuple(names)


def _probe(metadata: dict[str, str], path: Path) -> dict[str, Any] | None:
    """What `build --probe` wrote. Raises SalientError for a note that is not its own."""
    if PROBE not in metadata:
        return None
    note = _json(metadata[PROBE])
    if not isinstance(note, dict):
        raise SalientError(f"{path}: its note {PROBE!r} is not of `build --probe`", expected="a JSON object")
    return note


def _json(text: str) -> Any:
    """What a text of JSON says; None for any other text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reason(error: Exception) -> str:
    """What torch refused, in our words: the type it names, or that it is no torch file."""
    named = re.search(r"(?:GLOBAL|function|but got) (?:<(?:class|function|built-in function) )?'?([\w.]+)", str(error))
    return f"a {named[1]}, which is no plain data" if named else "no file of torch.save, or a damaged one"


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
