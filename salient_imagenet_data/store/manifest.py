"""The manifest: one JSON file, written last, that says what a store holds and how it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import reprlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.places import or_on_the_hub
from salient_imagenet_data.store.checks.fields import MOST_PIXELS, RULES, is_whole, parse_field
from salient_imagenet_data.whole_file import write_text

FORMAT_VERSION = 1
OWN_SHA256 = "sha256"
"""Key of the manifest's own sha256, over its other fields as JSON without blanks and with sorted keys."""


@dataclass(frozen=True)
class Manifest:
    """Provenance and contents of a store.

    images: N rows. features_per_class: K. grid: (h, w). shard_rows: rows of one shard; shard i holds rows i *
    shard_rows up to the next multiple or N. files, sizes: sha256 and bytes by path below the store. edition: `full`,
    or `top65` with the top images of each pair only. precision, decoder: of the network's layers and of the images.
    compiled: the network ran through torch.compile, which rounds otherwise. made_of: sha256 of all that decides what is
    built. origin: of a store that was not built but imported, where its masks come from and what the import measured;
    else empty. likenesses: of up to 32 images by id, the picture in 8 x 8 gray cells in hex, which joining compares
    (`images.likeness`); empty where the store was made without its images. network: of a store that was built, what was
    opened: spec, library, network_sha256, normalisation, how classes were matched, and where it knows others too, among
    what its predictions are and how many are of these; and the store whose pairs were taken; else empty. robustness: of
    that network, as `builder.robustness` measured it, over all its outputs; empty where it was not. generalisation:
    whether the answers hold for images of lower ranks, as `annotation.verdicts.Generalised` has it; empty where that
    was not asked. left_out: how many images were left out of ranking and top images on request, and the sha256 of their
    ids (`ranking.left_out`); empty where none were. Raises SalientError, naming the field, for a value that cannot be.
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
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    edition: str = "full"
    precision: str = "fp32"
    compiled: bool = False
    made_of: str | None = None
    decoder: str = "pillow"
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)
    likenesses: dict[str, str] = dataclasses.field(default_factory=dict)
    network: dict[str, Any] = dataclasses.field(default_factory=dict)
    robustness: dict[str, Any] = dataclasses.field(default_factory=dict)
    generalisation: dict[str, Any] = dataclasses.field(default_factory=dict)
    left_out: dict[str, Any] = dataclasses.field(default_factory=dict)
    data_version: str = "1.0.0"
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            parse_field(field.name, getattr(self, field.name))
        if self.files.keys() != self.sizes.keys():
            differ = sorted(self.files.keys() ^ self.sizes.keys())
            raise SalientError("fields files and sizes", expected="the same files in both", got=differ[0])

    def to_json(self) -> str:
        """As it is stored: with a sha256 of its own, over all other fields."""
        fields = dataclasses.asdict(self)
        return json.dumps({**fields, OWN_SHA256: _own_sha256(fields)}, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str, name: str) -> Manifest:
        """Raises SalientError if the text is no manifest of this format version, is damaged, or holds what cannot be.

        A text on a single line is not as we write it: another program has changed it on purpose, and its own sha256
        says nothing. That is told on stderr.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            version = fields["format_version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SalientError(f"{name}: not a store manifest", got=str(error)) from error
        if version != FORMAT_VERSION:
            raise SalientError(
                f"{name}: store format this package cannot read",
                expected=f"format version {FORMAT_VERSION}",
                got=str(version),
                then="install the package version that made it",
            )
        said = fields.pop(OWN_SHA256, None)
        if "\n" not in text.strip():
            print(f"{name}: rewritten by another program, so not checked against its own sha256", file=sys.stderr)
        elif said != (own := _own_sha256(fields)):
            raise damaged(name, expected=f"sha256 {said}", got=own)
        try:
            return _of(fields)
        except SalientError as error:
            raise SalientError(f"{name}: {error}") from error
        except (KeyError, TypeError) as error:
            raise SalientError(f"{name}: manifest fields missing or unknown", got=str(error)) from error


def _of(fields: dict[str, Any]) -> Manifest:
    for key in ("class_names", "grid"):
        if isinstance(fields[key], list):
            fields[key] = tuple(fields[key])
    if isinstance(fields["preprocessing"], dict):
        numbers = {k: v for k, v in fields["preprocessing"].items() if k in ("resize", "crop")}
        for key, value in numbers.items():
            if not is_whole(value, 1, MOST_PIXELS):
                raise SalientError(
                    f"field preprocessing, {key}",
                    expected=f"a whole number from 1 to {MOST_PIXELS}",
                    got=reprlib.repr(value),
                )
        fields["preprocessing"] = Preprocessing(**fields["preprocessing"])
    return Manifest(**fields)


def _own_sha256(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def damaged(name: object, *, expected: str = "", got: str = "") -> SalientError:
    """The error for a file that is not as it was written."""
    return SalientError(f"{name}: damaged", expected=expected, got=got, then="download it again or rebuild")


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
        then=f"check the path{or_on_the_hub(place)}, or make a store with `salient-imagenet build`",
    )


def check_version(data_version: str) -> None:
    """Raise SalientError unless it is a semantic version of three numbers, as `datasets` and the Hub's tags want it."""
    rule = RULES["data_version"]
    if not rule.holds(data_version):
        raise SalientError("data version", expected=rule.expected, got=repr(data_version))


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write under a temporary name, then rename: a manifest is there whole or not at all."""
    write_text(folder / MANIFEST, manifest.to_json())
