"""A list of names of a network's outputs, in order, as people have it. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids

IMAGENET = "imagenet"
"""In place of a file: ImageNet's thousand in their order, the rank of their wnids."""


def read_labels(place: str | Path) -> tuple[str, ...]:
    """The names in a file, or ImageNet's for the word `imagenet`.

    A text has one a line, as `synset_words.txt` of Caffe and `LOC_synset_mapping.txt` of Kaggle do. A JSON has a list,
    an object by number as Keras's `imagenet_class_index.json`, or `id2label` as a config of transformers. Raises
    SalientError for a file that is not there or holds no such thing.
    """
    if str(place) == IMAGENET:
        return wnids()
    path = Path(place)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise SalientError(
            f"{path}: no list of class names", expected=f"a text with one a line, a JSON, or {IMAGENET}", got=got
        ) from error
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    names = _json(text, path) if text.lstrip()[:1] in ("{", "[") else lines
    if not names:
        raise SalientError(f"{path}: no class names", expected="one a line", got="nothing")
    return names


def _json(text: str, path: Path) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SalientError(f"{path}: not JSON", got=str(error)) from error
    if isinstance(found, dict):
        found = found.get("id2label", found)
    if isinstance(found, dict):
        numbers = {str(i) for i in range(len(found))}
        if found.keys() != numbers:
            odd = sorted(found.keys() ^ numbers)[0]
            raise SalientError(f"{path}: not a name for each output", expected=f"0 to {len(found) - 1}", got=odd[:80])
        found = [found[str(i)] for i in range(len(found))]
    if not isinstance(found, list):
        raise SalientError(f"{path}: not understood", expected="a list of names", got=type(found).__name__)
    return tuple(_name(value, path) for value in found)


def _name(value: Any, path: Path) -> str:
    """A name, or the first of several such as ["n01440764", "tench"]."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, str) or not first.strip():
        raise SalientError(f"{path}: a class without a name", expected="text", got=repr(value)[:80])
    return first.strip()
