"""The manifest: one JSON file, written last, that says what a store holds and how it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.whole_file import write_text

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """Provenance and contents of a store.

    images: N rows. features_per_class: K. grid: (h, w). shard_rows: rows of one shard; shard i holds rows i *
    shard_rows up to the next multiple or N. files: sha256 by path below the store. edition: `full`, or `top65` with the
    top images of each pair only. precision, decoder: of the network's layers and of the images. compiled: the network
    ran through torch.compile, which rounds otherwise. made_of: sha256 of all that decides what is built. origin: of a
    store that was not built but imported, where its masks come from and what the import measured; else empty.
    """

    class_names: tuple[str, ...]
    images: int
    features_per_class: int
    grid: tuple[int, int]
    shard_rows: int
    split: str
    preprocessing: Preprocessing
    group_by: str
    top_images: int
    weights_sha256: str
    architecture: str
    feature_count: int
    quarantined: int
    annotations_sha256: str | None
    majority: int
    versions: dict[str, str]
    files: dict[str, str]
    edition: str = "full"
    precision: str = "fp32"
    compiled: bool = False
    made_of: str | None = None
    decoder: str = "pillow"
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)
    data_version: str = "1.0.0"
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str, name: str) -> Manifest:
        """Raises SalientError if the text is not a manifest of this format version."""
        try:
            fields: dict[str, Any] = json.loads(text)
            version = fields["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise SalientError(f"{name}: not a store manifest", got=str(error)) from error
        if version != FORMAT_VERSION:
            raise SalientError(
                f"{name}: store format this package cannot read",
                expected=f"format version {FORMAT_VERSION}",
                got=str(version),
                then="install the package version that made it",
            )
        try:
            fields["preprocessing"] = Preprocessing(**fields["preprocessing"])
            fields["class_names"], fields["grid"] = tuple(fields["class_names"]), tuple(fields["grid"])
            return Manifest(**fields)
        except (KeyError, TypeError) as error:
            raise SalientError(f"{name}: manifest fields missing or unknown", got=str(error)) from error


def not_finished(place: object, *, stopped: bool) -> SalientError:
    """The error for a place without a manifest. stopped: a build has begun there."""
    if stopped:
        return SalientError(
            f"{place}: not a finished store",
            got="a build that was stopped",
            then="go on with `salient-imagenet build ... --resume`",
        )
    return SalientError(
        f"{place}: not a store",
        expected=f"a folder with {MANIFEST}",
        got="none there",
        then="check the path, or make a store with `salient-imagenet build`",
    )


def check_version(data_version: str) -> None:
    """Raise SalientError unless it is a semantic version of three numbers, as `datasets` and the Hub's tags want it."""
    if re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", data_version) is None:
        raise SalientError("data version", expected="three numbers such as 1.0.0", got=repr(data_version))


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write under a temporary name, then rename: a manifest is there whole or not at all."""
    write_text(folder / MANIFEST, manifest.to_json())
