"""What each field of a manifest may hold, so that no later line asks whether a number is one."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing

MOST = 2**31 - 1
MOST_PIXELS = 2**14
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Rule:
    """expected: in words. holds: whether a value is so."""

    expected: str
    holds: Callable[[Any], bool]


def is_whole(value: Any, least: int = 0, most: int = MOST) -> bool:
    """Whether a value is a whole number, and no bool, from least to most."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_text(value: Any, longest: int = 1000) -> bool:
    """Whether a value is a string of at most so many characters, which UTF-8 can hold."""
    return isinstance(value, str) and len(value) <= longest and _HALF.search(value) is None


def is_inside(path: Any) -> bool:
    """Whether a value is a path below a folder, written the same on every system."""
    return (
        is_text(path)
        and path not in ("", ".")
        and "\\" not in path
        and "\0" not in path
        and str(PurePosixPath(path)) == path
        and not {"..", "~"} & set(PurePosixPath(path).parts)
        and not PurePosixPath(path).is_absolute()
        and not PureWindowsPath(path).drive
    )


def _whole(least: int, most: int = MOST) -> Rule:
    return Rule(f"a whole number from {least} to {most}", lambda value: is_whole(value, least, most))


def _likenesses(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= 64
        and all(is_text(v) and re.fullmatch(r"[0-9a-f]{128}", v) is not None for v in value.values())
    )


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(is_text(k) and is_text(v) for k, v in value.items())


def _class_names(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(n and is_text(n) for n in value)
        and len(set(value)) == len(value)
    )


def _grid(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(is_whole(side, 1, MOST_PIXELS) for side in value)


def _preprocessing(value: Any) -> bool:
    return (
        isinstance(value, Preprocessing)
        and is_whole(value.resize, 1, MOST_PIXELS)
        and is_whole(value.crop, 1, MOST_PIXELS)
        and isinstance(value.squash, bool)
    )


def _hashes(value: Any) -> bool:
    return isinstance(value, dict) and all(is_text(v) and _SHA256.fullmatch(v) for v in value.values())


_MEASURED = ("images", "accuracy", "attacked_accuracy", "l2_radius", "steps")


def _robustness(value: Any) -> bool:
    return value == {} or (
        isinstance(value, dict)
        and set(value) == set(_MEASURED)
        and is_whole(value["images"], 1)
        and is_whole(value["steps"], 1)
        and all(_is_from(value[key], 0, 1) for key in ("accuracy", "attacked_accuracy"))
        and _is_from(value["l2_radius"], 0, MOST)
    )


_ASKED_AGAIN = ("pairs", "same", "low", "high", "images", "first_rank", "last_rank")


def _generalisation(value: Any) -> bool:
    return value == {} or (
        isinstance(value, dict)
        and set(value) == set(_ASKED_AGAIN)
        and all(is_whole(value[key], 1) for key in ("pairs", "images", "first_rank", "last_rank"))
        and is_whole(value["same"], 0, value["pairs"])
        and all(_is_from(value[key], 0, 1) for key in ("low", "high"))
    )


def _left_out(value: Any) -> bool:
    return value == {} or (
        isinstance(value, dict)
        and set(value) == {"images", "sha256"}
        and is_whole(value["images"], 1)
        and is_text(value["sha256"])
        and _SHA256.fullmatch(value["sha256"]) is not None
    )


def _is_from(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_flat(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_is_flat(part, levels - 1) for part in parts)


_TEXT = Rule("text", is_text)
_TEXT_OR_NONE = Rule("text or null", lambda value: value is None or is_text(value))
RULES: dict[str, Rule] = {
    "class_names": Rule("a list of names, each once", _class_names),
    "images": _whole(0),
    "features_per_class": _whole(1, 2**16),
    "grid": Rule(f"two whole numbers from 1 to {MOST_PIXELS}", _grid),
    "shard_rows": _whole(1),
    "split": Rule(
        "a name of letters, digits, _ and single dots",
        lambda value: is_text(value, 200) and re.fullmatch(r"\w+(\.\w+)*", value) is not None,
    ),
    "preprocessing": Rule(
        f"resize and crop as whole numbers from 1 to {MOST_PIXELS}, squash as true or false", _preprocessing
    ),
    "group_by": _TEXT,
    "top_images": _whole(0),
    "weights_sha256": _TEXT,
    "architecture": _TEXT,
    "feature_count": _whole(0),
    "quarantined": _whole(0),
    "annotations_sha256": _TEXT_OR_NONE,
    "majority": _whole(1),
    "likenesses": Rule("128 hexadecimal digits by image id, of 64 images at most", _likenesses),
    "versions": Rule("versions by package name", _texts),
    "files": Rule("sha256 by path", _hashes),
    "sizes": Rule(
        "bytes by path",
        lambda value: isinstance(value, dict) and all(is_whole(n, 0, 2**63 - 1) for n in value.values()),
    ),
    "edition": Rule("full or top65", lambda value: value in ("full", "top65")),
    "precision": _TEXT,
    "compiled": Rule("true or false", lambda value: isinstance(value, bool)),
    "made_of": _TEXT_OR_NONE,
    "decoder": _TEXT,
    "origin": Rule("an object, at most 8 levels deep", lambda value: isinstance(value, dict) and _is_flat(value, 8)),
    "network": Rule("an object, at most 8 levels deep", lambda value: isinstance(value, dict) and _is_flat(value, 8)),
    "robustness": Rule(f"nothing, or numbers {', '.join(_MEASURED)}", _robustness),
    "generalisation": Rule(f"nothing, or numbers {', '.join(_ASKED_AGAIN)}", _generalisation),
    "left_out": Rule("nothing, or images, a whole number from 1, and sha256", _left_out),
    "data_version": Rule(
        "three numbers such as 1.0.0",
        lambda value: (
            is_text(value, 100) and re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", value) is not None
        ),
    ),
    "format_version": _whole(1),
}
"""One rule a field of `Manifest`."""


def parse_field(name: str, value: Any) -> None:
    """Raise SalientError, naming the field, unless it holds what it may."""
    if name in ("files", "sizes") and isinstance(value, dict):
        for path in value:
            if not is_inside(path):
                raise SalientError("names a file outside the store", got=reprlib.repr(path))
    if not RULES[name].holds(value):
        raise SalientError(f"field {name}", expected=RULES[name].expected, got=reprlib.repr(value))
